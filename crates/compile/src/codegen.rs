//! In: a [`Job`]. Out: the bytes of its artifact, or why it has none. Every artifact, also a remote one, is read back and
//! must require exactly what the profile promises; a panic in the code generator is an error of this one job.

use crate::cache::Pack;
use crate::maker::Maker;
use crate::{Input, Job, passes};
use isomer_contract::settings::{OptLevel, RegallocAlgorithm, Settings, Strategy};
use isomer_contract::{Hinted, Kind, Profile, Requirements, artifact::Artifact, engine_config, isa};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::{any, panic, thread};
use wasmtime::{Config, Engine};

/// Why a job has no artifact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum CodegenError {
    /// wasmtime rejects the configuration.
    #[error("wasmtime rejects the configuration of {target}: {reason}")]
    Configuration {
        /// The profile.
        target: String,
        /// wasmtime's message.
        reason: String,
    },
    /// wasmtime cannot compile the module.
    #[error("{0}")]
    Compile(String),
    /// A bug in the compiler, seen as a panic.
    #[error("the compiler panicked: {0}")]
    Panicked(String),
    /// A bug of isomer's: the artifact does not require what the profile promises.
    #[error("the artifact does not require what the profile {target} promises: {difference}")]
    Differs {
        /// The profile.
        target: String,
        /// The first difference.
        difference: String,
    },
}

impl Hinted for CodegenError {
    fn hint(&self) -> Option<String> {
        match self {
            CodegenError::Panicked(_) => Some("this is a bug; please report it with the module".to_owned()),
            CodegenError::Differs { .. } => Some("this is a bug in isomer; please report it".to_owned()),
            _ => None,
        }
    }
}

/// The artifact of a job, read back: it requires exactly what the profile promises.
pub struct Compiled {
    bytes: Vec<u8>,
    artifact: Artifact,
    cache_hit: bool,
    maker: Maker,
}

impl Compiled {
    /// The `.cwasm`.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same, without a copy.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// What its sections say.
    pub fn artifact(&self) -> &Artifact {
        &self.artifact
    }

    /// Whether a remote cache held it, so that it was not compiled for this build.
    pub fn cache_hit(&self) -> bool {
        self.cache_hit
    }

    /// Who made it.
    pub fn maker(&self) -> &Maker {
        &self.maker
    }

    pub(crate) fn with_cache_hit(self, cache_hit: bool) -> Compiled {
        Compiled { cache_hit, ..self }
    }

    pub(crate) fn with_maker(self, maker: Maker) -> Compiled {
        Compiled { maker, ..self }
    }
}

/// Checks that wasmtime accepts the configurations of all these profiles.
///
/// # Errors
/// The first one that it rejects.
pub fn check_configurations<'a>(profiles: impl Iterator<Item = &'a Profile>) -> Result<(), CodegenError> {
    let profiles: BTreeMap<_, _> = profiles.map(|profile| (profile.digest(), profile)).collect();
    profiles.into_values().try_for_each(|profile| Compiler::new(profile).map(drop))
}

/// wasmtime, set up for one profile. One can serve many jobs of the profile, on any thread.
///
/// An engine keeps the memory that its largest functions took, once a thread, for as long as it lives: with one for
/// each of 20 profiles, two modules of 20 MB held 9 GB. A new one for each job takes a fifth of a millisecond.
pub struct Compiler {
    profile: Profile,
    engine: Engine,
}

impl Compiler {
    /// Sets wasmtime up to generate code for `profile` and nothing else: no setting comes from this machine.
    ///
    /// # Errors
    /// When wasmtime rejects the configuration.
    pub fn new(profile: &Profile) -> Result<Compiler, CodegenError> {
        Compiler::with_functions(profile, None)
    }

    /// The same, reusing the functions that an earlier build compiled. An artifact has the same bytes.
    pub(crate) fn with_functions(profile: &Profile, functions: Option<Arc<Pack>>) -> Result<Compiler, CodegenError> {
        let refuse = |reason: String| CodegenError::Configuration { target: profile.name.clone(), reason };
        // The configuration is the same for modules and components.
        let promised = Requirements::of_profile(profile, Kind::Module);
        let mut config = engine_config(&promised).map_err(|error| refuse(error.to_string()))?;
        // An explicit target, even this machine's own, keeps the machine's CPU out of the artifact.
        config.target(&profile.triple.to_string()).map_err(|error| refuse(format!("{error:#}")))?;
        set_code_generation(&mut config, profile);
        if let Some(functions) = functions {
            config.enable_incremental_compilation(functions).map_err(|error| refuse(format!("{error:#}")))?;
        }
        let engine = Engine::new(&config).map_err(|error| refuse(format!("{error:#}")))?;
        Ok(Compiler { profile: profile.clone(), engine })
    }

