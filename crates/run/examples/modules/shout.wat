;; A plugin: says twice what the host names.
(module
  (import "host" "name" (func $name (param i32 i32) (result i32)))
  (import "host" "log" (func $log (param i32 i32)))
  (memory (export "memory") 1)
  (func (export "run")
    (local $length i32)
    (local.set $length (call $name (i32.const 0) (i32.const 64)))
    (call $log (i32.const 0) (local.get $length))
    (call $log (i32.const 0) (local.get $length))))
