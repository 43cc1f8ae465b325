;; In: nothing, or a depth. Out: `run` gives 0 or the number of the first check that failed; `churn` allocates and
;; drops trees until the collector must run and gives the number of nodes seen; `bad_cast`, `null_field` and
;; `array_oob` trap.
(module $gc
  (rec
    (type $shape (sub (struct (field $name i32))))
    (type $square (sub final $shape (struct (field $name i32) (field $side f64))))
    (type $rectangle (sub $shape (struct (field $name i32) (field $width f64) (field $height f64)))))
  (rec (type $tree (struct (field $left (ref null $tree)) (field $right (ref null $tree)) (field $value (mut i64)))))
  (type $bytes (array (mut i8)))
  (type $shapes (array (mut (ref null $shape))))
  (type $transform (func (param i32) (result i32)))
  (data $text "garbage collected")
  (global $kept (mut (ref null $tree)) (ref.null $tree))

  (func $grow (param $depth i32) (result (ref $tree))
    (if (result (ref $tree)) (i32.eqz (local.get $depth))
      (then (struct.new $tree (ref.null $tree) (ref.null $tree) (i64.const 1)))
      (else
        (struct.new $tree
          (call $grow (i32.sub (local.get $depth) (i32.const 1)))
          (call $grow (i32.sub (local.get $depth) (i32.const 1)))
          (i64.const 1)))))

  (func $sum (param $tree (ref null $tree)) (result i64)
    (block $empty
      (return
        (i64.add
          (struct.get $tree $value (br_on_null $empty (local.get $tree)))
          (i64.add
            (call $sum (struct.get $tree $left (local.get $tree)))
            (call $sum (struct.get $tree $right (local.get $tree)))))))
    (i64.const 0))

  ;; One tree stays reachable all along; its sum shows that the collector left it alone.
  (func $churn (export "churn") (param $depth i32) (param $rounds i32) (result i64)
    (local $seen i64)
    (global.set $kept (call $grow (local.get $depth)))
    (loop $next
      (local.set $seen (i64.add (local.get $seen) (call $sum (call $grow (local.get $depth)))))
      (local.set $rounds (i32.sub (local.get $rounds) (i32.const 1)))
      (br_if $next (local.get $rounds)))
    (i64.add (local.get $seen) (call $sum (global.get $kept))))

  (func $area (param $shape (ref null $shape)) (result f64)
    (block $is_square (result (ref $square))
      (br_on_cast $is_square (ref null $shape) (ref $square) (local.get $shape))
      (if (ref.test (ref $rectangle)) (then
        (return
          (f64.mul
            (struct.get $rectangle $width (ref.cast (ref $rectangle) (local.get $shape)))
            (struct.get $rectangle $height (ref.cast (ref $rectangle) (local.get $shape)))))))
      (return (f64.const 0)))
    (struct.get $square $side)
    (f64.mul (struct.get $square $side (ref.cast (ref $square) (local.get $shape)))))

  (func $areas (result f64)
    (local $all (ref $shapes)) (local $at i32) (local $total f64)
    (local.set $all
      (array.new_fixed $shapes 4
        (struct.new $square (i32.const 1) (f64.const 3))
        (struct.new $rectangle (i32.const 2) (f64.const 2) (f64.const 5.5))
        (struct.new $shape (i32.const 3))
        (ref.null $shape)))
    (loop $next
      (local.set $total
        (f64.add (local.get $total) (call $area (array.get $shapes (local.get $all) (local.get $at)))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $at) (array.len (local.get $all)))))
    (local.get $total))

  ;; FNV-1a, 32 bits, of "garbage collected" followed by its first 7 bytes.
  (func $hash (result i32)
    (local $bytes (ref $bytes)) (local $at i32) (local $hash i32)
    (local.set $bytes (array.new_default $bytes (i32.const 24)))
    (array.init_data $bytes $text (local.get $bytes) (i32.const 0) (i32.const 0) (i32.const 17))
    (array.copy $bytes $bytes (local.get $bytes) (i32.const 17) (local.get $bytes) (i32.const 0) (i32.const 7))
    (local.set $hash (i32.const 0x811c9dc5))
    (loop $next
      (local.set $hash
        (i32.mul
          (i32.xor (local.get $hash) (array.get_u $bytes (local.get $bytes) (local.get $at)))
          (i32.const 0x01000193)))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $at) (array.len (local.get $bytes)))))
    (local.get $hash))

  (func $increment (type $transform) (i32.add (local.get 0) (i32.const 1)))
  (elem declare func $increment)

  ;; An i31 goes through anyref and a typed function reference and comes back negative.
  (func $small (result i32)
    (local $any anyref) (local $function (ref $transform))
    (local.set $any (ref.i31 (i32.const -6)))
    (local.set $function (ref.func $increment))
    (call_ref $transform (i31.get_s (ref.cast (ref i31) (local.get $any))) (local.get $function)))

  (func (export "hash") (result i32) (call $hash))

  (func (export "run") (result i32)
    (local $one (ref $tree))
    (if (i64.ne (call $sum (call $grow (i32.const 10))) (i64.const 2047)) (then (return (i32.const 1))))
    (if (f64.ne (call $areas) (f64.const 20)) (then (return (i32.const 2))))
    (if (i32.ne (call $small) (i32.const -5)) (then (return (i32.const 3))))
    (local.set $one (call $grow (i32.const 0)))
    (struct.set $tree $value (local.get $one) (i64.const 77))
    (if (i64.ne (call $sum (local.get $one)) (i64.const 77)) (then (return (i32.const 4))))
    (if (ref.eq (local.get $one) (call $grow (i32.const 0))) (then (return (i32.const 5))))
    (i32.const 0))

  (func (export "bad_cast") (result f64)
    (call $as_square (struct.new $rectangle (i32.const 2) (f64.const 2) (f64.const 5.5))))
  (func $as_square (param $shape (ref $shape)) (result f64)
    (struct.get $square $side (ref.cast (ref $square) (local.get $shape))))
  (func (export "null_field") (result i64)
    (struct.get $tree $value (global.get $kept)))
  (func (export "array_oob") (result i32)
    (array.get_u $bytes (array.new_default $bytes (i32.const 24)) (i32.const 24)))
)
