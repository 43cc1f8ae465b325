//! In: [`Requirements`]. Out: the `wasmtime::Config` that meets them, on the compile side and on the run side alike.
//! Every setting is set, also those that equal wasmtime's default: a default can change, and the environment can
//! change one (`WASMTIME_BACKTRACE_DETAILS`).

use crate::requirements::{Requirements, fixed_tunables};
use crate::settings::Value;
use crate::{Arch, proposals};
use wasmparser::WasmFeatures;
use wasmtime::{Collector, Config, Inlining, WasmBacktraceDetails};

/// The exact version of wasmtime in this binary.
pub const ENGINE_VERSION: &str = wasmtime_environ::VERSION;

/// The part of [`ENGINE_VERSION`] that artifacts carry and loaders compare.
pub fn engine_major() -> &'static str {
    major(ENGINE_VERSION)
}

/// The major of a version of the engine, which is all that loaders compare.
pub fn major(version: &str) -> &str {
    version.split_once('.').map_or(version, |(major, _)| major)
}

/// A requirement that no configuration of this build meets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineConfigError {
    /// A setting that this version of wasmtime does not have, or lacks one that it has.
    #[error("the setting `{0}` is not one that wasmtime {ENGINE_VERSION} compares")]
    UnknownSetting(String),
    /// A setting with a value that a runtime without a compiler cannot have.
    #[error("`{key}` is {found}; this runtime can only have {possible}")]
    FixedSetting {
        /// The setting.
        key: String,
        /// The artifact's value.
        found: Value,
        /// What is possible.
        possible: String,
    },
    /// A proposal that this version of wasmtime has no bit for.
    #[error("the proposal `{0}` is unknown to wasmtime {ENGINE_VERSION}")]
    UnknownFeature(String),
    /// A proposal that this version cannot enable on the architecture.
    #[error("the proposal `{name}` cannot be enabled: {reason}")]
    UnsupportedFeature {
        /// The proposal.
        name: String,
        /// Why.
        reason: String,
    },
}

/// The configuration that loads artifacts with these requirements. The target stays unset but for Pulley, whose
/// bytecode is no host's: the compile side sets its triple itself.
///
/// # Errors
/// The first requirement that cannot be met; [`crate::check`] lists all.
pub fn engine_config(requirements: &Requirements) -> Result<Config, EngineConfigError> {
    if let Some(error) = unmet(requirements).into_iter().next() {
        return Err(error);
    }
    let mut config = Config::new();
    if let Some(target) = pulley_target(requirements.arch) {
        config.target(target).expect("wasmtime knows its own interpreter");
    }
    for (key, value) in requirements.tunables.iter().chain(&requirements.recorded) {
        apply(&mut config, key, value)?;
    }
    let features = requirements.features().map_err(EngineConfigError::UnknownFeature)?;
    config.wasm_features(WasmFeatures::all().difference(features), false);
    config.wasm_features(features, true);
    // A threaded module creates its memory when it is instantiated; whoever may load it wants that to work.
    config.shared_memory(features.contains(WasmFeatures::THREADS));
    config.debug_adapter_modules(false);
    config.metadata_for_internal_asserts(false);
    config.metadata_for_gc_heap_corruption(true);
    Ok(config)
}

fn pulley_target(arch: Arch) -> Option<&'static str> {
    match arch {
        Arch::Pulley64 => Some("pulley64"),
        Arch::Pulley64be => Some("pulley64be"),
        Arch::X86_64 | Arch::Aarch64 | Arch::Riscv64 | Arch::S390x => None,
    }
}

/// Every requirement that no configuration of this build meets.
pub(crate) fn unmet(requirements: &Requirements) -> Vec<EngineConfigError> {
    let mut unmet = Vec::new();
    let mut scratch = Config::new();
    for (key, value) in requirements.tunables.iter().chain(&requirements.recorded) {
        unmet.extend(apply(&mut scratch, key, value).err());
    }
    for name in &requirements.wasm_features {
        let Some(feature) = proposals::feature_by_name(name) else {
            unmet.push(EngineConfigError::UnknownFeature(name.clone()));
            continue;
        };
        let never =
            proposals::UNSUPPORTED.iter().find(|proposal| proposal.feature == feature && !proposal.configurable);
        let here = proposals::unsupported_on(requirements.arch).iter().find(|(bit, _)| *bit == feature);
        let reason = match (never, here) {
            (Some(_), _) => format!("wasmtime {ENGINE_VERSION} does not implement it"),
            (_, Some((_, reason))) => (*reason).to_owned(),
            (None, None) => continue,
        };
        unmet.push(EngineConfigError::UnsupportedFeature { name: name.clone(), reason });
    }
    unmet
}

