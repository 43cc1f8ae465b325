//! The WebAssembly proposals as data: the key in a profile's `[wasm]` table, wasmparser's bit, and what wasmtime 48
//! does with it.

use crate::isa::Arch;
use wasmparser::WasmFeatures;

/// A proposal that a profile can switch.
#[derive(Debug)]
pub struct Proposal {
    /// The key in `[wasm]`, spelled as in wasmtime's `-W` options.
    pub key: &'static str,
    /// The bit in wasmparser, in `wasmtime::Config` and in an artifact.
    pub feature: WasmFeatures,
    /// Whether wasmtime 48 enables it by default.
    pub default: bool,
    /// One line, with the proposal's status.
    pub doc: &'static str,
    /// Whether an engine can be configured with it, so that an artifact which records it loads.
    pub configurable: bool,
    /// A tool's command that rewrites a module without it, if there is one.
    pub converter: Option<&'static str>,
}

const fn on(key: &'static str, feature: WasmFeatures, doc: &'static str) -> Proposal {
    Proposal { key, feature, default: true, doc, configurable: true, converter: None }
}

const fn off(key: &'static str, feature: WasmFeatures, doc: &'static str) -> Proposal {
    Proposal { key, feature, default: false, doc, configurable: true, converter: None }
}

const fn unimplemented(key: &'static str, feature: WasmFeatures, doc: &'static str) -> Proposal {
    Proposal { configurable: false, ..off(key, feature, doc) }
}

/// Every proposal that a profile can switch. Defaults are those of wasmtime 48 (`Config::features`), so that artifacts
/// of the shipped profiles also load in an engine of default configuration.
pub static PROPOSALS: &[Proposal] = &[
    on("reference-types", WasmFeatures::REFERENCE_TYPES, "reference types (WebAssembly 2.0)"),
    on("multi-value", WasmFeatures::MULTI_VALUE, "blocks and functions with several results (WebAssembly 2.0)"),
    on("bulk-memory", WasmFeatures::BULK_MEMORY, "memory.copy, memory.fill and table operations (WebAssembly 2.0)"),
    on("simd", WasmFeatures::SIMD, "128-bit vectors (WebAssembly 2.0)"),
    on("relaxed-simd", WasmFeatures::RELAXED_SIMD, "vector operations with host-dependent results (WebAssembly 3.0)"),
    on("tail-call", WasmFeatures::TAIL_CALL, "return_call (WebAssembly 3.0)"),
    on("multi-memory", WasmFeatures::MULTI_MEMORY, "several memories in a module (WebAssembly 3.0)"),
    on("memory64", WasmFeatures::MEMORY64, "64-bit memories and tables (WebAssembly 3.0)"),
    on("extended-const", WasmFeatures::EXTENDED_CONST, "arithmetic in constant expressions (WebAssembly 3.0)"),
    on("function-references", WasmFeatures::FUNCTION_REFERENCES, "typed function references (WebAssembly 3.0)"),
    on("gc", WasmFeatures::GC, "garbage-collected structs and arrays (WebAssembly 3.0)"),
    on(
        "gc-types",
        WasmFeatures::GC_TYPES,
        "references to objects: externref, exnref and all of gc; without, no collector is needed",
    ),
    on("exceptions", WasmFeatures::EXCEPTIONS, "exceptions with exnref: try_table, throw_ref (WebAssembly 3.0)"),
    on("threads", WasmFeatures::THREADS, "shared memories and atomic operations (phase 4)"),
    on("component-model", WasmFeatures::COMPONENT_MODEL, "components"),
    on("component-model-async", WasmFeatures::CM_ASYNC, "components: async functions, streams and futures"),
    off("custom-page-sizes", WasmFeatures::CUSTOM_PAGE_SIZES, "memories with pages of one byte (phase 3)"),
    off("wide-arithmetic", WasmFeatures::WIDE_ARITHMETIC, "128-bit addition and multiplication (phase 3)"),
    off("stack-switching", WasmFeatures::STACK_SWITCHING, "continuations; x86-64 Unix only (phase 3)"),
    off("component-model-async-stackful", WasmFeatures::CM_ASYNC_STACKFUL, "components: stackful async lifts"),
    off(
        "component-model-more-async-builtins",
        WasmFeatures::CM_MORE_ASYNC_BUILTINS,
        "components: more async built-ins",
    ),
    off("component-model-threading", WasmFeatures::CM_THREADING, "components: threads built-ins"),
    off("component-model-error-context", WasmFeatures::CM_ERROR_CONTEXT, "components: the error-context type"),
    off("component-model-gc", WasmFeatures::CM_GC, "components: values passed as GC objects"),
    off("component-model-map", WasmFeatures::CM_MAP, "components: the map type"),
    off("component-model-memory64", WasmFeatures::CM64, "components: 64-bit memories"),
    off("component-model-fixed-length-lists", WasmFeatures::CM_FIXED_LENGTH_LISTS, "components: list<T, N>"),
    off("component-model-implements", WasmFeatures::CM_IMPLEMENTS, "components: named imports of one interface"),
];

