;; Adds up the first N numbers that `counter` gives.
(module
  (import "counter" "next" (func $next (result i32)))
  (memory 1)
  (func (export "total") (param $n i32) (result i32)
    (local $sum i32)
    (block $done
      (loop $again
        (br_if $done (i32.eqz (local.get $n)))
        (local.set $sum (i32.add (local.get $sum) (call $next)))
        (local.set $n (i32.sub (local.get $n) (i32.const 1)))
        (br $again)))
    (local.get $sum)))
