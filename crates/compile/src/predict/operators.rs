//! In: a module or a component. Out: what each of its functions is made of. One pass over the bytes; nothing is
//! validated. Bytes that do not parse count as an unknown operator.

use super::ingredients::{F32, F64, I32, I64, Ingredient, Ingredients, NARROW_CONSTANT, REFERENCE, UNKNOWN, V128};
use rayon::prelude::*;
use std::collections::BTreeSet;
use wasmparser::{
    BlockType, CompositeInnerType, FunctionBody, Operator, Parser, Payload, StorageType, TypeRef, ValType,
};

/// What the functions of a module or component are made of: its operators and types of values, function by function,
/// since the code generator looks at one function at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operators {
    /// What distinct functions there are; each has the types of the whole module, for its calls and globals.
    pub(super) functions: BTreeSet<Ingredients>,
    /// All of them together, for settings that let functions flow into each other.
    pub(super) whole: Ingredients,
}

impl Operators {
    /// The operators of `wasm`.
    pub fn of(wasm: &[u8]) -> Operators {
        let Scan { types, bodies, component, broken } = Scan::of(wasm);
        let read = |body: &FunctionBody<'_>| ingredients(body).unwrap_or_else(|_| [UNKNOWN].into_iter().collect());
        let mut functions: BTreeSet<Ingredients> = bodies.par_iter().map(read).collect();
        if component {
            functions.insert(adapters());
        }
        if broken {
            functions.insert([UNKNOWN].into_iter().collect());
        }
        // A module without a function still has what surrounds functions.
        functions.insert(Ingredients::default());
        let with_types = |mut function: Ingredients| {
            function.add(&types);
            function
        };
        let functions: BTreeSet<_> = functions.into_iter().map(with_types).collect();
        let mut whole = Ingredients::default();
        functions.iter().for_each(|function| whole.add(function));
        Operators { functions, whole }
    }
}

/// What adapters between a component's functions may be made of. wasmtime generates them from types, as WebAssembly
/// without vectors and atomic accesses; it alone decides which operators, so all others count as used.
fn adapters() -> Ingredients {
    let others = ["simd", "relaxed_simd", "threads", "shared_everything_threads"];
    let scalar = |ingredient: &Ingredient| match ingredient.proposal() {
        Some(proposal) => !others.contains(&proposal),
        None => *ingredient != V128,
    };
    Ingredient::all().filter(scalar).collect()
}

/// What lies outside of the functions' bodies.
#[derive(Default)]
struct Scan<'a> {
    types: Ingredients,
    bodies: Vec<FunctionBody<'a>>,
    component: bool,
    broken: bool,
}

impl<'a> Scan<'a> {
    fn of(wasm: &'a [u8]) -> Scan<'a> {
        let mut scan = Scan::default();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload {
                Ok(payload) => scan.add(payload),
                Err(_) => scan.broken = true,
            }
        }
        scan
    }

    fn add(&mut self, payload: Payload<'a>) {
        match payload {
            Payload::TypeSection(section) => {
                for subtype in section.into_iter().flatten().flat_map(wasmparser::RecGroup::into_types) {
                    self.add_type(&subtype.composite_type.inner);
                }
            }
            Payload::GlobalSection(section) => {
                section.into_iter().flatten().for_each(|global| self.types.insert(of_type(global.ty.content_type)));
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports().flatten() {
                    if let TypeRef::Global(global) = import.ty {
                        self.types.insert(of_type(global.content_type));
                    }
                }
            }
            Payload::CodeSectionEntry(body) => self.bodies.push(body),
            Payload::Version { encoding: wasmparser::Encoding::Component, .. } => self.component = true,
            _ => {}
        }
    }

    fn add_type(&mut self, of: &CompositeInnerType) {
        let mut storage = |of: &StorageType| {
            self.types.insert(match of {
                StorageType::Val(value) => of_type(*value),
                StorageType::I8 | StorageType::I16 => I32,
            });
        };
        match of {
            CompositeInnerType::Func(function) => {
                function.params().iter().chain(function.results()).for_each(|of| storage(&StorageType::Val(*of)));
            }
            CompositeInnerType::Array(array) => storage(&array.0.element_type),
            CompositeInnerType::Struct(fields) => fields.fields.iter().for_each(|field| storage(&field.element_type)),
            CompositeInnerType::Cont(_) => {}
        }
    }
}

pub(super) fn of_type(of: ValType) -> Ingredient {
    match of {
        ValType::I32 => I32,
        ValType::I64 => I64,
        ValType::F32 => F32,
        ValType::F64 => F64,
        ValType::V128 => V128,
        ValType::Ref(_) => REFERENCE,
    }
}

/// What one function is made of.
pub(super) fn ingredients(body: &FunctionBody<'_>) -> wasmparser::Result<Ingredients> {
    let mut found = Ingredients::default();
    for local in body.get_locals_reader()? {
        found.insert(of_type(local?.1));
    }
    let mut before = None;
    for operator in body.get_operators_reader()? {
        let operator = operator?;
        let ingredient = Ingredient::of(&operator);
        if !found.contains(ingredient) {
            found.insert(ingredient);
            ingredient.implied_type().into_iter().for_each(|of| found.insert(of));
        }
        if constant(&operator, before.take()).is_some_and(|bits| (1..=0xffff).contains(&bits)) {
            found.insert(NARROW_CONSTANT);
        }
        before = integer(&operator);
        if let Operator::Block { blockty } | Operator::Loop { blockty } | Operator::If { blockty } = operator
            && let BlockType::Type(of) = blockty
        {
            found.insert(of_type(of));
        }
    }
    Ok(found)
}

/// The bits of a constant that is not an integer; `before` is the integer constant that comes just before it.
fn constant(operator: &Operator<'_>, before: Option<u64>) -> Option<u128> {
    match operator {
        Operator::F32Const { value } => Some(value.bits().into()),
        Operator::F64Const { value } => Some(value.bits().into()),
        Operator::V128Const { value } => Some(u128::from_le_bytes(*value.bytes())),
        // Machines that shuffle by a table load the lanes as a vector.
        Operator::I8x16Shuffle { lanes } => Some(u128::from_le_bytes(*lanes)),
        Operator::F32ReinterpretI32 | Operator::F64ReinterpretI64 => before.map(u128::from),
        _ => None,
    }
}

fn integer(operator: &Operator<'_>) -> Option<u64> {
    match operator {
        Operator::I32Const { value } => Some(u64::from(*value as u32)),
        Operator::I64Const { value } => Some(*value as u64),
        _ => None,
    }
}