    /// Compiles `input` and reads the result back. The caller has checked that the profile can express it
    /// ([`express`](crate::express::express)).
    ///
    /// # Errors
    /// When wasmtime cannot compile the module, or panics.
    pub fn compile(&self, input: &Input) -> Result<Compiled, CodegenError> {
        read_back(&Job { input, profile: &self.profile }, self.generate(input)?)
    }

    /// Compiles `input` to bytes that are not read back.
    ///
    /// # Errors
    /// When wasmtime cannot compile the module, or panics.
    pub fn generate(&self, input: &Input) -> Result<Vec<u8>, CodegenError> {
        let wasm =
            passes::apply(&input.wasm, &self.profile).map_err(|error| CodegenError::Compile(error.to_string()))?;
        let precompile = || match input.kind {
            Kind::Module => self.engine.precompile_module(&wasm),
            Kind::Component => self.engine.precompile_component(&wasm),
        };
        without_panic(precompile)?.map_err(|error| CodegenError::Compile(format!("{error:#}")))
    }
}

/// Checks that `bytes` are the artifact of `job`, as far as they describe themselves.
///
/// # Errors
/// When they are not an artifact, or require other than the profile of the job promises.
pub fn read_back(job: &Job<'_>, bytes: Vec<u8>) -> Result<Compiled, CodegenError> {
    let Job { input, profile } = job;
    let differs = |difference| CodegenError::Differs { target: profile.name.clone(), difference };
    let artifact = Artifact::read(&bytes).map_err(|error| differs(error.to_string()))?;
    let promised = Requirements::of_profile(profile, input.kind);
    if artifact.requirements != promised {
        return Err(differs(first_difference(&promised, &artifact.requirements)));
    }
    Ok(Compiled { bytes, artifact, cache_hit: false, maker: Maker::Local })
}

/// The settings that only the code generator sees, and the ISA flags.
#[allow(unsafe_code)]
fn set_code_generation(config: &mut Config, profile: &Profile) {
    let Settings {
        opt_level,
        regalloc_algorithm,
        memory_guaranteed_dense_image_size,
        strategy,
        nan_canonicalization,
        heap_access_spectre_mitigation,
        table_access_spectre_mitigation,
        native_unwind_info,
        // What an artifact records is in its requirements, which `engine_config` has applied.
        inlining: _,
        signals_based_traps: _,
        memory_reservation: _,
        memory_guard_size: _,
        memory_reservation_for_growth: _,
        memory_may_move: _,
        guard_before_linear_memory: _,
        memory_init_cow: _,
        table_lazy_init: _,
        gc_heap_reservation: _,
        gc_heap_guard_size: _,
        gc_heap_reservation_for_growth: _,
        gc_heap_may_move: _,
        gc_heap_initial_size: _,
        collector: _,
        address_map: _,
        debug_info: _,
        debug_symbols: _,
        backtrace_details: _,
        fuel: _,
        epoch_interruption: _,
        relaxed_simd_deterministic: _,
        concurrency_support: _,
        branch_hinting: _,
    } = &profile.settings;
    config.strategy(match strategy {
        Strategy::Cranelift => wasmtime::Strategy::Cranelift,
    });
    config.cranelift_opt_level(match opt_level {
        OptLevel::None => wasmtime::OptLevel::None,
        OptLevel::Speed => wasmtime::OptLevel::Speed,
        OptLevel::SpeedAndSize => wasmtime::OptLevel::SpeedAndSize,
    });
    config.cranelift_regalloc_algorithm(match regalloc_algorithm {
        RegallocAlgorithm::Backtracking => wasmtime::RegallocAlgorithm::Backtracking,
        RegallocAlgorithm::SinglePass => wasmtime::RegallocAlgorithm::SinglePass,
    });
    config.cranelift_nan_canonicalization(*nan_canonicalization);
    config.native_unwind_info(*native_unwind_info);
    config.memory_guaranteed_dense_image_size(memory_guaranteed_dense_image_size.0);
    config.cranelift_debug_verifier(false);
    config.parallel_compilation(true);
    let mitigations = [
        ("enable_heap_access_spectre_mitigation", heap_access_spectre_mitigation),
        ("enable_table_access_spectre_mitigation", table_access_spectre_mitigation),
    ];
    for (flag, enabled) in mitigations {
        // SAFETY: these flags choose between correct forms of code; no other part of wasmtime relies on them.
        unsafe { config.cranelift_flag_set(flag, if *enabled { "true" } else { "false" }) };
    }
    for extension in isa::all(profile.arch) {
        let Some(flag) = extension.flag else { continue };
        let enabled = extension.baseline || profile.isa.contains_key(extension.name);
        // SAFETY: an ISA flag makes Cranelift use instructions, which is sound as long as the code runs only where
        // they exist. This process never runs the code, and `isomer-run` checks the host before it maps any.
        unsafe { config.cranelift_flag_set(flag, if enabled { "true" } else { "false" }) };
    }
}

