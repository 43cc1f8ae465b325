;; A memory that several threads could share, which grows beside every limiter.
(module (memory (export "memory") 1 1000 shared) (func (export "_start") (drop (memory.grow (i32.const 500)))))
