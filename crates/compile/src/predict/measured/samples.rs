//! Out: modules of small functions that between them have every operator, and what each of the functions is made of.

use super::{fused, moves};
use crate::Input;
use crate::predict::ingredients::{Ingredient, Ingredients};
use crate::predict::operators::{self, of_type};
use isomer_testing::operators::{Case, simple, special};
use std::path::Path;
use wasmparser::{Parser, Payload, TypeRef, ValType};

/// A module and what its functions are made of.
pub(super) struct Sample {
    pub(super) input: Input,
    /// Too large to be compiled for more than the ways between shipped profiles.
    pub(super) shipped_only: bool,
    /// By number, the imported ones too.
    pub(super) functions: Vec<Function>,
}

/// One function of a sample.
pub(super) struct Function {
    /// The types of its parameters and results.
    pub(super) signature: Ingredients,
    /// What its body is made of; nothing for an import.
    pub(super) body: Ingredients,
}

impl Sample {
    pub(super) fn new(name: &str, text: String) -> Sample {
        let input = Input::from_bytes(Path::new("sample.wat"), name, text.clone().into());
        let input = input.unwrap_or_else(|error| panic!("{name}: {error:?}\n{text}"));
        let functions = functions(&input.wasm);
        Sample { input, shipped_only: false, functions }
    }
}

fn functions(wasm: &[u8]) -> Vec<Function> {
    let mut signatures = Vec::new();
    let mut functions = Vec::new();
    let mut defined = 0..;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.unwrap() {
            Payload::TypeSection(section) => {
                for subtype in section.into_iter().flat_map(|group| group.unwrap().into_types()) {
                    let types = match &subtype.composite_type.inner {
                        wasmparser::CompositeInnerType::Func(function) => function
                            .params()
                            .iter()
                            .chain(function.results())
                            .map(|of: &ValType| of_type(*of))
                            .collect(),
                        _ => Ingredients::default(),
                    };
                    signatures.push(types);
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    if let TypeRef::Func(index) = import.unwrap().ty {
                        let signature = signatures[index as usize].clone();
                        functions.push(Function { signature, body: Ingredients::default() });
                    }
                }
                defined = functions.len()..;
            }
            Payload::FunctionSection(section) => {
                let function = |index: u32| Function {
                    signature: signatures[index as usize].clone(),
                    body: Ingredients::default(),
                };
                functions.extend(section.into_iter().map(|index| function(index.unwrap())));
            }
            Payload::CodeSectionEntry(body) => {
                functions[defined.next().unwrap()].body = operators::ingredients(&body).unwrap();
            }
            _ => {}
        }
    }
    functions
}

/// All samples.
pub(super) fn all() -> Vec<Sample> {
    let instructions = simple::instructions();
    let is_vector = |instruction: &simple::Instruction| {
        instruction.operands.iter().chain(&instruction.results).any(|of| *of == "v128")
    };
    let is_atomic = |instruction: &simple::Instruction| instruction.text.contains("atomic");
    let is_access = |instruction: &simple::Instruction| {
        Ingredient::named(instruction.name).is_some() && accesses_memory(&instruction.text)
    };
    let module = |name: &str, memory: &str, chosen: &dyn Fn(&simple::Instruction) -> bool| {
        let functions: String = instructions.iter().filter(|row| chosen(row)).flat_map(simple::functions).collect();
        Sample::new(name, format!("(module {memory} {functions})"))
    };
    let wide = |name: &str, chosen: &dyn Fn(&simple::Instruction) -> bool| {
        let functions: String =
            instructions.iter().filter(|row| is_access(row) && chosen(row)).map(wide_access).collect();
        Sample::new(name, format!("(module (memory i64 1) {functions})"))
    };
    let mut samples = vec![
        module("scalars", "(memory 1)", &|row| !is_vector(row) && !is_atomic(row)),
        module("vectors", "(memory 1)", &is_vector),
        module("atomics", "(memory 1)", &|row| is_atomic(row)),
        module("atomics, shared", "(memory 1 2 shared)", &|row| is_atomic(row)),
        wide("scalars, 64 bits", &|row| !is_vector(row)),
        wide("vectors, 64 bits", &is_vector),
        Sample::new("types", moves::types("")),
        Sample::new("vector types", moves::types("v128")),
        Sample::new("fused scalars", fused::scalars()),
        Sample::new("fused vectors", fused::vectors()),
        Sample::new("startup", moves::STARTUP.to_owned()),
    ];
    // What arrays do is much alike for numbers, and for references, of every kind.
    let arrays = ["array of i8", "array of f64", "array of v128", "array of externref"];
    let chosen = |case: &Case| !case.name.starts_with("array of") || arrays.contains(&case.name.as_str());
    let sample = |case: Case| Sample { shipped_only: true, ..Sample::new(&case.name, case.text) };
    samples.extend(special::cases().into_iter().filter(chosen).map(sample));
    samples
}

fn accesses_memory(text: &str) -> bool {
    ["load", "store", "atomic"].iter().any(|word| text.contains(word)) && !text.contains("fence")
}

/// The access with an address of 64 bits.
fn wide_access(simple::Instruction { text, operands, results, .. }: &simple::Instruction) -> String {
    let operands: Vec<_> = ["i64"].into_iter().chain(operands[1..].iter().copied()).collect();
    let gets: String = (0..operands.len()).map(|index| format!("local.get {index} ")).collect();
    format!("(func (param {}) (result {}) {gets} {text})", operands.join(" "), results.join(" "))
}
