;; In: nothing. Out: `run` gives 0 or the number of the first check that failed, `checksum` a hash over three memories:
;; text in one, its reverse in the second, and a third that starts empty and grows. `oob` traps in the second only.
(module $multi_memory
  (memory $text (export "memory") 1)
  (memory $reversed 1 2)
  (memory $log 0 4)
  (data (memory $text) (i32.const 16) "one module, three memories")
  (global $length i32 (i32.const 26))

  (func $reverse
    (local $at i32)
    (loop $next
      (i32.store8 $reversed
        (i32.sub (i32.sub (global.get $length) (i32.const 1)) (local.get $at))
        (i32.load8_u $text offset=16 (local.get $at)))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $at) (global.get $length)))))

  (func (export "checksum") (result i64)
    (local $at i32) (local $hash i64)
    (call $reverse)
    (drop (memory.grow $log (i32.const 1)))
    (memory.copy $log $text (i32.const 0) (i32.const 16) (global.get $length))
    (memory.copy $log $reversed (global.get $length) (i32.const 0) (global.get $length))
    (memory.fill $log (i32.const 52) (i32.const 33) (i32.const 3))
    (local.set $hash (i64.const 0xcbf29ce484222325))
    (loop $next
      (local.set $hash
        (i64.mul (i64.xor (local.get $hash) (i64.load8_u $log (local.get $at))) (i64.const 0x100000001b3)))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $at) (i32.const 55))))
    (local.get $hash))

  (func (export "run") (result i32)
    (if (i32.ne (memory.size $log) (i32.const 0)) (then (return (i32.const 1))))
    (if (i32.ne (memory.grow $log (i32.const 3)) (i32.const 0)) (then (return (i32.const 2))))
    (if (i32.ne (memory.grow $reversed (i32.const 2)) (i32.const -1)) (then (return (i32.const 3))))
    (call $reverse)
    ;; "seir", the end of "memories" backwards.
    (if (i32.ne (i32.load $reversed (i32.const 0)) (i32.const 0x72696573)) (then (return (i32.const 4))))
    ;; The same address in the first memory is still empty.
    (if (i32.ne (i32.load $text (i32.const 0)) (i32.const 0)) (then (return (i32.const 5))))
    (i64.store $log (i32.const 196600) (i64.const -2))
    (if (i64.ne (i64.load $log (i32.const 196600)) (i64.const -2)) (then (return (i32.const 6))))
    (i32.const 0))

  (func (export "oob") (result i32)
    (drop (memory.grow $text (i32.const 1)))
    (drop (i32.load $text (i32.const 70000)))
    (i32.load $reversed (i32.const 70000)))
)