fn first_difference(promised: &Requirements, found: &Requirements) -> String {
    let fields = |requirements: &Requirements| {
        let serde_json::Value::Object(fields) = serde_json::to_value(requirements).expect("requirements serialize")
        else {
            unreachable!("requirements are an object")
        };
        fields
    };
    let (promised, found) = (fields(promised), fields(found));
    let different = promised.iter().find(|(key, value)| found.get(*key) != Some(value));
    match different {
        Some((key, value)) => {
            format!("`{key}` is {}, expected {value}", found.get(key).unwrap_or(&serde_json::Value::Null))
        }
        None => "it has an additional field".to_owned(),
    }
}

/// The names of the threads that code generation runs on. Panics there are caught and reported with their job.
pub const THREAD_NAME: &str = "isomer-codegen";

/// The location of each panic that was caught, by its message: the payload that reaches the job has none.
static PANIC_LOCATIONS: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

/// Keeps panics on code generation's threads off standard error: [`Compiler::compile`] returns them.
pub fn catch_panics() {
    let default = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !thread::current().name().is_some_and(|name| name.starts_with(THREAD_NAME)) {
            return default(info);
        }
        let location = info.location().map_or_else(String::new, |at| format!(" at {}:{}", at.file(), at.line()));
        if let Ok(mut locations) = PANIC_LOCATIONS.lock() {
            locations.insert(message_of(info.payload()), location);
        }
    }));
}

fn without_panic<T>(work: impl FnOnce() -> T) -> Result<T, CodegenError> {
    // The engine keeps only caches of contexts across a panic, each taken out while it is used: no later job can see one
    // in a half-written state.
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let message = message_of(payload.as_ref());
        let locations = PANIC_LOCATIONS.lock().ok();
        let location = locations.and_then(|locations| locations.get(&message).cloned()).unwrap_or_default();
        CodegenError::Panicked(format!("{message}{location}"))
    })
}

fn message_of(payload: &dyn any::Any) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bug in the code generator fails its own job, and the error has the location.
    #[test]
    fn a_panic_is_an_error_of_its_job() {
        catch_panics();
        let job = || without_panic(|| -> u32 { panic!("no rule to lower {}", "v9") });
        let thread = thread::Builder::new().name(format!("{THREAD_NAME}-0")).spawn(job).unwrap();
        let error = thread.join().expect("the panic was caught").unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("the compiler panicked: no rule to lower v9 at "), "{text}");
        assert!(text.contains("codegen.rs:"), "{text}");
        assert!(error.hint().is_some_and(|hint| hint.contains("report")));
    }

    /// Loaders that trust the header would take the code for another CPU's.
    #[test]
    fn the_header_must_be_of_the_architecture() {
        let input = Input::from_bytes(std::path::Path::new("m.wat"), "m", "(module)".into()).unwrap();
        for name in ["x86-64-v1", "aarch64", "riscv64gc", "z14", "pulley64", "pulley64be"] {
            let profile = Profile::shipped(name).unwrap();
            let job = Job { input: &input, profile: &profile };
            let right = Compiler::new(&profile).unwrap().compile(&input).unwrap().into_bytes();
            // `e_machine`, of two bytes.
            for offset in [0x12, 0x13] {
                let mut wrong = right.clone();
                wrong[offset] ^= 0x5a;
                let error = read_back(&job, wrong).err().expect("the header differs").to_string();
                assert!(error.contains("its header says machine "), "{name}: {error}");
            }
            read_back(&job, right).unwrap();
        }
    }
}
