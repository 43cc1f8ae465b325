;; An atomic operation, for which AArch64 has an instruction with LSE and needs a loop without.
(module
  (memory 1)
  (func (export "run") (param $a i32) (param $b i32) (result i32)
    (drop (i32.atomic.rmw.add (i32.const 64) (local.get $a)))
    (i32.atomic.rmw.add (i32.const 64) (local.get $b))))
