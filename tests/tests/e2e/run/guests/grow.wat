;; Traps when it gets no more memory.
(module (memory (export "memory") 1)
  (func (export "_start") (loop (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable)) br 0)))
