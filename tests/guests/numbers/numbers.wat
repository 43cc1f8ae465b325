;; In: numbers as parameters. Out: one result each. No imports and no memory: one export for each operation that a
;; CPU extension may turn into a single instruction, named after what it computes.
(module $numbers
  ;; Counting: x86 POPCNT, LZCNT, BMI1 TZCNT; Arm CLZ, RBIT; RISC-V Zbb.
  (func (export "popcnt32") (param i32) (result i32) (i32.popcnt (local.get 0)))
  (func (export "clz32") (param i32) (result i32) (i32.clz (local.get 0)))
  (func (export "ctz32") (param i32) (result i32) (i32.ctz (local.get 0)))
  (func (export "popcnt64") (param i64) (result i64) (i64.popcnt (local.get 0)))
  (func (export "clz64") (param i64) (result i64) (i64.clz (local.get 0)))
  (func (export "ctz64") (param i64) (result i64) (i64.ctz (local.get 0)))

  ;; Rotations and variable shifts: x86 BMI2, RISC-V Zbb.
  (func (export "rotl32") (param i32 i32) (result i32) (i32.rotl (local.get 0) (local.get 1)))
  (func (export "rotr32") (param i32 i32) (result i32) (i32.rotr (local.get 0) (local.get 1)))
  (func (export "rotl64") (param i64 i64) (result i64) (i64.rotl (local.get 0) (local.get 1)))
  (func (export "rotr64") (param i64 i64) (result i64) (i64.rotr (local.get 0) (local.get 1)))
  (func (export "shl64") (param i64 i64) (result i64) (i64.shl (local.get 0) (local.get 1)))
  (func (export "shr_s64") (param i64 i64) (result i64) (i64.shr_s (local.get 0) (local.get 1)))
  (func (export "shr_u32") (param i32 i32) (result i32) (i32.shr_u (local.get 0) (local.get 1)))

  ;; Bit manipulation: x86 BMI1 ANDN, BLSI, BLSMSK, BLSR; BMI2 BZHI; RISC-V Zbb ANDN, ORN, XNOR; Zbs BEXT, BSET.
  (func (export "and_not32") (param i32 i32) (result i32)
    (i32.and (local.get 0) (i32.xor (local.get 1) (i32.const -1))))
  (func (export "and_not64") (param i64 i64) (result i64)
    (i64.and (local.get 0) (i64.xor (local.get 1) (i64.const -1))))
  (func (export "or_not64") (param i64 i64) (result i64)
    (i64.or (local.get 0) (i64.xor (local.get 1) (i64.const -1))))
  (func (export "xor_not64") (param i64 i64) (result i64)
    (i64.xor (local.get 0) (i64.xor (local.get 1) (i64.const -1))))
  (func (export "lowest_bit64") (param i64) (result i64)
    (i64.and (local.get 0) (i64.sub (i64.const 0) (local.get 0))))
  (func (export "mask_to_lowest_bit64") (param i64) (result i64)
    (i64.xor (local.get 0) (i64.sub (local.get 0) (i64.const 1))))
  (func (export "clear_lowest_bit64") (param i64) (result i64)
    (i64.and (local.get 0) (i64.sub (local.get 0) (i64.const 1))))
  (func (export "keep_low_bits64") (param i64 i64) (result i64)
    (i64.and (local.get 0) (i64.sub (i64.shl (i64.const 1) (local.get 1)) (i64.const 1))))
  (func (export "bit_extract64") (param i64 i64) (result i64)
    (i64.and (i64.shr_u (local.get 0) (local.get 1)) (i64.const 1)))
  (func (export "bit_set64") (param i64 i64) (result i64)
    (i64.or (local.get 0) (i64.shl (i64.const 1) (local.get 1))))
  ;; Byte swap by shifts, which compilers recognise or not: x86 BSWAP, RISC-V Zbb REV8.
  (func (export "byte_swap32") (param i32) (result i32)
    (i32.or
      (i32.and (i32.rotl (local.get 0) (i32.const 8)) (i32.const 0x00ff00ff))
      (i32.and (i32.rotr (local.get 0) (i32.const 8)) (i32.const 0xff00ff00))))

  ;; Address arithmetic: x86 LEA, RISC-V Zba SH1ADD, SH2ADD, SH3ADD, ADD.UW.
  (func (export "shift1_add64") (param i64 i64) (result i64)
    (i64.add (i64.shl (local.get 0) (i64.const 1)) (local.get 1)))
  (func (export "shift2_add64") (param i64 i64) (result i64)
    (i64.add (i64.shl (local.get 0) (i64.const 2)) (local.get 1)))
  (func (export "shift3_add64") (param i64 i64) (result i64)
    (i64.add (i64.shl (local.get 0) (i64.const 3)) (local.get 1)))
  (func (export "unsigned_add64") (param i32 i64) (result i64)
    (i64.add (i64.extend_i32_u (local.get 0)) (local.get 1)))

  ;; Multiplication and division.
  (func (export "mul_add32") (param i32 i32 i32) (result i32)
    (i32.add (i32.mul (local.get 0) (local.get 1)) (local.get 2)))
  (func (export "mul_high_u32") (param i32 i32) (result i32)
    (i32.wrap_i64 (i64.shr_u
      (i64.mul (i64.extend_i32_u (local.get 0)) (i64.extend_i32_u (local.get 1))) (i64.const 32))))
  (func (export "mul_high_s32") (param i32 i32) (result i32)
    (i32.wrap_i64 (i64.shr_s
      (i64.mul (i64.extend_i32_s (local.get 0)) (i64.extend_i32_s (local.get 1))) (i64.const 32))))
  ;; The upper 64 bits of the product, schoolbook in 32-bit halves: x86 BMI2 MULX, Arm UMULH.
  (func (export "mul_high_u64") (param $a i64) (param $b i64) (result i64)
    (local $al i64) (local $ah i64) (local $bl i64) (local $bh i64) (local $middle i64)
    (local.set $al (i64.and (local.get $a) (i64.const 0xffffffff)))
    (local.set $ah (i64.shr_u (local.get $a) (i64.const 32)))
    (local.set $bl (i64.and (local.get $b) (i64.const 0xffffffff)))
    (local.set $bh (i64.shr_u (local.get $b) (i64.const 32)))
    (local.set $middle
      (i64.add
        (i64.mul (local.get $ah) (local.get $bl))
        (i64.shr_u (i64.mul (local.get $al) (local.get $bl)) (i64.const 32))))
    (i64.add
      (i64.add
        (i64.mul (local.get $ah) (local.get $bh))
        (i64.shr_u (local.get $middle) (i64.const 32)))
      (i64.shr_u
        (i64.add
          (i64.mul (local.get $al) (local.get $bh))
          (i64.and (local.get $middle) (i64.const 0xffffffff)))
        (i64.const 32))))
  (func (export "div_u64_by_10") (param i64) (result i64) (i64.div_u (local.get 0) (i64.const 10)))
  (func (export "div_s32") (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1)))
  (func (export "rem_s32") (param i32 i32) (result i32) (i32.rem_s (local.get 0) (local.get 1)))
  (func (export "rem_u64") (param i64 i64) (result i64) (i64.rem_u (local.get 0) (local.get 1)))

  ;; Choices without branches: x86 CMOV, Arm CSEL, RISC-V Zicond.
  (func (export "max_s32") (param i32 i32) (result i32)
    (select (local.get 0) (local.get 1) (i32.gt_s (local.get 0) (local.get 1))))
  (func (export "min_u64") (param i64 i64) (result i64)
    (select (local.get 0) (local.get 1) (i64.lt_u (local.get 0) (local.get 1))))
  (func (export "zero_unless32") (param i32 i32) (result i32)
    (select (local.get 0) (i32.const 0) (local.get 1)))
  (func (export "abs64") (param i64) (result i64)
    (select (local.get 0) (i64.sub (i64.const 0) (local.get 0)) (i64.ge_s (local.get 0) (i64.const 0))))

  ;; Sign extension: RISC-V Zbb SEXT.B, SEXT.H.
  (func (export "extend8_32") (param i32) (result i32) (i32.extend8_s (local.get 0)))
  (func (export "extend16_32") (param i32) (result i32) (i32.extend16_s (local.get 0)))
  (func (export "extend32_64") (param i64) (result i64) (i64.extend32_s (local.get 0)))

  ;; Floats. Rounding: x86 SSE4.1 ROUNDSD, Arm FRINT, RISC-V Zfa FROUND.
  (func (export "floor32") (param f32) (result f32) (f32.floor (local.get 0)))
  (func (export "floor64") (param f64) (result f64) (f64.floor (local.get 0)))
  (func (export "ceil64") (param f64) (result f64) (f64.ceil (local.get 0)))
  (func (export "trunc64") (param f64) (result f64) (f64.trunc (local.get 0)))
  (func (export "nearest32") (param f32) (result f32) (f32.nearest (local.get 0)))
  (func (export "nearest64") (param f64) (result f64) (f64.nearest (local.get 0)))
  (func (export "sqrt64") (param f64) (result f64) (f64.sqrt (local.get 0)))
  (func (export "min64") (param f64 f64) (result f64) (f64.min (local.get 0) (local.get 1)))
  (func (export "max32") (param f32 f32) (result f32) (f32.max (local.get 0) (local.get 1)))
  (func (export "copysign64") (param f64 f64) (result f64) (f64.copysign (local.get 0) (local.get 1)))
  ;; Two roundings, whatever FMA the CPU has: a fused result would be wrong.
  (func (export "mul_add64") (param f64 f64 f64) (result f64)
    (f64.add (f64.mul (local.get 0) (local.get 1)) (local.get 2)))
  (func (export "mul_add_f32") (param f32 f32 f32) (result f32)
    (f32.add (f32.mul (local.get 0) (local.get 1)) (local.get 2)))

  ;; Conversions.
  (func (export "saturate_s32") (param f64) (result i32) (i32.trunc_sat_f64_s (local.get 0)))
  (func (export "saturate_u64") (param f64) (result i64) (i64.trunc_sat_f64_u (local.get 0)))
  (func (export "from_u64") (param i64) (result f64) (f64.convert_i64_u (local.get 0)))
  (func (export "from_u64_f32") (param i64) (result f32) (f32.convert_i64_u (local.get 0)))
  (func (export "bits64") (param f64) (result i64) (i64.reinterpret_f64 (local.get 0)))
  (func (export "demote") (param f64) (result f32) (f32.demote_f64 (local.get 0)))

  ;; All of the above that matter to hashing, `count` rounds: something to time and to compare.
  (func (export "mix") (param $seed i64) (param $count i32) (result i64)
    (local $x i64)
    (local.set $x (local.get $seed))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (local.set $x (i64.mul (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 33)))
                               (i64.const 0xff51afd7ed558ccd)))
        (local.set $x (i64.add (i64.rotl (local.get $x) (i64.ctz (local.get $x)))
                               (i64.popcnt (local.get $x))))
        (local.set $x (i64.xor (local.get $x)
                               (i64.and (i64.rotr (local.get $seed) (i64.clz (local.get $x)))
                                        (i64.xor (local.get $x) (i64.const -1)))))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next)))
    (local.get $x))
)
