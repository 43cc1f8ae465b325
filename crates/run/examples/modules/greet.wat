;; A plugin: greets whom the host names.
(module
  (import "host" "name" (func $name (param i32 i32) (result i32)))
  (import "host" "log" (func $log (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "hello, ")
  (func (export "run")
    (call $log (i32.const 0) (i32.add (i32.const 7) (call $name (i32.const 7) (i32.const 64))))))
