//! Modules that are hard for a compiler, made by code. In: how much smaller than full size they are to be. Out: text, each
//! with an exported function `run` of one number. Never here: a compiler.

use std::fmt::Write;

/// A module.
#[derive(Debug)]
pub struct Pathological {
    /// What is large in it.
    pub name: &'static str,
    /// The module as text.
    pub text: String,
}

/// All of them, their sizes divided by `divisor`: 1 is full size.
pub fn modules(divisor: usize) -> Vec<Pathological> {
    let part = |full: usize| (full / divisor).max(2);
    let module = |name, text| Pathological { name, text };
    vec![
        module("loops", loops(part(3000), 60.min(part(3000)))),
        module("br-table", br_table(part(50_000))),
        module("large-function", large_function(part(7_000_000))),
        module("null-elements", null_elements(part(1_000_000))),
        module("functions", functions(part(100_000))),
    ]
}

/// `count` variables that live through `depth` nested loops; the innermost adds each variable's neighbour to it.
fn loops(count: usize, depth: usize) -> String {
    let mut text = "(module (func (export \"run\") (param i32) (result i32) (local".to_owned();
    text += &" i32".repeat(count);
    text += ")\n";
    // The parameter is the first of the variables.
    for local in 1..=count {
        let _ = writeln!(text, "(local.set {local} (i32.add (local.get 0) (i32.const {local})))");
    }
    text += &"(loop\n".repeat(depth);
    for local in 0..count {
        let _ = writeln!(text, "(local.set {local} (i32.add (local.get {local}) (local.get {})))", local + 1);
    }
    // The last variable is 0 from here on, so that every loop ends.
    let _ = writeln!(text, "(local.set {count} (i32.const 0))");
    text += &format!("(br_if 0 (local.get {count})))\n").repeat(depth);
    text + "(local.get 0)))\n"
}

/// A jump by a table of `count` entries to one of 64 blocks, each of which returns a number of its own.
fn br_table(count: usize) -> String {
    const BLOCKS: usize = 64;
    let mut text = "(module (func (export \"run\") (param i32) (result i32)\n".to_owned();
    text += &"(block\n".repeat(BLOCKS);
    text += "(br_table";
    for entry in 0..count {
        // Neighbours differ, so that no range of the table is one case.
        let _ = write!(text, " {}", entry * 37 % BLOCKS);
    }
    text += " 0 (local.get 0))\n";
    for block in 0..BLOCKS {
        let _ = writeln!(text, ")(return (i32.const {}))", block * 3);
    }
    // Every block returns.
    text + "(unreachable)))\n"
}

/// One function whose body has about `bytes` bytes.
fn large_function(bytes: usize) -> String {
    /// Two reads and a write of a variable, a constant of four bytes, two operations.
    const STATEMENT_BYTES: usize = 13;
    const LOCALS: usize = 8;
    let mut text =
        "(module (func (export \"run\") (param i32) (result i32) (local i32 i32 i32 i32 i32 i32 i32)\n".to_owned();
    for statement in 0..(bytes / STATEMENT_BYTES).max(1) {
        let (one, other, to) = (statement % LOCALS, (statement * 3 + 1) % LOCALS, (statement * 5 + 2) % LOCALS);
        let constant = 0x0100_0000 + statement;
        let _ = writeln!(
            text,
            "(local.set {to} (i32.add (i32.xor (local.get {one}) (local.get {other})) (i32.const {constant})))"
        );
    }
    text + "(local.get 0)))\n"
}

/// A table that is filled with `count` null references, each an expression of its own.
fn null_elements(count: usize) -> String {
    let mut text = format!("(module (table $t {count} funcref)\n(elem (table $t) (i32.const 0) funcref\n");
    text += &"(ref.null func)\n".repeat(count);
    text + ")\n(func (export \"run\") (param i32) (result i32) (ref.is_null (table.get $t (i32.const 1)))))\n"
}

/// `count` functions, each of which may call the next: a dozen calls deep at most, whatever the number.
fn functions(count: usize) -> String {
    let mut text = "(module (func (export \"run\") (param i32) (result i32) (call 1 (local.get 0)))\n".to_owned();
    for function in 1..count {
        let _ = writeln!(
            text,
            "(func (param i32) (result i32) (if (result i32) (i32.eq (i32.and (local.get 0) (i32.const 7)) (i32.const \
             {})) (then (call {} (i32.shr_u (local.get 0) (i32.const 3)))) (else (i32.add (local.get 0) (i32.const \
             {function})))))",
            function % 8,
            (function + 1) % count,
        );
    }
    text + ")\n"
}