/// Proposals that wasmparser can read and wasmtime 48 cannot compile, so that a refusal can name them.
pub static UNSUPPORTED: &[Proposal] = &[
    Proposal {
        converter: Some("binaryen's `wasm-opt --translate-to-exnref`"),
        ..unimplemented(
            "legacy-exceptions",
            WasmFeatures::LEGACY_EXCEPTIONS,
            "exceptions with try/catch, before exnref",
        )
    },
    unimplemented("memory-control", WasmFeatures::MEMORY_CONTROL, "memory.discard"),
    unimplemented("custom-descriptors", WasmFeatures::CUSTOM_DESCRIPTORS, "GC types with descriptors"),
    unimplemented("compact-imports", WasmFeatures::COMPACT_IMPORTS, "the compact import section"),
    unimplemented("component-model-values", WasmFeatures::CM_VALUES, "components: value imports and exports"),
    unimplemented("component-model-nested-names", WasmFeatures::CM_NESTED_NAMES, "components: nested names"),
    unimplemented("component-model-canon-names", WasmFeatures::CM_CANON_NAMES, "components: canonical names"),
    // There is an option for it, and nothing behind that: each of its operators is an error or a panic.
    off(
        "shared-everything-threads",
        WasmFeatures::SHARED_EVERYTHING_THREADS,
        "shared globals, tables, structs and arrays",
    ),
];

/// The proposal with that key, among those that a profile can switch.
pub fn by_key(key: &str) -> Option<&'static Proposal> {
    PROPOSALS.iter().find(|proposal| proposal.key == key)
}

/// What wasmtime 48's code generator for `arch` does not implement, with the reason for people.
///
/// From `Config::compiler_panicking_wasm_features`.
pub fn unsupported_on(arch: Arch) -> &'static [(WasmFeatures, &'static str)] {
    const STACK_SWITCHING: (WasmFeatures, &str) =
        (WasmFeatures::STACK_SWITCHING, "wasmtime 48 switches stacks on x86-64 only");
    match arch {
        Arch::X86_64 => &[],
        Arch::Aarch64 | Arch::Riscv64 | Arch::S390x => &[STACK_SWITCHING],
        Arch::Pulley64 | Arch::Pulley64be => &[
            (WasmFeatures::THREADS, "Pulley cannot access shared memory; it is an interpreter written in safe Rust"),
            STACK_SWITCHING,
        ],
    }
}

/// The features of wasmtime 48's default configuration on `arch`.
pub fn default_features(arch: Arch) -> WasmFeatures {
    let mut features = WasmFeatures::WASM3;
    for proposal in PROPOSALS {
        features.set(proposal.feature, proposal.default);
    }
    for (feature, _) in unsupported_on(arch) {
        features.remove(*feature);
    }
    features
}

/// The names that an artifact's feature bits have in requirements: wasmparser's, in lower case, with dashes.
pub fn feature_names(features: WasmFeatures) -> impl Iterator<Item = String> {
    features.iter_names().map(|(name, _)| name.to_ascii_lowercase().replace('_', "-"))
}

/// The feature with that name, or none when this version of wasmparser does not know it.
pub fn feature_by_name(name: &str) -> Option<WasmFeatures> {
    WasmFeatures::from_name(&name.to_ascii_uppercase().replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_features_are_unique() {
        let mut keys = std::collections::BTreeSet::new();
        for proposal in PROPOSALS.iter().chain(UNSUPPORTED) {
            assert!(keys.insert(proposal.key), "{}", proposal.key);
            assert!(!proposal.doc.is_empty());
        }
    }

    #[test]
    fn feature_names_go_there_and_back() {
        for name in feature_names(WasmFeatures::all()) {
            assert!(feature_by_name(&name).is_some(), "{name}");
        }
    }
}
