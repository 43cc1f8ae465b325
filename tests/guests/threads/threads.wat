;; In: nothing. Out: as a command, three lines of numbers that one thread computes with atomics; `run` gives 0 or the
;; number of the first check that failed; `count_to` lets a host with threads add from many instances' calls at once.
;; Shared memory, spinlock, counters, wait and notify. `unaligned` traps.
(module $threads
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1 2 shared)
  (data (i32.const 256) "counter ")
  (data (i32.const 272) "arithmetic ")
  (data (i32.const 288) "waits ")
  ;; 0: lock, 4: counter under the lock, 8: atomic counter, 16: i64 cell, 24: a word that is never notified,
  ;; 64: iovec, 72: bytes written, 80..112: decimal digits, 256..: text.

  ;; 0 is free. A waiter sleeps up to a millisecond for the holder's notify, then tries again.
  (func $acquire
    (loop $again
      (if (i32.atomic.rmw.cmpxchg (i32.const 0) (i32.const 0) (i32.const 1))
        (then
          (drop (memory.atomic.wait32 (i32.const 0) (i32.const 1) (i64.const 1000000)))
          (br $again)))))
  (func $release
    (i32.atomic.store (i32.const 0) (i32.const 0))
    (drop (memory.atomic.notify (i32.const 0) (i32.const 1))))

  ;; Adds one, `count` times, to the counter under the lock and to the atomic one; gives the former.
  (func $count_to (export "count_to") (param $count i32) (result i32)
    (loop $next
      (call $acquire)
      (i32.store (i32.const 4) (i32.add (i32.load (i32.const 4)) (i32.const 1)))
      (call $release)
      (drop (i32.atomic.rmw.add (i32.const 8) (i32.const 1)))
      (local.set $count (i32.sub (local.get $count) (i32.const 1)))
      (br_if $next (local.get $count)))
    (i32.atomic.load (i32.const 4)))

  ;; One of each read-modify-write, in all widths, folded into one number.
  (func $arithmetic (result i64)
    (local $seen i64)
    (i64.atomic.store (i32.const 16) (i64.const 0x0123456789abcdef))
    (local.set $seen (i64.atomic.rmw.add (i32.const 16) (i64.const 0x1111111111111111)))
    (local.set $seen (i64.xor (local.get $seen) (i64.atomic.rmw.sub (i32.const 16) (i64.const 0xff))))
    (local.set $seen (i64.xor (local.get $seen) (i64.atomic.rmw.and (i32.const 16) (i64.const 0xffffffff00ff00ff))))
    (local.set $seen (i64.xor (local.get $seen) (i64.atomic.rmw.or (i32.const 16) (i64.const 0xf000000000000000))))
    (local.set $seen (i64.xor (local.get $seen) (i64.atomic.rmw.xor (i32.const 16) (i64.const 0x5555))))
    (local.set $seen (i64.xor (local.get $seen) (i64.atomic.rmw8.add_u (i32.const 17) (i64.const 0xff))))
    (local.set $seen (i64.xor (local.get $seen) (i64.atomic.rmw16.xchg_u (i32.const 20) (i64.const 0xbeef))))
    (local.set $seen (i64.xor (local.get $seen) (i64.atomic.rmw32.sub_u (i32.const 20) (i64.const 1))))
    (local.set $seen
      (i64.add (local.get $seen)
        (i64.extend_i32_u (i32.atomic.rmw16.cmpxchg_u (i32.const 22) (i32.const 1) (i32.const 2)))))
    (local.set $seen
      (i64.add (local.get $seen)
        (i64.extend_i32_u (i32.atomic.rmw8.cmpxchg_u (i32.const 20) (i32.const 0xee) (i32.const 0x11)))))
    (atomic.fence)
    (i64.xor (local.get $seen)
      (i64.atomic.rmw.xchg (i32.const 16)
        (i64.atomic.rmw.cmpxchg (i32.const 16) (i64.const 0) (i64.const 1)))))

  ;; 1 (value differs), 2 (timed out) and 0 woken as decimal digits; 64 bits and 32.
  (func $waits (result i32)
    (i32.atomic.store (i32.const 24) (i32.const 9))
    (i64.atomic.store (i32.const 32) (i64.const 9))
    (i32.add
      (i32.mul (memory.atomic.wait32 (i32.const 24) (i32.const 8) (i64.const -1)) (i32.const 1000))
      (i32.add
        (i32.mul (memory.atomic.wait32 (i32.const 24) (i32.const 9) (i64.const 1000)) (i32.const 100))
        (i32.add
          (i32.mul (memory.atomic.wait64 (i32.const 32) (i64.const 9) (i64.const 0)) (i32.const 10))
          (memory.atomic.notify (i32.const 24) (i32.const -1))))))

  (func $write (param $start i32) (param $length i32)
    (i32.store (i32.const 64) (local.get $start))
    (i32.store (i32.const 68) (local.get $length))
    (if (call $fd_write (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 72))
      (then (call $proc_exit (i32.const 3)))))

  ;; Text, then the number in decimal and a newline.
  (func $print (param $text i32) (param $length i32) (param $number i64)
    (local $at i32)
    (call $write (local.get $text) (local.get $length))
    (local.set $at (i32.const 111))
    (i32.store8 (local.get $at) (i32.const 10))
    (loop $next
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at)
        (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $number) (i64.const 10)))))
      (local.set $number (i64.div_u (local.get $number) (i64.const 10)))
      (br_if $next (i64.ne (local.get $number) (i64.const 0))))
    (call $write (local.get $at) (i32.sub (i32.const 112) (local.get $at))))

  (func (export "_start")
    (call $print (i32.const 256) (i32.const 8) (i64.extend_i32_u (call $count_to (i32.const 10000))))
    (call $print (i32.const 272) (i32.const 11) (call $arithmetic))
    (call $print (i32.const 288) (i32.const 6) (i64.extend_i32_u (call $waits))))

  (func (export "run") (result i32)
    (local $before i32)
    (local.set $before (i32.atomic.load (i32.const 8)))
    (drop (call $count_to (i32.const 500)))
    (if (i32.ne (i32.sub (i32.atomic.load (i32.const 8)) (local.get $before)) (i32.const 500))
      (then (return (i32.const 1))))
    (if (i32.ne (i32.atomic.load (i32.const 0)) (i32.const 0)) (then (return (i32.const 2))))
    (if (i32.ne (call $waits) (i32.const 1220)) (then (return (i32.const 3))))
    (if (i32.ne (memory.grow (i32.const 1)) (i32.const 1)) (then (return (i32.const 4))))
    (i32.const 0))

  (func (export "unaligned") (result i32)
    (i32.atomic.load (i32.const 6)))
)
