;; Short constant copies and fills: riscv64 without `v` gets them by a pass.
(module
  (memory (export "memory") 1)
  (func (export "copy") (param i32 i32)
    (memory.copy (local.get 0) (local.get 1) (i32.const 32))
    (memory.fill (local.get 1) (i32.const 0) (i32.const 24))))
