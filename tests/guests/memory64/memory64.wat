;; In: nothing. Out: `run` gives 0 or the number of the first check that failed, `checksum` a hash of what it wrote.
;; A 64-bit memory and table: i64 addresses, sizes and offsets. `beyond` traps: its address needs more than 32 bits.
(module $memory64
  (memory $memory (export "memory") i64 1 4)
  (table $table i64 2 8 funcref)
  (elem (table $table) (i64.const 0) func $double $square)
  (type $unary (func (param i64) (result i64)))
  (data $text "isomer")

  (func $double (type $unary) (i64.mul (local.get 0) (i64.const 2)))
  (func $square (type $unary) (i64.mul (local.get 0) (local.get 0)))

  (func $fill (param $end i64)
    (local $at i64)
    (loop $next
      (i64.store (local.get $at)
        (call_indirect $table (type $unary)
          (local.get $at)
          (i64.and (i64.shr_u (local.get $at) (i64.const 3)) (i64.const 1))))
      (local.set $at (i64.add (local.get $at) (i64.const 8)))
      (br_if $next (i64.lt_u (local.get $at) (local.get $end)))))

  (func $checksum (export "checksum") (result i64)
    (local $at i64) (local $hash i64)
    (call $fill (i64.const 65536))
    (local.set $hash (i64.const 0xcbf29ce484222325))
    (loop $next
      (local.set $hash
        (i64.mul (i64.xor (local.get $hash) (i64.load8_u (local.get $at))) (i64.const 0x100000001b3)))
      (local.set $at (i64.add (local.get $at) (i64.const 1)))
      (br_if $next (i64.lt_u (local.get $at) (i64.const 65536))))
    (local.get $hash))

  (func (export "run") (result i32)
    (if (i64.ne (memory.size) (i64.const 1)) (then (return (i32.const 1))))
    (if (i64.ne (memory.grow (i64.const 2)) (i64.const 1)) (then (return (i32.const 2))))
    (if (i64.ne (memory.grow (i64.const 0x100000000)) (i64.const -1)) (then (return (i32.const 3))))
    (memory.init $text (i64.const 196600) (i32.const 0) (i32.const 6))
    (memory.copy (i64.const 100) (i64.const 196600) (i64.const 6))
    (if (i32.ne (i32.load offset=90 (i64.const 10)) (i32.const 0x6d6f7369)) (then (return (i32.const 4))))
    (memory.fill (i64.const 100) (i32.const 0xab) (i64.const 6))
    (if (i32.ne (i32.load16_u (i64.const 104)) (i32.const 0xabab)) (then (return (i32.const 5))))
    (if (i64.ne (table.grow $table (ref.func $square) (i64.const 3)) (i64.const 2)) (then (return (i32.const 6))))
    (if (i64.ne (table.size $table) (i64.const 5)) (then (return (i32.const 7))))
    (if (i64.ne (call_indirect $table (type $unary) (i64.const 12) (i64.const 4)) (i64.const 144))
      (then (return (i32.const 8))))
    (i32.const 0))

  (func (export "beyond") (result i32)
    (i32.load offset=0x200000000 (i64.const 4)))
)
