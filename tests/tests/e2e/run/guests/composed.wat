;; A component of two, whose inner one has a mutable global, and which traps.
(component
  (component $inner
    (core module $m
      (global (export "g") (mut i32) (i32.const 1))
      (memory (export "memory") 1)
      (func (export "fail") (result i32) unreachable))
    (core instance $m (instantiate $m))
    (func (export "fail") (result (result)) (canon lift (core func $m "fail"))))
  (instance $inner (instantiate $inner))
  (core func $fail (canon lower (func $inner "fail")))
  (core module $main
    (import "inner" "fail" (func $fail (result i32)))
    (func (export "run") (result i32) (call $fail)))
  (core instance $main (instantiate $main (with "inner" (instance (export "fail" (func $fail))))))
  (func $run (result (result)) (canon lift (core func $main "run")))
  (instance $cli (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $cli)))
