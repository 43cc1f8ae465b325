;; In: add(a, b) and sum(list). Out: the sum, wrapping at 32 bits. A component without imports; `sum` makes the host
;; lower a list through `realloc`.
(component $adder
  (core module $core
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 8))
    ;; Hands out memory and never takes it back: calls are few. Old pointer and size are always 0 here.
    (func (export "realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
      (local $start i32)
      (local.set $start
        (i32.and
          (i32.add (global.get $next) (i32.sub (local.get $align) (i32.const 1)))
          (i32.sub (i32.const 0) (local.get $align))))
      (global.set $next (i32.add (local.get $start) (local.get $size)))
      (if (i32.gt_u (global.get $next) (i32.mul (memory.size) (i32.const 65536)))
        (then
          (if (i32.eq
                (memory.grow (i32.add (i32.shr_u (local.get $size) (i32.const 16)) (i32.const 1)))
                (i32.const -1))
            (then (unreachable)))))
      (local.get $start))
    (func (export "add") (param i32 i32) (result i32)
      (i32.add (local.get 0) (local.get 1)))
    (func (export "sum") (param $pointer i32) (param $count i32) (result i32)
      (local $total i32)
      (block $done
        (loop $next
          (br_if $done (i32.eqz (local.get $count)))
          (local.set $total (i32.add (local.get $total) (i32.load (local.get $pointer))))
          (local.set $pointer (i32.add (local.get $pointer) (i32.const 4)))
          (local.set $count (i32.sub (local.get $count) (i32.const 1)))
          (br $next)))
      (local.get $total)))
  (core instance $instance (instantiate $core))
  (func (export "add") (param "a" u32) (param "b" u32) (result u32)
    (canon lift (core func $instance "add")))
  (func (export "sum") (param "values" (list u32)) (result u32)
    (canon lift
      (core func $instance "sum")
      (memory (core memory $instance "memory"))
      (realloc (core func $instance "realloc"))))
)
