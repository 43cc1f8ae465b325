;; Exits with 3 when it gets no more memory.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (loop (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then (call $proc_exit (i32.const 3)))) br 0)))
