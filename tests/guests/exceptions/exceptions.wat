;; In: nothing, or a depth. Out: `run` gives 0 or the number of the first check that failed; `unwind` the depth counted
;; by handlers on the way up; `uncaught` ends with an exception that nothing catches.
;; try_table, throw, throw_ref, catch, catch_ref, catch_all and catch_all_ref: the exnref form.
(module $exceptions
  (tag $number (export "number") (param i32))
  (tag $pair (param i64 f64))
  (tag $empty)
  (global $handlers (mut i32) (i32.const 0))

  (func $throw_number (param i32) (throw $number (local.get 0)))

  (func $throw_by_kind (param $kind i32)
    (block $other (block $two (block $one
      (br_table $one $two $other (local.get $kind)))
      (throw $number (i32.const 41)))
      (throw $pair (i64.const 1000) (f64.const 0.5)))
    (throw $empty))

  ;; Which tag arrives here, as a number made of its payload.
  (func $catch_by_kind (param $kind i32) (result i32)
    (local $fraction f64)
    (block $any
      (block $got_pair (result i64 f64)
        (block $got_number (result i32)
          (try_table (catch $number $got_number) (catch $pair $got_pair) (catch_all $any)
            (call $throw_by_kind (local.get $kind)))
          (return (i32.const -1)))
        (return (i32.add (i32.const 1))))
      (local.set $fraction)
      (i32.wrap_i64)
      (return (i32.add (i32.trunc_f64_s (f64.mul (local.get $fraction) (f64.const 4))))))
    (i32.const 7))

  ;; Each level catches, counts and throws the same exception on.
  (func $descend (param $depth i32)
    (if (i32.eqz (local.get $depth)) (then (throw $number (i32.const 5))))
    (block $caught (result exnref)
      (try_table (catch_all_ref $caught)
        (call $descend (i32.sub (local.get $depth) (i32.const 1))))
      (return))
    (global.set $handlers (i32.add (global.get $handlers) (i32.const 1)))
    (throw_ref))

  (func $unwind (export "unwind") (param $depth i32) (result i32)
    (global.set $handlers (i32.const 0))
    (block $caught (result i32)
      (try_table (catch $number $caught)
        (call $descend (local.get $depth)))
      (return (i32.const -1)))
    (i32.add (global.get $handlers)))

  ;; The inner handler has the wrong tag; the outer takes payload and reference.
  (func $nested (result i32)
    (local $reference exnref)
    (block $outer (result i32 exnref)
      (block $inner (result i64 f64)
        (try_table (catch_ref $number $outer)
          (try_table (catch $pair $inner)
            (call $throw_number (i32.const 99))))
        (return (i32.const -1)))
      (drop)
      (drop)
      (return (i32.const -2)))
    (local.set $reference)
    (i32.add (ref.is_null (local.get $reference))))

  (func (export "run") (result i32)
    (if (i32.ne (call $catch_by_kind (i32.const 0)) (i32.const 42)) (then (return (i32.const 1))))
    (if (i32.ne (call $catch_by_kind (i32.const 1)) (i32.const 1002)) (then (return (i32.const 2))))
    (if (i32.ne (call $catch_by_kind (i32.const 2)) (i32.const 7)) (then (return (i32.const 3))))
    (if (i32.ne (call $unwind (i32.const 100)) (i32.const 105)) (then (return (i32.const 4))))
    (if (i32.ne (call $nested) (i32.const 99)) (then (return (i32.const 5))))
    (i32.const 0))

  (func (export "uncaught") (call $throw_number (i32.const 13)))
)
