//! In: the content of `.wasmtime.engine`. Out: what the artifact requires, and the flags of the code generator. Every field
//! of wasmtime's tunables is decided here: a new one fails to compile.

use super::elf::{ENGINE_SECTION, Elf};
use super::error::ArtifactError;
use super::machine::Machine;
use crate::isa::{self, Arch};
use crate::requirements::Requirements;
use crate::settings::{Collector, Inlining, Value};
use crate::{engine_major, proposals};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use target_lexicon::Triple;
use wasmparser::WasmFeatures;
use wasmtime_environ::{FlagValue, OperatorCostStrategy, Tunables};

/// wasmtime's `engine::serialization::Metadata`.
#[derive(Deserialize)]
struct Metadata<'a> {
    target: String,
    #[serde(borrow)]
    shared_flags: Vec<(&'a str, FlagValue<'a>)>,
    #[serde(borrow)]
    isa_flags: Vec<(&'a str, FlagValue<'a>)>,
    tunables: Tunables,
    features: u64,
}

/// What the section declares.
pub(super) struct EngineSection {
    pub(super) triple: String,
    pub(super) requirements: Requirements,
    pub(super) flags: Vec<(String, String)>,
}

/// Parses `data`, the section of the artifact with the header `header`.
pub(super) fn parse_engine_section(data: &[u8], header: &Elf<'_>) -> Result<EngineSection, ArtifactError> {
    let damaged = |what: &str| ArtifactError::Damaged(format!("{ENGINE_SECTION}: {what}"));
    let [0, length, rest @ ..] = data else {
        return Err(damaged("unknown layout"));
    };
    let (version, metadata) =
        rest.split_at_checked(usize::from(*length)).ok_or_else(|| damaged("cut inside the version"))?;
    let version = std::str::from_utf8(version).map_err(|_| damaged("the version is not text"))?;
    if version != engine_major() {
        let found = version.chars().filter(|c| !c.is_control()).collect();
        return Err(ArtifactError::OtherEngine { found, expected: engine_major().to_owned() });
    }
    let metadata: Metadata<'_> = postcard::from_bytes(metadata).map_err(|error| damaged(&error.to_string()))?;
    let unknown = || ArtifactError::UnknownPlatform(metadata.target.clone());
    let triple: Triple = metadata.target.parse().map_err(|_| unknown())?;
    let arch = Arch::of(&triple).ok_or_else(unknown)?;
    let (found, expected) = (header.machine, Machine::of(arch));
    if found != expected {
        let what = format!("its header says {found}, expected {expected} for {}", metadata.target);
        return Err(ArtifactError::Damaged(what));
    }
    let (tunables, recorded) = tunables(&metadata.tunables);
    let requirements = Requirements {
        engine: version.to_owned(),
        kind: header.kind,
        arch,
        os: triple.operating_system.to_string(),
        isa: extensions(arch, &metadata.isa_flags),
        tunables,
        recorded,
        wasm_features: proposals::feature_names(WasmFeatures::from_bits_truncate(metadata.features)).collect(),
        refused_flags: refused_flags(&metadata.shared_flags, triple.operating_system, metadata.features),
    };
    let flags = metadata.shared_flags.iter().chain(&metadata.isa_flags);
    let flags = flags.map(|(name, value)| ((*name).to_owned(), value.to_string())).collect();
    Ok(EngineSection { triple: metadata.target, requirements, flags })
}

