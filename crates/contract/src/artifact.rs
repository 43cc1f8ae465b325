//! In: the bytes of a `.cwasm`, whoever made it. Out: its sections and its [`Requirements`]. Hostile bytes give an
//! error; nothing here maps or runs them.
//!
//! An artifact is an ELF64 file whose section `.wasmtime.engine` holds `0u8, len u8, version[len], postcard(Metadata)`
//! (wasmtime's `engine/serialization.rs`). The layout of the metadata belongs to one major version.

mod imports;
mod machine;

pub use imports::{Import, imports};

use crate::Hinted;
use crate::isa::{self, Arch};
use crate::requirements::{Kind, Requirements};
use crate::settings::{Collector, Inlining, Value};
use crate::{Digest, engine_major, proposals};
use machine::Machine;
use object::elf::FileHeader64;
use object::endian::{Endian as _, Endianness};
use object::read::elf::{FileHeader, SectionHeader};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use target_lexicon::Triple;
use wasmparser::WasmFeatures;
use wasmtime_environ::{FlagValue, OperatorCostStrategy, Tunables, obj};

/// The section whose bytes say what the artifact needs. Two artifacts that differ in nothing else hold the same code.
pub const ENGINE_SECTION: &str = obj::ELF_WASM_ENGINE;

/// Why bytes are no artifact that this version reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArtifactError {
    /// Nothing in it.
    #[error("the file is empty; expected a compiled artifact (.cwasm)")]
    Empty,
    /// Wasm that nobody compiled.
    #[error("this is WebAssembly, not a compiled artifact (.cwasm)")]
    Wasm,
    /// Some other file.
    #[error("not a compiled artifact (.cwasm): {0}")]
    NotAnArtifact(String),
    /// ELF, but cut or damaged.
    #[error("damaged artifact: {0}")]
    Damaged(String),
    /// Made by a version of wasmtime whose metadata this one cannot read.
    #[error("made by wasmtime {found}; this isomer reads artifacts of wasmtime {expected}")]
    OtherEngine {
        /// The version in the artifact.
        found: String,
        /// The one this binary holds.
        expected: String,
    },
    /// For a platform that has no profile.
    #[error("made for the platform `{0}`, which isomer does not know")]
    UnknownPlatform(String),
}

impl Hinted for ArtifactError {
    fn hint(&self) -> Option<String> {
        match self {
            ArtifactError::Wasm => Some("compile it first: `isomer compile FILE --target NAME`".to_owned()),
            ArtifactError::OtherEngine { expected, .. } => Some(format!(
                "compile the module again with wasmtime {expected}, or use the isomer of the artifact's version"
            )),
            ArtifactError::Damaged(_) => Some("fetch or compile it again".to_owned()),
            _ => None,
        }
    }
}

/// One section of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Its name, `.text`.
    pub name: String,
    /// Its bytes in the file.
    pub size_bytes: u64,
    /// Their digest.
    pub digest: Digest,
}

/// What an artifact says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The platform that it was compiled for.
    pub triple: String,
    /// What it needs.
    pub requirements: Requirements,
    /// Every flag of the code generator, `name = value`, in the artifact's order.
    pub flags: Vec<(String, String)>,
    /// The sections in the file's order.
    pub sections: Vec<Section>,
}

impl Artifact {
    /// The digest of everything but the engine section: equal digests mean equal code.
    pub fn code_digest(&self) -> Digest {
        let code: Vec<_> = self
            .sections
            .iter()
            .filter(|section| section.name != ENGINE_SECTION)
            .map(|section| (&section.name, section.digest))
            .collect();
        Digest::of_json(&code)
    }

    /// Reads `bytes` whole: requirements, flags, and a digest of every section.
    pub fn read(bytes: &[u8]) -> Result<Artifact, ArtifactError> {
        let (elf, engine) = sections(bytes)?;
        let parsed = parse_engine_section(engine, &elf)?;
        let sections = elf
            .sections
            .into_iter()
            .map(|(name, data)| Section { name, size_bytes: data.len() as u64, digest: Digest::of(data) })
            .collect();
        Ok(Artifact { triple: parsed.triple, requirements: parsed.requirements, flags: parsed.flags, sections })
    }
}