fn apply(config: &mut Config, key: &str, value: &Value) -> Result<(), EngineConfigError> {
    let fixed = |possible: &str| EngineConfigError::FixedSetting {
        key: key.to_owned(),
        found: value.clone(),
        possible: possible.to_owned(),
    };
    if let Some((_, only)) = fixed_tunables().into_iter().find(|(name, _)| *name == key) {
        return if *value == only { Ok(()) } else { Err(fixed(&only.to_string())) };
    }
    match (key, value) {
        ("memory-reservation", Value::Integer(bytes)) => config.memory_reservation(*bytes),
        ("memory-guard-size", Value::Integer(bytes)) => config.memory_guard_size(*bytes),
        ("memory-reservation-for-growth", Value::Integer(bytes)) => config.memory_reservation_for_growth(*bytes),
        ("memory-may-move", Value::Bool(on)) => config.memory_may_move(*on),
        ("guard-before-linear-memory", Value::Bool(on)) => config.guard_before_linear_memory(*on),
        ("memory-init-cow", Value::Bool(on)) => config.memory_init_cow(*on),
        ("table-lazy-init", Value::Bool(on)) => config.table_lazy_init(*on),
        ("signals-based-traps", Value::Bool(on)) => config.signals_based_traps(*on),
        ("gc-heap-reservation", Value::Integer(bytes)) => config.gc_heap_reservation(*bytes),
        ("gc-heap-guard-size", Value::Integer(bytes)) => config.gc_heap_guard_size(*bytes),
        ("gc-heap-reservation-for-growth", Value::Integer(bytes)) => config.gc_heap_reservation_for_growth(*bytes),
        ("gc-heap-may-move", Value::Bool(on)) => config.gc_heap_may_move(*on),
        ("gc-heap-initial-size", Value::Integer(bytes)) => config.gc_heap_initial_size(*bytes),
        ("address-map", Value::Bool(on)) => config.generate_address_map(*on),
        ("debug-info", Value::Bool(on)) => config.debug_info(*on),
        ("debug-symbols", Value::Bool(on)) => config.debug_symbols(*on),
        ("backtrace-details", Value::Bool(true)) => config.wasm_backtrace_details(WasmBacktraceDetails::Enable),
        ("backtrace-details", Value::Bool(false)) => config.wasm_backtrace_details(WasmBacktraceDetails::Disable),
        ("fuel", Value::Bool(on)) => config.consume_fuel(*on),
        ("epoch-interruption", Value::Bool(on)) => config.epoch_interruption(*on),
        ("relaxed-simd-deterministic", Value::Bool(on)) => config.relaxed_simd_deterministic(*on),
        ("concurrency-support", Value::Bool(on)) => config.concurrency_support(*on),
        ("branch-hinting", Value::Bool(on)) => config.wasm_branch_hinting(*on),
        ("collector", Value::Text(word)) => match word.as_str() {
            "copying" => config.collector(Collector::Copying),
            "drc" => config.collector(Collector::DeferredReferenceCounting),
            "null" => config.collector(Collector::Null),
            // Made without GC types: any collector loads it.
            "none" => config,
            _ => return Err(fixed("copying, drc, null or none")),
        },
        ("inlining", Value::Text(word)) => config.compiler_inlining(match word.as_str() {
            "no" => Inlining::No,
            "intrinsics" => Inlining::Intrinsics,
            "inter-module" => Inlining::InterModule,
            "inter-module-and-intra-gc" => Inlining::InterModuleAndIntraGc,
            "yes" => Inlining::Yes,
            _ => return Err(fixed("no, intrinsics, inter-module, inter-module-and-intra-gc or yes")),
        }),
        _ => return Err(EngineConfigError::UnknownSetting(key.to_owned())),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requirements::Kind;
    use crate::{Profile, profile::shipped_names};

    #[test]
    fn every_shipped_profile_has_an_engine() {
        for name in shipped_names() {
            let profile = Profile::shipped(name).unwrap();
            for kind in [Kind::Module, Kind::Component] {
                let requirements = Requirements::of_profile(&profile, kind);
                assert_eq!(unmet(&requirements), [], "{name}");
                engine_config(&requirements).unwrap();
            }
        }
    }

    #[test]
    fn an_unknown_setting_is_refused_and_not_skipped() {
        let mut requirements = Requirements::of_profile(&Profile::shipped("x86-64-v3").unwrap(), Kind::Module);
        requirements.tunables.insert("from-the-future".to_owned(), Value::Bool(true));
        requirements.tunables.insert("winch-callable".to_owned(), Value::Bool(true));
        requirements.wasm_features.insert("telepathy".to_owned());
        assert_eq!(unmet(&requirements).len(), 3);
    }
}
