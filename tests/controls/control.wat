;; Operations for which Cranelift takes extensions where it may: vectors (AVX, V), and-not and select (BMI1,
;; miscellaneous-extensions-3). Lane 3, which is beyond the half of a vector register that is taken for twice as wide.
(module
  (func (export "run") (param $a i32) (param $b i32) (result i32)
    (i32.add
      (i32x4.extract_lane 3 (i32x4.mul (i32x4.splat (local.get $a)) (i32x4.splat (local.get $b))))
      (select
        (i32.and (local.get $a) (i32.xor (local.get $b) (i32.const -1)))
        (local.get $b)
        (i32.gt_s (local.get $a) (local.get $b))))))
