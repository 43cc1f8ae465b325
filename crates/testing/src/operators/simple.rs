//! Modules for the operators that take values, an address, a lane or lanes, made from wasmparser's table of operators.
//! What types an operator takes and gives is found by asking the validator.

use super::Case;
use rayon::prelude::*;
use wasmparser::{Operator, Validator, WasmFeatures};

/// An operator as wasmparser's table has it.
struct Row {
    /// The variant of [`Operator`].
    name: &'static str,
    /// The name of the visitor's method, without `visit_`.
    method: &'static str,
    /// The names of its immediates.
    immediates: &'static [&'static str],
    /// The number of operands and results, "2 -> 1", or "custom".
    arity: &'static str,
}

macro_rules! table {
    ($( @$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident (arity $($arity:tt)*) )*) => {
        const ROWS: &[Row] = &[$(Row {
            name: stringify!($op),
            method: stringify!($visit),
            immediates: &[$($(stringify!($arg)),*)?],
            arity: stringify!($($arity)*),
        }),*];

        /// The name of an operator.
        pub fn name_of(operator: &Operator<'_>) -> &'static str {
            match operator {
                $(Operator::$op { .. } => stringify!($op),)*
                _ => "an operator that the table lacks",
            }
        }
    };
}
wasmparser::for_each_operator!(table);

/// The names of all operators.
pub fn all() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.name)
}

const TYPES: [&str; 5] = ["i32", "i64", "f32", "f64", "v128"];

/// An instruction whose operands and results are numbers or vectors.
pub struct Instruction {
    /// The operator's name.
    pub name: &'static str,
    /// As it is written, immediates and all.
    pub text: String,
    /// The types that it takes.
    pub operands: Types,
    /// The types that it gives.
    pub results: Types,
}

/// All of them.
pub fn instructions() -> Vec<Instruction> {
    ROWS.par_iter().filter_map(instruction).collect()
}

/// A module for each.
pub fn cases() -> Vec<Case> {
    let case = |instruction: Instruction| Case { name: instruction.name.to_owned(), text: module(&instruction) };
    instructions().into_iter().map(case).collect()
}

/// The operator as an instruction, if it is simple.
fn instruction(row: &Row) -> Option<Instruction> {
    let immediates = match row.immediates {
        [] | ["memarg"] => "",
        ["lane"] | ["memarg", "lane"] => " 1",
        ["lanes"] => " 0 17 2 19 4 21 6 23 8 25 10 27 12 29 14 31",
        _ => return None,
    };
    let (operands, results) = row.arity.split_once(" -> ")?;
    let (operands, results): (usize, usize) = (operands.trim().parse().ok()?, results.trim().parse().ok()?);
    if operands + results == 0 {
        return None;
    }
    let text = format!("{}{immediates}", mnemonic(row.method.strip_prefix("visit_")?));
    let (operands, results) = signature(&text, operands, results)?;
    Some(Instruction { name: row.name, text, operands, results })
}

/// `i32_atomic_rmw8_add_u` is written `i32.atomic.rmw8.add_u`, `i8x16_add` is `i8x16.add`.
fn mnemonic(method: &str) -> String {
    let mut text = method.replacen('_', ".", 1);
    text = text.replace(".atomic_", ".atomic.");
    for width in ["rmw_", "rmw8_", "rmw16_", "rmw32_"] {
        text = text.replace(&format!(".{width}"), &format!(".{}.", width.trim_end_matches('_')));
    }
    text
}

/// Types of values, in the text format.
pub type Types = Vec<&'static str>;

fn signature(instruction: &str, operands: usize, results: usize) -> Option<(Types, Types)> {
    let drops = "drop ".repeat(results);
    let operands = combinations(operands).find(|operands| is_valid(&function(instruction, operands, &[], &drops)))?;
    let results = combinations(results).find(|results| is_valid(&function(instruction, &operands, results, "")))?;
    Some((operands, results))
}

fn combinations(count: usize) -> impl Iterator<Item = Types> {
    (0..TYPES.len().pow(count as u32)).map(move |mut number| {
        let mut types = Vec::new();
        for _ in 0..count {
            types.push(TYPES[number % TYPES.len()]);
            number /= TYPES.len();
        }
        types
    })
}

fn function(instruction: &str, operands: &[&str], results: &[&str], after: &str) -> String {
    let gets: String = (0..operands.len()).map(|index| format!("local.get {index} ")).collect();
    let function =
        format!("(func (param {}) (result {}) {gets} {instruction} {after})", operands.join(" "), results.join(" "));
    format!("(module (memory 1 2 shared) {function})")
}

fn is_valid(text: &str) -> bool {
    let Ok(wasm) = wat::parse_str(text) else { return false };
    Validator::new_with_features(WasmFeatures::all()).validate_all(&wasm).is_ok()
}

fn module(instruction: &Instruction) -> String {
    let atomic = instruction.text.contains("atomic");
    let memory = if atomic { "(memory 1 2 shared)" } else { "(memory 1)" };
    let exports = (0..).map(|number| format!("(export \"{number}\" (func {number}))"));
    let functions = functions(instruction);
    let exports: String = exports.take(functions.len()).collect();
    format!("(module {memory} {exports} {})", functions.concat())
}

/// The operator with unknown operands, with the last one constant, and with constants only: code generators
/// have rules of their own for each.
pub fn functions(Instruction { text, operands, results, .. }: &Instruction) -> Vec<String> {
    let constant = |of: &str| match of {
        "v128" => "v128.const i64x2 0x0123456789abcdef 0x7f80000000000001".to_owned(),
        // A multiple of 8, as atomic accesses need.
        other => format!("{other}.const 8"),
    };
    let mut functions = Vec::new();
    for constants in [0, 1, operands.len()] {
        let unknown = operands.len().saturating_sub(constants);
        let pushes: Vec<_> = operands
            .iter()
            .enumerate()
            .map(|(index, of)| if index < unknown { format!("local.get {index}") } else { constant(of) })
            .collect();
        let (operands, results) = (operands.join(" "), results.join(" "));
        functions.push(format!("(func (param {operands}) (result {results}) {} {text})", pushes.join(" ")));
        if operands.is_empty() || operands.len() == 1 && constants == 1 {
            break;
        }
    }
    functions
}
