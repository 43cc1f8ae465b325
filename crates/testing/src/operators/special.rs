//! Modules for the operators whose operands or immediates are of a kind of their own: control, tables, bulk memory,
//! garbage collection, exceptions, continuations; and for lengths that code generators expand by themselves.

use super::Case;

/// Whether no module here uses the operator: one without a use, and those of proposals that wasmtime
/// 48 does not compile, which `isomer` refuses by the proposal's name.
pub fn is_left_out(operator: &str) -> bool {
    // The atomic accesses of shared-everything-threads, unlike those of threads, name what they access.
    let shared = ["GlobalAtomic", "TableAtomic", "StructAtomic", "ArrayAtomic", "RefI31Shared"];
    LEFT_OUT.contains(&operator) || shared.iter().any(|prefix| operator.starts_with(prefix))
}

const LEFT_OUT: &[&str] = &[
    // Valid with one type only, for which there is another operator.
    "TypedSelectMulti",
    "StructNewDesc",
    "StructNewDefaultDesc",
    "RefGetDesc",
    "RefCastDescEqNonNull",
    "RefCastDescEqNullable",
    "BrOnCastDescEq",
    "BrOnCastDescEqFail",
    "MemoryDiscard",
    "Try",
    "Catch",
    "Rethrow",
    "Delegate",
    "CatchAll",
];

/// Lengths in bytes around those that wasmtime and Cranelift treat one by one.
const LENGTHS: [u32; 16] = [0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 64, 127, 128, 129];

/// The modules.
pub fn cases() -> Vec<Case> {
    let fixed = FIXED.iter().map(|(name, text)| Case { name: (*name).to_owned(), text: format!("(module {text})") });
    fixed.chain(bulk_memory()).chain(arrays()).chain(structs()).collect()
}

fn bulk_memory() -> impl Iterator<Item = Case> {
    [("i32", ""), ("i64", "i64")].into_iter().map(|(index, memory)| {
        let mut functions = String::new();
        for length in LENGTHS {
            functions += &format!(
                "(func (param {index} {index}) (memory.copy (local.get 0) (local.get 1) ({index}.const {length})))
                 (func (param {index} i32) (memory.fill (local.get 0) (local.get 1) ({index}.const {length})))
                 (func (param {index}) (memory.fill (local.get 0) (i32.const 7) ({index}.const {length})))
                 (func (param {index} i32) (memory.init $data (local.get 0) (local.get 1) (i32.const {length})))
                 (func (param {index}) (memory.init $data (local.get 0) (i32.const 0) (i32.const {length})))
                 (func (param {index} {index}) (memory.copy 0 1 (local.get 0) (local.get 1) ({index}.const {length})))",
            );
        }
        let bytes = "x".repeat(256);
        let text = format!(
            "(module (memory {memory} 1) (memory {memory} 1) (data $data \"{bytes}\") {functions}
               (func (param {index} {index} {index}) (memory.copy (local.get 0) (local.get 1) (local.get 2)))
               (func (param {index} i32 {index}) (memory.fill (local.get 0) (local.get 1) (local.get 2)))
               (func (param {index} i32 i32) (memory.init $data (local.get 0) (local.get 1) (local.get 2)))
               (func (data.drop $data))
               (func (result {index}) (memory.size))
               (func (param {index}) (result {index}) (memory.grow (local.get 0))))"
        );
        Case { name: format!("bulk memory, {index}"), text }
    })
}

