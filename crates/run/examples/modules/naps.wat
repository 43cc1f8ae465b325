;; Waits for the host a few times, and counts how often.
(module
  (import "host" "sleep" (func $sleep (param i64)))
  (func (export "run") (param $naps i32) (result i32)
    (local $taken i32)
    (loop $again
      (call $sleep (i64.const 20))
      (local.set $taken (i32.add (local.get $taken) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $taken) (local.get $naps))))
    (local.get $taken)))
