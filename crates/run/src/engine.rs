//! In: what an artifact requires, and an engine. Out: every setting of the engine with which the artifact does not load,
//! by the key that profiles use and the method of [`Config`](wasmtime::Config) that sets it.
//!
//! Wasmtime compares the same settings when it deserializes, and reports the first that differs. It has no getter for
//! those in [`UNREADABLE`]; for these, its own error is all there is.

use isomer_contract::settings::{Collector, Inlining, Value};
use isomer_contract::{Arch, Requirements, proposals};
use std::fmt;
use wasmtime::{Engine, Strategy};

/// A setting of an engine with which an artifact does not load.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineMismatch {
    /// The engine executes Pulley's bytecode and the artifact holds native code, or the reverse.
    Target {
        /// What the artifact holds.
        expected: Arch,
        /// Whether the engine executes Pulley's bytecode.
        pulley: bool,
    },
    /// A setting differs from the one that the artifact was compiled with.
    Setting {
        /// Its key in a profile.
        key: String,
        /// The method of `wasmtime::Config` that sets it.
        method: &'static str,
        /// The artifact's value.
        expected: Value,
        /// The engine's value.
        found: Value,
    },
    /// A WebAssembly proposal is disabled that the artifact requires, or enabled that it must not have.
    Proposal {
        /// Its name, as wasmparser has it.
        name: String,
        /// Whether it must be enabled.
        expected: bool,
    },
}

impl fmt::Display for EngineMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EngineMismatch::Target { expected, pulley } => {
                let found = if *pulley { "Pulley" } else { "native code" };
                write!(f, "the target (`Config::target`): expected {expected}, found an engine for {found}")
            }
            EngineMismatch::Setting { key, method, expected, found } => {
                write!(f, "`{key}` (`Config::{method}`): expected {expected}, found {found}")
            }
            EngineMismatch::Proposal { name, expected } => {
                let (expected, found) = if *expected { ("enabled", "disabled") } else { ("disabled", "enabled") };
                write!(f, "the proposal `{name}` (`Config::wasm_features`): expected {expected}, found {found}")
            }
        }
    }
}

/// Every setting of `engine` with which an artifact with these requirements does not load.
pub(crate) fn mismatches(requirements: &Requirements, engine: &Engine) -> Vec<EngineMismatch> {
    let Requirements { arch, tunables, wasm_features: _, .. } = requirements;
    let mut mismatches = Vec::new();
    let bytecode = matches!(arch, Arch::Pulley64 | Arch::Pulley64be);
    if bytecode != engine.is_pulley() {
        mismatches.push(EngineMismatch::Target { expected: *arch, pulley: engine.is_pulley() });
    }
    for (key, expected) in tunables {
        let Some((_, method, read)) = SETTINGS.iter().find(|(name, _, _)| name == key) else { continue };
        let found = read(engine);
        // Without garbage-collected objects in the code any collector will do.
        let any = key == "collector" && *expected == Collector::absent();
        if found != *expected && !any {
            let (key, expected) = (key.clone(), expected.clone());
            mismatches.push(EngineMismatch::Setting { key, method, expected, found });
        }
    }
    // An unknown name is a mismatch with every host, which is checked before.
    if let Ok(features) = requirements.features() {
        let enabled = engine.get_wasm_features();
        let mismatch = |expected| move |name| EngineMismatch::Proposal { name, expected };
        mismatches.extend(proposals::feature_names(features.difference(enabled)).map(mismatch(true)));
        // The one proposal for which code is generated differently, so that code without it does not load where it is on.
        if let Some(stack_switching) = proposals::feature_by_name("stack-switching") {
            let different = stack_switching.difference(features).intersection(enabled);
            mismatches.extend(proposals::feature_names(different).map(mismatch(false)));
        }
    }
    mismatches
}

type Read = fn(&Engine) -> Value;

