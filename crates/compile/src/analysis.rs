//! In: WebAssembly and the proposals that a target allows. Out: whether it validates, and if not, which proposal it
//! needs. No code is generated: a module that cannot be compiled is reported in seconds, not after minutes in the compiler.

use isomer_contract::Needs;
use isomer_contract::proposals::{PROPOSALS, Proposal, UNSUPPORTED};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::Mutex;
use wasmparser::{
    BinaryReaderError, CompositeInnerType, FuncToValidate, MemoryType, Parser, Payload, RecGroup, SubType, TypeRef,
    ValType, ValidPayload,
};
use wasmparser::{FunctionBody, Validator, ValidatorResources, WasmFeatures};

/// The result of validating a module under a set of proposals.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It is valid.
    Valid,
    /// It would be valid with these proposals as well.
    Needs(Vec<&'static Proposal>),
    /// It is not valid under any set of known proposals.
    Invalid {
        /// What is wrong.
        message: String,
        /// Where, in bytes from the start of the binary.
        offset: usize,
    },
}

/// A module's validation, which runs once for each set of proposals.
pub struct Analysis<'a> {
    wasm: &'a [u8],
    verdicts: Mutex<BTreeMap<u64, Verdict>>,
}

impl<'a> Analysis<'a> {
    /// An analysis of `wasm`, a module or a component.
    pub fn of(wasm: &'a [u8]) -> Analysis<'a> {
        Analysis { wasm, verdicts: Mutex::default() }
    }

    /// Whether the module validates when `allowed` are the proposals it may use.
    pub fn verdict(&self, allowed: WasmFeatures) -> Verdict {
        let known = |verdicts: &BTreeMap<u64, Verdict>| verdicts.get(&allowed.bits()).cloned();
        if let Some(verdict) = known(&self.verdicts.lock().expect("no holder panics")) {
            return verdict;
        }
        // Not under the lock: `validate` runs on other threads too.
        let verdict = self.judge(allowed);
        self.verdicts.lock().expect("no holder panics").insert(allowed.bits(), verdict.clone());
        verdict
    }

    fn judge(&self, allowed: WasmFeatures) -> Verdict {
        let Err(error) = validate(self.wasm, allowed) else {
            return Verdict::Valid;
        };
        let others: Vec<_> =
            PROPOSALS.iter().chain(UNSUPPORTED).filter(|proposal| !allowed.contains(proposal.feature)).collect();
        // The usual case is one proposal, and a wrong guess ends at the same early byte as before.
        for proposal in &others {
            if validate(self.wasm, allowed | proposal.feature).is_ok() {
                return Verdict::Needs(vec![proposal]);
            }
        }
        let everything = others.iter().fold(allowed, |features, proposal| features | proposal.feature);
        if validate(self.wasm, everything).is_err() {
            return Verdict::Invalid { message: error.message, offset: error.offset };
        }
        let needed = |proposal: &&&Proposal| validate(self.wasm, everything.difference(proposal.feature)).is_err();
        Verdict::Needs(others.iter().filter(needed).copied().collect())
    }

    /// The most vectors that a function type of the module returns at once.
    pub fn vector_results_max(&self) -> usize {
        let mut most = 0;
        for payload in Parser::new(0).parse_all(self.wasm) {
            match payload {
                Ok(Payload::TypeSection(section)) => {
                    let types = section.into_iter().flatten().flat_map(RecGroup::into_types);
                    let vectors = |of: SubType| match of.composite_type.inner {
                        CompositeInnerType::Func(function) => {
                            function.results().iter().filter(|result| **result == ValType::V128).count()
                        }
                        _ => 0,
                    };
                    most = types.map(vectors).max().unwrap_or(0).max(most);
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        most
    }

    /// What the module's sections require beyond instructions. A module that does not parse needs nothing.
    pub fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        for payload in Parser::new(0).parse_all(self.wasm) {
            match payload {
                Ok(Payload::MemorySection(section)) => {
                    section.into_iter().flatten().for_each(|memory| add_memory(&mut needs, memory));
                }
                Ok(Payload::ImportSection(section)) => {
                    for import in section.into_imports().flatten() {
                        if let TypeRef::Memory(memory) = import.ty {
                            add_memory(&mut needs, memory);
                        }
                    }
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        needs
    }
}

fn add_memory(needs: &mut Needs, memory: MemoryType) {
    needs.shared_memory |= memory.shared;
    let page_size_log2 = memory.page_size_log2.unwrap_or(16);
    let bytes = memory.initial.checked_shl(page_size_log2).unwrap_or(u64::MAX);
    needs.memory_minimum_bytes = needs.memory_minimum_bytes.saturating_add(bytes);
}

struct Invalid {
    message: String,
    offset: usize,
}

impl From<BinaryReaderError> for Invalid {
    fn from(error: BinaryReaderError) -> Invalid {
        Invalid { message: error.message().to_owned(), offset: error.offset() }
    }
}

/// Validates structure first, then all function bodies on all cores.
fn validate(wasm: &[u8], features: WasmFeatures) -> Result<(), Invalid> {
    let mut validator = Validator::new_with_features(features);
    let mut functions: Vec<(FuncToValidate<ValidatorResources>, FunctionBody<'_>)> = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        // wasmparser leaves this to its callers: a file that is cut between two sections of an inner binary would pass.
        if let Payload::ModuleSection { unchecked_range, .. } | Payload::ComponentSection { unchecked_range, .. } =
            &payload
            && unchecked_range.end > wasm.len()
        {
            return Err(Invalid { message: "unexpected end-of-file".to_owned(), offset: wasm.len() });
        }
        if let ValidPayload::Func(function, body) = validator.payload(&payload)? {
            functions.push((function, body));
        }
    }
    functions.into_par_iter().with_min_len(16).try_for_each_init(Default::default, |allocations, (function, body)| {
        let mut validator = function.into_validator(std::mem::take(allocations));
        validator.validate(&body).map_err(Invalid::from)?;
        *allocations = validator.into_allocations();
        Ok(())
    })
}
