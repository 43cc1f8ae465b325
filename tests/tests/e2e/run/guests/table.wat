;; Traps when its table does not grow any more.
(module (table $t 1 funcref)
  (func (export "_start") (loop (if (i32.eq (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1)) (then unreachable)) br 0)))