/// The settings that can be read from an engine: key, method, getter.
const SETTINGS: &[(&str, &str, Read)] = &[
    ("collector", "collector", collector),
    ("concurrency-support", "concurrency_support", |engine| Value::Bool(engine.get_concurrency_support())),
    ("debug-info", "debug_info", |engine| Value::Bool(engine.get_debug_info())),
    ("debug-symbols", "debug_symbols", |engine| Value::Bool(engine.get_debug_symbols())),
    ("epoch-interruption", "epoch_interruption", |engine| Value::Bool(engine.get_epoch_interruption())),
    ("fuel", "consume_fuel", |engine| Value::Bool(engine.get_consume_fuel())),
    ("gc-heap-guard-size", "gc_heap_guard_size", |engine| Value::Integer(engine.get_gc_heap_guard_size())),
    ("gc-heap-initial-size", "gc_heap_initial_size", |engine| Value::Integer(engine.get_gc_heap_initial_size())),
    ("gc-heap-may-move", "gc_heap_may_move", |engine| Value::Bool(engine.get_gc_heap_may_move())),
    ("gc-heap-reservation", "gc_heap_reservation", |engine| Value::Integer(engine.get_gc_heap_reservation())),
    ("guard-before-linear-memory", "guard_before_linear_memory", |engine| {
        Value::Bool(engine.get_guard_before_linear_memory())
    }),
    ("guest-debug", "guest_debug", |engine| Value::Bool(engine.get_guest_debug())),
    ("inlining", "compiler_inlining", |engine| Inlining::value_of(engine.get_compiler_inlining())),
    ("memory-guard-size", "memory_guard_size", |engine| Value::Integer(engine.get_memory_guard_size())),
    ("memory-init-cow", "memory_init_cow", |engine| Value::Bool(engine.get_memory_init_cow())),
    ("memory-may-move", "memory_may_move", |engine| Value::Bool(engine.get_memory_may_move())),
    ("memory-reservation", "memory_reservation", |engine| Value::Integer(engine.get_memory_reservation())),
    ("recording", "rr", |engine| Value::Bool(engine.is_recording())),
    ("relaxed-simd-deterministic", "relaxed_simd_deterministic", |engine| {
        Value::Bool(engine.get_relaxed_simd_deterministic())
    }),
    ("signals-based-traps", "signals_based_traps", |engine| Value::Bool(engine.get_signals_based_traps())),
    ("table-lazy-init", "table_lazy_init", |engine| Value::Bool(engine.get_table_lazy_init())),
    ("winch-callable", "strategy", |engine| Value::Bool(engine.get_strategy() == Some(Strategy::Winch))),
];

/// The settings that wasmtime compares and has no getter for.
#[cfg(test)]
const UNREADABLE: [&str; 4] =
    ["backtrace-details", "inlining-small-callee-size", "inlining-sum-size-threshold", "operator-cost"];

/// The collector in effect: none where the proposals that need one are disabled.
fn collector(engine: &Engine) -> Value {
    Collector::value_of_engine(engine.get_collector().filter(|_| engine.get_wasm_features().gc_types()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use isomer_contract::{Kind, Profile, engine_config};

    fn requirements(profile: &str) -> Requirements {
        Requirements::of_profile(&Profile::shipped(profile).expect("it is shipped"), Kind::Module)
    }

    #[test]
    fn every_setting_that_wasmtime_compares_is_read_or_listed_as_unreadable() {
        for key in requirements("x86-64-v3").tunables.keys() {
            let read = SETTINGS.iter().any(|(name, _, _)| name == key);
            assert_ne!(read, UNREADABLE.contains(&key.as_str()), "{key}");
        }
    }

    #[test]
    fn the_engine_that_requirements_describe_matches_them() {
        for profile in ["x86-64-v3", "pulley64"] {
            let requirements = requirements(profile);
            let engine = Engine::new(&engine_config(&requirements).expect("possible")).expect("an engine");
            assert_eq!(mismatches(&requirements, &engine), [], "{profile}");
        }
    }

    #[test]
    fn each_setting_that_differs_is_named() {
        let mut expected = requirements("x86-64-v3");
        let engine = Engine::new(&engine_config(&expected).expect("possible")).expect("an engine");
        for (key, _, _) in SETTINGS {
            let value = expected.tunables.get_mut(*key).expect("a setting");
            *value = match value {
                Value::Bool(on) => Value::Bool(!*on),
                Value::Integer(number) => Value::Integer(*number + 1),
                Value::Text(_) => Value::Text("another".to_owned()),
            };
        }
        let found: Vec<_> = mismatches(&expected, &engine)
            .into_iter()
            .map(|mismatch| match mismatch {
                EngineMismatch::Setting { key, .. } => key,
                other => panic!("{other}"),
            })
            .collect();
        assert_eq!(found, SETTINGS.iter().map(|(key, _, _)| *key).collect::<Vec<_>>());
    }
}