fn arrays() -> impl Iterator<Item = Case> {
    let numeric = ["i8", "i16", "i32", "i64", "f32", "f64", "v128"];
    let references = ["(ref null any)", "externref", "funcref", "(ref null i31)", "(ref null $a)"];
    numeric.into_iter().chain(references).map(move |element| {
        let value = if element.starts_with("i8") || element.starts_with("i16") { "i32" } else { element };
        let packed = value != element;
        let get = if packed { "array.get_s $a" } else { "array.get $a" };
        let zero = match value {
            "v128" => "v128.const i64x2 0 0".to_owned(),
            "i32" | "i64" | "f32" | "f64" => format!("{value}.const 0"),
            "externref" => "ref.null extern".to_owned(),
            "funcref" => "ref.null func".to_owned(),
            "(ref null i31)" => "ref.null i31".to_owned(),
            "(ref null $a)" => "ref.null $a".to_owned(),
            _ => "ref.null any".to_owned(),
        };
        let mut functions = format!(
            "(func (param i32) (result (ref $a)) (array.new $a ({zero}) (local.get 0)))
             (func (param {value} i32) (result (ref $a)) (array.new $a (local.get 0) (local.get 1)))
             (func (param i32) (result (ref $a)) (array.new_default $a (local.get 0)))
             (func (param (ref $a) i32) (result {value}) ({get} (local.get 0) (local.get 1)))
             (func (param (ref $a) i32 {value}) (array.set $a (local.get 0) (local.get 1) (local.get 2)))
             (func (param (ref $a)) (result i32) (array.len (local.get 0)))
             (func (param (ref $a) i32 i32 {value}) (array.fill $a (local.get 0) (local.get 1) (local.get 3) (local.get 2)))
             (func (param (ref $a) i32 (ref $a) i32 i32)
               (array.copy $a $a (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4)))"
        );
        if packed {
            functions += "(func (param (ref $a) i32) (result i32) (array.get_u $a (local.get 0) (local.get 1)))";
        }
        for length in LENGTHS {
            functions += &format!(
                "(func (param (ref $a) (ref $a))
                   (array.copy $a $a (local.get 0) (i32.const 0) (local.get 1) (i32.const 0) (i32.const {length})))
                 (func (param (ref $a))
                   (array.fill $a (local.get 0) (i32.const 0) ({zero}) (i32.const {length})))
                 (func (result (ref $a)) (array.new_default $a (i32.const {length})))
                 (func (result (ref $a)) (array.new $a ({zero}) (i32.const {length})))"
            );
            if !zero.starts_with("ref.") {
                functions += &format!(
                    "(func (result (ref $a)) (array.new_data $a $data (i32.const 0) (i32.const {length})))
                     (func (param (ref $a))
                       (array.init_data $a $data (local.get 0) (i32.const 0) (i32.const 0) (i32.const {length})))"
                );
            }
        }
        let segment = if zero.starts_with("ref.") {
            functions += "(func (param i32 i32) (result (ref $a)) (array.new_elem $a $elem (local.get 0) (local.get 1)))
                (func (param (ref $a) i32 i32 i32)
                  (array.init_elem $a $elem (local.get 0) (local.get 1) (local.get 2) (local.get 3)))
                (func (elem.drop $elem))";
            let kind = if element == "(ref null $a)" { "(ref null $a)" } else { element };
            format!("(elem $elem {kind} (item {zero}))")
        } else {
            functions += "(func (param i32 i32) (result (ref $a)) (array.new_data $a $data (local.get 0) (local.get 1)))";
            format!("(data $data \"{}\")", "x".repeat(256))
        };
        let fixed = if zero.starts_with("ref.") { 2 } else { 5 };
        let items = format!("({zero}) ").repeat(fixed);
        functions += &format!("(func (result (ref $a)) (array.new_fixed $a {fixed} {items}))");
        let text = format!("(module (type $a (array (mut {element}))) {segment} {functions})");
        Case { name: format!("array of {element}"), text }
    })
}

fn structs() -> impl Iterator<Item = Case> {
    let fields =
        ["i8", "i16", "i32", "i64", "f32", "f64", "v128", "anyref", "externref", "funcref", "exnref", "i31ref"];
    fields.into_iter().map(|field| {
        let value = if ["i8", "i16"].contains(&field) { "i32" } else { field };
        let gets = if value == field { vec!["struct.get"] } else { vec!["struct.get_s", "struct.get_u"] };
        let gets: String = gets
            .iter()
            .map(|get| format!("(func (param (ref null $s)) (result {value}) ({get} $s 1 (local.get 0)))"))
            .collect();
        let text = format!(
            "(module (type $s (struct (field i64) (field (mut {field})) (field i8)))
               (func (param {value}) (result (ref $s)) (struct.new $s (i64.const 1) (local.get 0) (i32.const 2)))
               (func (result (ref $s)) (struct.new_default $s))
               (func (param (ref $s) {value}) (struct.set $s 1 (local.get 0) (local.get 1)))
               {gets})"
        );
        Case { name: format!("struct with {field}"), text }
    })
}