/// The extensions behind the ISA flags that are on.
fn extensions(arch: Arch, flags: &[(&str, FlagValue<'_>)]) -> BTreeSet<String> {
    // NOPs or without effect on a CPU that lacks them (wasmtime's `check_compatible_with_isa_flag`); the two Pulley
    // flags are part of the architecture.
    const HARMLESS: [&str; 6] = [
        "sign_return_address",
        "sign_return_address_all",
        "sign_return_address_with_bkey",
        "use_bti",
        "big_endian",
        "pointer_width",
    ];
    flags
        .iter()
        .filter(|(name, value)| !matches!(value, FlagValue::Bool(false)) && !HARMLESS.contains(name))
        .filter_map(|(name, _)| match isa::by_flag(arch, name) {
            Some(extension) if extension.baseline => None,
            Some(extension) => Some(extension.name.to_owned()),
            None => Some((*name).to_owned()),
        })
        .collect()
}

/// The shared flags that wasmtime's loader insists on (`check_compatible_with_shared_flag`) and that differ.
fn refused_flags(
    flags: &[(&str, FlagValue<'_>)],
    os: target_lexicon::OperatingSystem,
    features: u64,
) -> BTreeMap<String, String> {
    let windows = os == target_lexicon::OperatingSystem::Windows;
    let stack_switching = WasmFeatures::from_bits_truncate(features).contains(WasmFeatures::STACK_SWITCHING);
    let accepted = |name: &str, value: &FlagValue<'_>| match name {
        "libcall_call_conv" => *value == FlagValue::Enum("isa_default"),
        "probestack_strategy" => *value == FlagValue::Enum("inline"),
        "preserve_frame_pointers" | "enable_probestack" | "enable_multi_ret_implicit_sret" => {
            *value == FlagValue::Bool(true)
        }
        "enable_llvm_abi_extensions"
        | "enable_pinned_reg"
        | "use_colocated_libcalls"
        | "use_pinned_reg_as_heap_base" => *value == FlagValue::Bool(false),
        "unwind_info" => !windows || *value == FlagValue::Bool(true),
        "stack_switch_model" => {
            !stack_switching || *value == FlagValue::Enum(if windows { "update_windows_tib" } else { "basic" })
        }
        // Values that change speed, size or debugging, not what the code asks of its host.
        "enable_heap_access_spectre_mitigation"
        | "enable_table_access_spectre_mitigation"
        | "enable_nan_canonicalization"
        | "enable_float"
        | "enable_verifier"
        | "regalloc_checker"
        | "regalloc_verbose_logs"
        | "regalloc_algorithm"
        | "is_pic"
        | "bb_padding_log2_minus_one"
        | "log2_min_function_alignment"
        | "enable_compact_unwind_abi"
        | "machine_code_cfg_info"
        | "tls_model"
        | "opt_level"
        | "enable_alias_analysis"
        | "probestack_size_log2"
        | "regalloc"
        | "enable_incremental_compilation_cache_checks"
        | "enable_atomics" => true,
        _ => false,
    };
    flags
        .iter()
        .filter(|(name, value)| !accepted(name, value))
        .map(|(name, value)| ((*name).to_owned(), value.to_string()))
        .collect()
}

type Values = BTreeMap<String, Value>;

/// The engine's tunables under the keys of profiles: those that the loader compares, and those it only records.
fn tunables(tunables: &Tunables) -> (Values, Values) {
    let Tunables {
        collector,
        memory_reservation,
        memory_guard_size,
        memory_reservation_for_growth,
        debug_native,
        debug_guest,
        debug_symbols,
        parse_wasm_debuginfo,
        consume_fuel,
        operator_cost,
        epoch_interruption,
        memory_may_move,
        guard_before_linear_memory,
        table_lazy_init,
        generate_address_map,
        relaxed_simd_deterministic,
        winch_callable,
        signals_based_traps,
        memory_init_cow,
        inlining,
        inlining_small_callee_size,
        inlining_sum_size_threshold,
        concurrency_support,
        recording,
        gc_heap_reservation,
        gc_heap_guard_size,
        gc_heap_reservation_for_growth,
        gc_heap_initial_size,
        gc_heap_may_move,
        branch_hinting,
        // Assertions inside adapter modules: never in what the loader compares.
        debug_adapter_modules: _,
        // Only under wasmtime's own `cfg(gc_zeal)`.
        gc_zeal_alloc_counter: _,
        // Extra trap records, which every loader reads whether they are there or not.
        metadata_for_internal_asserts: _,
        metadata_for_gc_heap_corruption: _,
    } = tunables;
    // wasmtime ignores the table of costs where no fuel is counted.
    let operator_cost = match operator_cost {
        OperatorCostStrategy::Table(_) if *consume_fuel => "table",
        _ => "default",
    };
    let integer = |value: &u64| Value::Integer(*value);
    let checked = [
        ("collector", Collector::value_of(*collector)),
        ("memory-reservation", integer(memory_reservation)),
        ("memory-guard-size", integer(memory_guard_size)),
        ("debug-info", Value::Bool(*debug_native)),
        ("guest-debug", Value::Bool(*debug_guest)),
        ("debug-symbols", Value::Bool(*debug_symbols)),
        ("backtrace-details", Value::Bool(*parse_wasm_debuginfo)),
        ("fuel", Value::Bool(*consume_fuel)),
        ("operator-cost", Value::Text(operator_cost.to_owned())),
        ("epoch-interruption", Value::Bool(*epoch_interruption)),
        ("memory-may-move", Value::Bool(*memory_may_move)),
        ("guard-before-linear-memory", Value::Bool(*guard_before_linear_memory)),
        ("table-lazy-init", Value::Bool(*table_lazy_init)),
        ("relaxed-simd-deterministic", Value::Bool(*relaxed_simd_deterministic)),
        ("winch-callable", Value::Bool(*winch_callable)),
        ("signals-based-traps", Value::Bool(*signals_based_traps)),
        ("memory-init-cow", Value::Bool(*memory_init_cow)),
        ("inlining", Inlining::value_of(*inlining)),
        ("inlining-small-callee-size", integer(&u64::from(*inlining_small_callee_size))),
        ("inlining-sum-size-threshold", integer(&u64::from(*inlining_sum_size_threshold))),
        ("concurrency-support", Value::Bool(*concurrency_support)),
        ("recording", Value::Bool(*recording)),
        ("gc-heap-reservation", integer(gc_heap_reservation)),
        ("gc-heap-guard-size", integer(gc_heap_guard_size)),
        ("gc-heap-initial-size", integer(gc_heap_initial_size)),
        ("gc-heap-may-move", Value::Bool(*gc_heap_may_move)),
    ];
    let recorded = [
        ("memory-reservation-for-growth", integer(memory_reservation_for_growth)),
        ("gc-heap-reservation-for-growth", integer(gc_heap_reservation_for_growth)),
        ("address-map", Value::Bool(*generate_address_map)),
        ("branch-hinting", Value::Bool(*branch_hinting)),
    ];
    let map = |pairs: &[(&str, Value)]| pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    (map(&checked), map(&recorded))
}
