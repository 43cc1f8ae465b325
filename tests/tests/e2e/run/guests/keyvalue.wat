;; A component that sets one value of 1000 bytes in its key-value store.
(component
  (import "wasi:keyvalue/store@0.2.0-draft" (instance $store
    (type $error' (variant (case "no-such-store") (case "access-denied") (case "other" string)))
    (export "error" (type $error (eq $error')))
    (export "bucket" (type $bucket (sub resource)))
    (export "open" (func (param "identifier" string) (result (result (own $bucket) (error $error)))))
    (export "[method]bucket.set" (func
      (param "self" (borrow $bucket)) (param "key" string) (param "value" (list u8)) (result (result (error $error)))))))
  (core module $libc
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 8192)))
  (core instance $libc (instantiate $libc))
  (core func $open (canon lower (func $store "open")
    (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
  (core func $set (canon lower (func $store "[method]bucket.set")
    (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
  (core module $main
    (import "libc" "memory" (memory 1))
    (import "store" "open" (func $open (param i32 i32 i32)))
    (import "store" "set" (func $set (param i32 i32 i32 i32 i32 i32)))
    (func (export "run") (result i32)
      (call $open (i32.const 0) (i32.const 0) (i32.const 64))
      (if (i32.load8_u (i32.const 64)) (then (return (i32.const 1))))
      (call $set (i32.load (i32.const 68)) (i32.const 0) (i32.const 1) (i32.const 1024) (i32.const 1000) (i32.const 128))
      (i32.load8_u (i32.const 128))))
  (core instance $main (instantiate $main
    (with "libc" (instance $libc))
    (with "store" (instance (export "open" (func $open)) (export "set" (func $set))))))
  (func $run (result (result)) (canon lift (core func $main "run")))
  (instance $cli (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $cli)))