const FIXED: &[(&str, &str)] = &[
    ("unreachable", "(func unreachable)"),
    ("nop", "(func nop)"),
    (
        "blocks",
        "(func (param i32) (result i32)
           (block $a (result i32) (loop $b (br_if $b (local.get 0)) (br_table $b $b (local.get 0)) unreachable)
           (if (result i32) (local.get 0) (then (br $a (i32.const 1))) (else (return (i32.const 2))))))",
    ),
    (
        "locals and globals",
        "(global $g (mut f64) (f64.const 1)) (global $v (mut v128) (v128.const i64x2 1 2))
         (func (param i32) (result i32) (local i32)
           (local.set 1 (local.tee 0 (i32.add (local.get 0) (i32.const 1)))) (drop (local.get 1)) (local.get 0))
         (func (result f64) (global.set $g (f64.neg (global.get $g))) (global.get $g))
         (func (result v128) (global.set $v (v128.not (global.get $v))) (global.get $v))",
    ),
    (
        "scalar globals",
        "(global $i (mut i32) (i32.const 1)) (global $f (mut f32) (f32.const 1))
         (func (param i32 f32) (global.set $i (local.get 0)) (global.set $f (local.get 1)))
         (func (result i32 f32) (global.get $i) (global.get $f))",
    ),
    (
        "constants",
        "(func (result i32 i64 f32 f64) (i32.const -5) (i64.const 0x123456789abcdef0) (f32.const nan:0x200000) (f64.const -0))
         (func (result v128) (v128.const f32x4 1 nan -inf 0))",
    ),
    (
        "scalar select",
        "(func (param i32 i32 i32) (result i32) (select (local.get 0) (local.get 1) (local.get 2)))
         (func (param i64 i64 i32) (result i64) (select (local.get 0) (local.get 1) (local.get 2)))
         (func (param f32 f32 i32) (result f32) (select (local.get 0) (local.get 1) (local.get 2)))
         (func (param f64 f64 f64) (result f64) (select (local.get 0) (local.get 1) (f64.lt (local.get 2) (local.get 0))))
         (func (param i64 i64 i32) (result i64) (select (result i64) (local.get 0) (local.get 1) (local.get 2)))",
    ),
    (
        "vector select",
        "(func (param v128 v128 i32) (result v128) (select (local.get 0) (local.get 1) (local.get 2)))
         (func (param v128 v128 i32) (result v128) (select (result v128) (local.get 0) (local.get 1) (local.get 2)))",
    ),
    (
        "vectors across calls",
        "(import \"m\" \"f\" (func $f (param v128 i32) (result v128 v128)))
         (func (param v128) (result v128 v128) (call $f (local.get 0) (i32.const 1)))
         (func (param v128 v128 v128 v128 v128 v128 v128 v128 v128 v128) (result v128) (i8x16.add (local.get 9) (local.get 0)))",
    ),
    (
        "calls",
        "(type $f (func (param i32) (result i32))) (import \"m\" \"f\" (func $i (type $f))) (table 1 funcref)
         (func $f (type $f) (local.get 0)) (elem declare func $f)
         (func (result i32) (call $f (call $i (i32.const 1))))
         (func (param i32) (result i32) (call_indirect (type $f) (local.get 0) (local.get 0)))
         (func (param (ref null $f)) (result i32) (call_ref $f (i32.const 1) (local.get 0)))",
    ),
    (
        "tail calls",
        "(type $f (func (param i32 f64) (result i32))) (table 1 funcref)
         (func $f (type $f) (return_call $f (i32.sub (local.get 0) (i32.const 1)) (local.get 1)))
         (func (param i32) (result i32) (return_call_indirect (type $f) (local.get 0) (f64.const 2) (local.get 0)))
         (func (param (ref null $f)) (result i32) (return_call_ref $f (i32.const 1) (f64.const 1) (local.get 0)))",
    ),
    (
        "vectors as results, few",
        "(func (result v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128) unreachable)",
    ),
    (
        "vectors as results, many",
        "(type $t (func (result v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128)))
         (func (export \"f\") (param v128) (result v128)
           (drop (i32x4.all_true (local.get 0))) (i8x16.neg (local.get 0)))",
    ),
    (
        "vectors as parameters, many",
        "(func $f (param v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128)
           (result v128) (local.get 17))
         (func (param v128) (result v128) (local.get 0) (local.get 0) (local.get 0) (local.get 0) (local.get 0)
           (local.get 0) (local.get 0) (local.get 0) (local.get 0) (local.get 0) (local.get 0) (local.get 0)
           (local.get 0) (local.get 0) (local.get 0) (local.get 0) (local.get 0) (local.get 0) (call $f))",
    ),
    (
        "many results",
        "(func $f (result i32 i64 f32 f64 i32 i64 f32 f64 i32 i64 f32 f64)
           (i32.const 1) (i64.const 1) (f32.const 1) (f64.const 1) (i32.const 1) (i64.const 1) (f32.const 1) (f64.const 1)
           (i32.const 1) (i64.const 1) (f32.const 1) (f64.const 1))
         (func (result i32 i64 f32 f64 i32 i64 f32 f64 i32 i64 f32 f64) (call $f))",
    ),
    ("select of several", "(func (param i32 i32 i32) (result i32) (select (result i32) (local.get 0) (local.get 1) (local.get 2)))"),
    (
        "tables",
        "(table $t 1 10 funcref) (table $x 1 externref) (table $l i64 1 funcref) (elem $e func 0)
         (func (param i32) (result funcref) (table.get $t (local.get 0)))
         (func (param i64) (result funcref) (table.get $l (local.get 0)))
         (func (param i32 externref) (table.set $x (local.get 0) (local.get 1)))
         (func (param funcref i32) (result i32) (table.grow $t (local.get 0) (local.get 1)))
         (func (result i32) (table.size $t))
         (func (param i32 externref i32) (table.fill $x (local.get 0) (local.get 1) (local.get 2)))
         (func (param i32 i32 i32) (table.copy $t $t (local.get 0) (local.get 1) (local.get 2)))
         (func (param i32 i32 i32) (table.init $t $e (local.get 0) (local.get 1) (local.get 2)))
         (func (elem.drop $e))",
    ),
    (
        "references",
        "(func $f) (elem declare func $f) (type $t (func))
         (func (result funcref externref i32) (ref.func $f) (ref.null extern) (ref.is_null (ref.null func)))
         (func (param (ref null $t)) (result (ref $t)) (ref.as_non_null (local.get 0)))
         (func (param (ref null $t)) (block $n (call_ref $t (br_on_null $n (local.get 0)))))
         (func (param (ref null $t)) (call_ref $t (block $n (result (ref $t)) (br_on_non_null $n (local.get 0)) (return))))",
    ),
    (
        "casts",
        "(type $s (sub (struct (field i32)))) (type $u (sub $s (struct (field i32) (field f64)))) (type $f (func))
         (func (param anyref) (result i32) (ref.test (ref $s) (local.get 0)))
         (func (param anyref) (result i32) (ref.test (ref null $s) (local.get 0)))
         (func (param anyref) (result i32) (ref.test (ref i31) (local.get 0)))
         (func (param anyref) (result i32) (ref.test (ref array) (local.get 0)))
         (func (param funcref) (result i32) (ref.test (ref $f) (local.get 0)))
         (func (param anyref) (result (ref $u)) (ref.cast (ref $u) (local.get 0)))
         (func (param anyref) (result (ref null $u)) (ref.cast (ref null $u) (local.get 0)))
         (func (param anyref) (result anyref)
           (drop (block $b (result (ref $s)) (br_on_cast $b anyref (ref $s) (local.get 0)) (return))) (ref.null any))
         (func (param anyref) (result anyref)
           (block $b (result anyref) (drop (br_on_cast_fail $b anyref (ref $s) (local.get 0))) (ref.null any)))
         (func (param eqref eqref) (result i32) (ref.eq (local.get 0) (local.get 1)))
         (func (param externref) (result anyref) (any.convert_extern (local.get 0)))
         (func (param anyref) (result externref) (extern.convert_any (local.get 0)))
         (func (param i32) (result (ref i31)) (ref.i31 (local.get 0)))
         (func (param (ref null i31)) (result i32 i32) (i31.get_s (local.get 0)) (i31.get_u (local.get 0)))",
    ),
    (
        "exceptions",
        "(tag $t (param i32 f64)) (tag $e)
         (func $f (param i32) (throw $t (local.get 0) (f64.const 1)))
         (func (param i32) (result i32 f64)
           (block $h (result i32 f64) (try_table (catch $t $h) (call $f (local.get 0))) (i32.const 1) (f64.const 2)))
         (func (param i32)
           (block $h (result exnref) (try_table (catch_all_ref $h) (call $f (local.get 0))) (return)) (throw_ref))
         (func (block $h (try_table (catch_all $h) (throw $e))))
         (func (block $h (result i32 f64 exnref) (try_table (catch_ref $t $h) (call $f (i32.const 1))) (return)) drop drop drop)",
    ),
    ("vectors in exceptions", "(tag $t (param v128)) (func (param v128) (throw $t (local.get 0)))
         (func (param v128) (result v128)
           (block $h (result v128) (try_table (catch $t $h) (throw $t (local.get 0))) unreachable))"),
    (
        "continuations",
        "(type $f (func)) (type $c (cont $f)) (type $g (func (param i32))) (type $d (cont $g)) (tag $t) (tag $x (param i32))
         (func $f) (elem declare func $f)
         (func (result (ref $c)) (cont.new $c (ref.func $f)))
         (func (suspend $t))
         (func (param (ref $c)) (block $h (result (ref $c)) (resume $c (on $t $h) (local.get 0)) (return)) drop)
         (func (param (ref $c)) (resume_throw $c $x (i32.const 1) (local.get 0)))
         (func (param (ref $c) exnref) (resume_throw_ref $c (local.get 1) (local.get 0)))
         (func (param (ref $d)) (result (ref $c)) (cont.bind $d $c (i32.const 1) (local.get 0)))",
    ),
    (
        "switch",
        "(rec (type $f (func (param (ref null $c)))) (type $c (cont $f))) (tag $t)
         (func (param (ref $c)) (result (ref null $c)) (switch $c $t (local.get 0)))",
    ),
    ("fences", "(memory 1 1 shared) (func atomic.fence)"),
    ("multi-value block", "(func (param i32) (result i32 i32) (local.get 0) (block (param i32) (result i32 i32) (i32.const 2)))"),
];
