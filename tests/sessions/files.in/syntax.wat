(module
  (fnc))