impl Requirements {
    /// What the artifact in `bytes` needs, without a look at its code.
    pub fn of_artifact(bytes: &[u8]) -> Result<Requirements, ArtifactError> {
        let (elf, engine) = sections(bytes)?;
        Ok(parse_engine_section(engine, &elf)?.requirements)
    }
}

/// Where an artifact has its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeSection {
    /// From the artifact's beginning, in bytes.
    pub offset_bytes: u64,
    /// Whether it was compiled for pages that check the targets of branches (Arm's BTI).
    pub branch_protection: bool,
}

impl CodeSection {
    /// Of the artifact in `bytes`, where it has code.
    ///
    /// # Errors
    /// When it is no artifact.
    pub fn of_artifact(bytes: &[u8]) -> Result<Option<CodeSection>, ArtifactError> {
        let (elf, _) = sections(bytes)?;
        let section = |name: &str| elf.sections.iter().find(|(found, _)| found == name).map(|(_, data)| *data);
        let branch_protection = section(obj::ELF_WASM_BTI).is_some_and(|data| data != [0]);
        let code = section(".text").filter(|data| !data.is_empty());
        Ok(code.map(|code| {
            let offset_bytes = (code.as_ptr().addr() - bytes.as_ptr().addr()) as u64;
            CodeSection { offset_bytes, branch_protection }
        }))
    }
}

struct Elf<'a> {
    kind: Kind,
    machine: Machine,
    sections: Vec<(String, &'a [u8])>,
}

fn sections(bytes: &[u8]) -> Result<(Elf<'_>, &[u8]), ArtifactError> {
    if bytes.is_empty() {
        return Err(ArtifactError::Empty);
    }
    if bytes.starts_with(b"\0asm") {
        return Err(ArtifactError::Wasm);
    }
    if !bytes.starts_with(b"\x7fELF") {
        return Err(ArtifactError::NotAnArtifact("it does not start as an ELF file".to_owned()));
    }
    let damaged = |error: object::Error| ArtifactError::Damaged(error.to_string());
    let header = FileHeader64::<Endianness>::parse(bytes).map_err(damaged)?;
    let endian = header.endian().map_err(damaged)?;
    if header.e_ident().os_abi != obj::ELFOSABI_WASMTIME {
        return Err(ArtifactError::NotAnArtifact("an ELF file that wasmtime did not make".to_owned()));
    }
    let flags = header.e_flags(endian);
    let kind = match (flags & obj::EF_WASMTIME_MODULE != 0, flags & obj::EF_WASMTIME_COMPONENT != 0) {
        (true, false) => Kind::Module,
        (false, true) => Kind::Component,
        _ => return Err(ArtifactError::Damaged(format!("its header flags {flags:#x} name no kind of artifact"))),
    };
    let headers = header.section_headers(endian, bytes).map_err(damaged)?;
    let strings = header.section_strings(endian, bytes, headers).map_err(damaged)?;
    let mut sections = Vec::with_capacity(headers.len().min(64));
    let mut engine = None;
    for section in headers {
        let name = section.name(endian, strings).map_err(damaged)?;
        let name = String::from_utf8_lossy(name).into_owned();
        let data = section.data(endian, bytes).map_err(damaged)?;
        if name == ENGINE_SECTION {
            engine = Some(data);
        }
        if !name.is_empty() {
            sections.push((name, data));
        }
    }
    let engine = engine.ok_or_else(|| ArtifactError::Damaged(format!("no section {ENGINE_SECTION}")))?;
    let machine = Machine { number: header.e_machine(endian), big_endian: endian.is_big_endian() };
    Ok((Elf { kind, machine, sections }, engine))
}

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

struct EngineSection {
    triple: String,
    requirements: Requirements,
    flags: Vec<(String, String)>,
}

fn parse_engine_section(data: &[u8], header: &Elf<'_>) -> Result<EngineSection, ArtifactError> {
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
