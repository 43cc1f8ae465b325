//! The modules of `cargo xtask bench pathological`, a hundredth of their size: they are what they are called, and do the
//! same under every profile.

use isomer_conformance::compare::compare;
use isomer_conformance::profiles::of_this_machine;
use isomer_testing::pathological;
use isomer_tests::foreign::Machine;
use wasmparser::{ElementItems, Operator, Parser, Payload};

const DIVISOR: usize = 100;

/// The largest of each thing in a module.
#[derive(Debug, Default)]
struct Largest {
    locals: usize,
    depth: usize,
    br_table: usize,
    body_bytes: usize,
    elements: usize,
    functions: usize,
}

impl Largest {
    fn of(wasm: &[u8]) -> Largest {
        let mut largest = Largest::default();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload.unwrap() {
                Payload::CodeSectionStart { count, .. } => largest.functions = count as usize,
                Payload::ElementSection(segments) => {
                    for segment in segments {
                        let ElementItems::Expressions(_, items) = segment.unwrap().items else { continue };
                        largest.elements = items.count() as usize;
                    }
                }
                Payload::CodeSectionEntry(body) => {
                    largest.body_bytes = largest.body_bytes.max(body.range().len());
                    let locals = body.get_locals_reader().unwrap().into_iter();
                    largest.locals = largest.locals.max(locals.map(|local| local.unwrap().0 as usize).sum());
                    let mut depth = 0;
                    for operator in body.get_operators_reader().unwrap() {
                        match operator.unwrap() {
                            Operator::Loop { .. } => depth += 1,
                            Operator::BrTable { targets } => largest.br_table = targets.len() as usize,
                            _ => {}
                        }
                    }
                    largest.depth = largest.depth.max(depth);
                }
                _ => {}
            }
        }
        largest
    }
}

#[test]
fn pathological_modules_are_large_and_do_the_same_under_all_profiles() {
    let runs: Vec<_> = of_this_machine().0.into_iter().map(|profile| (profile, Machine::here())).collect();
    for module in pathological::modules(DIVISOR) {
        let wasm = wat::parse_str(&module.text).unwrap();
        let largest = Largest::of(&wasm);
        let large = match module.name {
            "loops" => largest.locals == 30 && largest.depth == 30,
            "br-table" => largest.br_table == 500,
            "large-function" => (65_000..75_000).contains(&largest.body_bytes),
            "null-elements" => largest.elements == 10_000,
            "functions" => largest.functions == 1000,
            other => panic!("{other} is new: what is large in it?"),
        };
        assert!(large, "{}: {largest:?}", module.name);
        let steps = compare(&wasm, &runs).unwrap();
        assert!(steps.as_ref().is_ok_and(|steps| *steps > runs.len()), "{}: {steps:?}", module.name);
    }
}
