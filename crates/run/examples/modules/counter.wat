;; What `total` imports: a number that goes up.
(module
  (memory 1)
  (global $next (mut i32) (i32.const 0))
  (func (export "next") (result i32)
    (global.set $next (i32.add (global.get $next) (i32.const 1)))
    (global.get $next)))
