;; Imports `double` from a module `math`.
(module (import "math" "double" (func $d (param i32) (result i32))) (func (export "quad") (param i32) (result i32) (call $d (call $d (local.get 0)))))
