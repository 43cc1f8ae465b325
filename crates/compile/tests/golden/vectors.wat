;; SIMD: multiplication, shuffles, rounding, population counts.
(module
  (memory (export "memory") 1)
  (func (export "dot") (param i32 i32) (result i32)
    (local $sum v128)
    (loop $next
      (local.set $sum
        (i32x4.add (local.get $sum)
          (i32x4.dot_i16x8_s
            (v128.load (local.get 0))
            (v128.load offset=4096 (local.get 0)))))
      (local.set 0 (i32.add (local.get 0) (i32.const 16)))
      (br_if $next (i32.lt_u (local.get 0) (local.get 1))))
    (i32.add
      (i32.add (i32x4.extract_lane 0 (local.get $sum)) (i32x4.extract_lane 1 (local.get $sum)))
      (i32.add (i32x4.extract_lane 2 (local.get $sum)) (i32x4.extract_lane 3 (local.get $sum)))))
  (func (export "mix") (param v128 v128) (result v128)
    (i64x2.mul
      (i8x16.shuffle 0 17 2 19 4 21 6 23 8 25 10 27 12 29 14 31 (local.get 0) (local.get 1))
      (i8x16.popcnt (f32x4.floor (f64x2.promote_low_f32x4 (local.get 1))))))
  (func (export "select") (param v128 v128 v128) (result v128)
    (v128.bitselect (local.get 0) (i8x16.swizzle (local.get 1) (local.get 2)) (local.get 2))))
