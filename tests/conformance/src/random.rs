//! In: a seed. Out: bytes, a module that they mean, and what to call in it. The same seed gives the same module for as
//! long as wasm-smith's version stays; cases are therefore kept as modules, not as seeds.

use anyhow::Result;
use arbitrary::Unstructured;
use isomer_testing::protocol::{Script, Step, Value};
use std::path::Path;
use wasm_smith::{Config, Module};
use wasmparser::{ExternalKind, Parser, Payload, RefType, ValType, Validator, WasmFeatures};

/// How much randomness a module is made from.
const SEED_BYTES: usize = 4096;

/// How many loop iterations and calls a module may make, all functions together.
const FUEL: u32 = 1000;

/// How often each function is called.
const ROUNDS: u64 = 3;

/// The numbers of a seed: SplitMix64.
pub struct Numbers(pub u64);

impl Iterator for Numbers {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Some(mixed ^ (mixed >> 31))
    }
}

impl Numbers {
    /// The next number, below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next().unwrap_or_default() % limit as u64) as usize
    }
}

/// The bytes of a seed.
pub fn bytes(seed: u64) -> Vec<u8> {
    Numbers(seed).flat_map(u64::to_le_bytes).take(SEED_BYTES).collect()
}

/// The module that the bytes mean. It imports nothing, exports everything and ends.
pub fn module(bytes: &[u8]) -> Result<Vec<u8>> {
    let config = Config {
        allow_start_export: false,
        export_everything: true,
        max_imports: 0,
        min_funcs: 2,
        max_funcs: 8,
        max_instructions: 300,
        min_memories: 1,
        max_memories: 2,
        memory_max_size_required: true,
        max_memory32_bytes: 1 << 20,
        max_memory64_bytes: 1 << 20,
        max_table_elements: 1000,
        table_max_size_required: true,
        max_data_segments: 4,
        max_element_segments: 4,
        // Shared memories are no exports that a script can hash.
        threads_enabled: false,
        ..Config::default()
    };
    let mut module = Module::new(config, &mut Unstructured::new(bytes))?;
    module.ensure_termination(FUEL).map_err(|_| anyhow::anyhow!("the module has no room for fuel"))?;
    Ok(module.to_bytes())
}

/// The functions that a module exports, with the types of their parameters.
pub fn functions(wasm: &[u8]) -> Result<Vec<(String, Vec<ValType>)>> {
    let types = Validator::new_with_features(WasmFeatures::all()).validate_all(wasm)?;
    let types = types.as_ref();
    let mut functions = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        let Payload::ExportSection(exports) = payload? else { continue };
        for export in exports {
            let export = export?;
            if export.kind == ExternalKind::Func {
                let ty = types[types.core_function_at(export.index)].unwrap_func();
                functions.push((export.name.to_owned(), ty.params().to_vec()));
            }
        }
    }
    Ok(functions)
}

/// What to do with a module that exports these functions: call every one that takes numbers, several times, and then
/// look at memories and globals. The instance comes first.
pub fn script(functions: &[(String, Vec<ValType>)], artifact: &Path) -> Script {
    let mut steps = vec![Step::Instantiate { artifact: artifact.to_owned(), name: None }];
    let mut numbers = Numbers(1);
    for (function, parameters) in functions {
        for round in 0..ROUNDS {
            let Some(arguments) = arguments(parameters, round, &mut numbers) else { break };
            steps.push(Step::Invoke { instance: None, function: function.clone(), arguments });
        }
    }
    steps.push(Step::State { instance: None });
    Script { steps, ..Script::default() }
}

/// Bit patterns where operations change what they do.
const EDGES: [u64; 12] = [
    0,
    1,
    0x7f,
    u64::MAX,
    0x8000_0000,
    0x7fff_ffff,
    0x8000_0000_0000_0000,
    0x7fff_ffff_ffff_ffff,
    // Floats: a signalling NaN of 32 bits, one of 64, 2³¹, −0.5.
    0x7fa0_0000,
    0x7ff4_0000_0000_0000,
    0x41e0_0000_0000_0000,
    0xbfe0_0000_0000_0000,
];

/// None for a function that takes a reference other than one to an abstract type that may be null.
fn arguments(parameters: &[ValType], round: u64, numbers: &mut Numbers) -> Option<Vec<Value>> {
    let mut bits = || if round == 0 { EDGES[numbers.below(EDGES.len())] } else { numbers.next().unwrap_or_default() };
    let argument = |parameter: &ValType| {
        Some(match parameter {
            ValType::I32 => Value::I32(bits() as i32),
            ValType::I64 => Value::I64(bits() as i64),
            ValType::F32 => Value::F32(bits() as u32),
            ValType::F64 => Value::F64(bits()),
            ValType::V128 => Value::V128(format!("{:016x}{:016x}", bits(), bits())),
            ValType::Ref(reference) => Value::Null(hierarchy(*reference)?.to_owned()),
        })
    };
    parameters.iter().map(argument).collect()
}

fn hierarchy(reference: RefType) -> Option<&'static str> {
    let known = [
        (RefType::FUNCREF, "func"),
        (RefType::EXTERNREF, "extern"),
        (RefType::ANYREF, "any"),
        (RefType::EXNREF, "exn"),
    ];
    known.into_iter().find(|(ty, _)| *ty == reference).map(|(_, name)| name)
}
