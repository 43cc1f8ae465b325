;; Never returns.
(module
  (func (export "run") (loop $again (br $again))))
