;; In: nothing, or the parameters of the exports. Out: results that calls 1,000,000 deep reach only as tail calls:
;; as ordinary calls they would overflow any stack that wasmtime gives by default (512 KiB).
(module $tail_call
  (type $step (func (param i64 i64) (result i64)))
  (table $steps funcref (elem $collatz_even $collatz_odd))

  (func $is_even (export "is_even") (param $n i64) (result i32)
    (if (i64.eqz (local.get $n)) (then (return (i32.const 1))))
    (return_call $is_odd (i64.sub (local.get $n) (i64.const 1))))
  (func $is_odd (param $n i64) (result i32)
    (if (i64.eqz (local.get $n)) (then (return (i32.const 0))))
    (return_call $is_even (i64.sub (local.get $n) (i64.const 1))))

  ;; Callee with more parameters than registers: the frame has to move.
  (func $sum (export "sum") (param $n i64) (result i64)
    (return_call $sum_wide (local.get $n) (i64.const 0) (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4)
      (i64.const 5) (i64.const 6) (i64.const 7) (i64.const 8) (i64.const 9) (i64.const 10)))
  (func $sum_wide
    (param $n i64) (param $total i64) (param i64 i64 i64 i64 i64 i64 i64 i64 i64 i64) (result i64)
    (if (i64.eqz (local.get $n)) (then (return (i64.add (local.get $total) (local.get 11)))))
    ;; The ten trailing parameters turn by one each step.
    (return_call $sum_wide
      (i64.sub (local.get $n) (i64.const 1)) (i64.add (local.get $total) (local.get $n))
      (local.get 3) (local.get 4) (local.get 5) (local.get 6) (local.get 7) (local.get 8) (local.get 9)
      (local.get 10) (local.get 11) (local.get 2)))

  ;; Collatz steps through a table: (n, steps so far) to steps.
  (func $collatz (export "collatz") (param $n i64) (result i64)
    (return_call_indirect $steps (type $step)
      (local.get $n) (i64.const 0) (i32.wrap_i64 (i64.and (local.get $n) (i64.const 1)))))
  (func $collatz_even (type $step)
    (local $half i64)
    (local.set $half (i64.shr_u (local.get 0) (i64.const 1)))
    (return_call_indirect $steps (type $step)
      (local.get $half) (i64.add (local.get 1) (i64.const 1))
      (i32.wrap_i64 (i64.and (local.get $half) (i64.const 1)))))
  (func $collatz_odd (type $step)
    (if (i64.eq (local.get 0) (i64.const 1)) (then (return (local.get 1))))
    (return_call $collatz_even
      (i64.add (i64.mul (local.get 0) (i64.const 3)) (i64.const 1)) (i64.add (local.get 1) (i64.const 1))))

  ;; 1,000,000 is even: 1; the sum is 500000500000 + 10 (ten turns of ten divide a million); collatz(27) is 111.
  (func (export "run") (result i64)
    (i64.add
      (i64.add (i64.extend_i32_u (call $is_even (i64.const 1000000))) (call $sum (i64.const 1000000)))
      (call $collatz (i64.const 27))))
)
