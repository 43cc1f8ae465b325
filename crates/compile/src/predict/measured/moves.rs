//! Out: modules of values of each type on their way through calls, globals and branches, and of what runs at the start.

/// Data, tables, globals and a function for a module's start, each of which leaves code that runs before any other.
pub(super) const STARTUP: &str = "(module
    (import \"m\" \"base\" (global $base i32)) (import \"m\" \"memory\" (memory 1)) (import \"m\" \"table\" (table 1 funcref))
    (global i32 (i32.add (global.get $base) (i32.const 5))) (global i64 (i64.const 7)) (global (mut i32) (i32.const 1))
    (table $own 3 3 funcref) (elem (table $own) (i32.const 0) func $f $f) (elem (global.get $base) func $f)
    (data (i32.const 5) \"some data\") (data (global.get $base) \"more\")
    (func $f) (start $f))";

/// Values on their way: through parameters, results, registers that calls destroy, branches, globals, tables of
/// functions. Of `only` if that names a type.
pub(super) fn types(only: &str) -> String {
    let scalars = ["i32", "i64", "f32", "f64", "externref", "funcref"];
    let chosen: Vec<_> = if only.is_empty() { scalars.to_vec() } else { vec![only] };
    let mut imports = String::new();
    let mut functions = "(func (export \"nothing\")) (func) (table 4 funcref)".to_owned();
    for (number, of) in chosen.iter().enumerate() {
        let many = format!("{of} ").repeat(20);
        let zero = match *of {
            "externref" => "ref.null extern".to_owned(),
            "funcref" => "ref.null func".to_owned(),
            "v128" => "v128.const i64x2 1 2".to_owned(),
            number => format!("{number}.const 1"),
        };
        let gets = |of: std::ops::Range<u32>| of.map(|index| format!("(local.get {index}) ")).collect::<String>();
        let all = gets(0..20);
        imports += &format!("(import \"m\" \"f{number}\" (func $import{number} (param {of}) (result {of})))");
        imports += &format!("(import \"m\" \"g{number}\" (global $from{number} (mut {of})))");
        functions += &format!(
            "(global $g{number} (mut {of}) ({zero}))
             (type $t{number} (func (param {of}) (result {of})))
             (func $same{number} (export \"same{number}\") (param {of}) (result {of}) (local.get 0))
             (func (export \"swap{number}\") (param {of} {of}) (result {of} {of}) (local.get 1) (local.get 0))
             (func $many{number} (export \"many{number}\") (param {many}) (result {many}) {all})
             (func (param {many}) (result {of}) (call $import{number} (local.get 19)))
             (func (param {of} {of}) (result {of} {of}) (call $import{number} (local.get 0)) (local.get 1))
             (func (param {of}) (result {of}) (call $same{number} (local.get 0)))
             (func (param {many}) (result {many}) (call $many{number} {all}))
             (func (param {of} i32) (result {of}) (call_indirect (type $t{number}) (local.get 0) (local.get 1)))
             (func (param {of}) (result {of}) (return_call $same{number} (local.get 0)))
             (func (param {of} i32) (result {of}) (local {of})
               (loop (local.set 2 (call $same{number} (local.get 0))) (br_if 0 (local.get 1))) (local.get 2))
             (func (param {of} {of} i32) (result {of})
               (if (result {of}) (local.get 2) (then (local.get 0)) (else (local.get 1))))
             (func (param {of} {of} i32) (result {of})
               (block (result {of}) (br_if 0 (local.get 0) (local.get 2)) (drop) (local.get 1)))
             (func (param {of} {of} i32) (result {of}) (select (result {of}) (local.get 0) (local.get 1) (local.get 2)))
             (func (param {of}) (result {of}) (global.get $g{number}) (global.set $g{number} (local.get 0)))
             (func (param {of}) (result {of}) (global.get $from{number}) (global.set $from{number} (local.get 0)))
             (func (result {of}) (local {of}) (local.get 0))
             (func (result {of}) ({zero}))
             (elem declare func $same{number})
             (func (param (ref null $t{number}) {of}) (result {of}) (call_ref $t{number} (local.get 1) (local.get 0)))"
        );
    }
    format!("(module {imports} {functions})")
}
