;; A reactor, whose `get` gives 42 once it is initialized.
(module (global $g (mut i32) (i32.const 1)) (func (export "_initialize") (global.set $g (i32.const 42))) (func (export "get") (result i32) global.get $g))
