//! Every setting of a profile but its ISA extensions and proposals: key, type, who reads it, setter, default.
//!
//! One table defines the TOML key, the field, wasmtime's default and the documentation together, so that a setting
//! cannot exist in one of them only. Keys are those of wasmtime's `-O`, `-C`, `-D` and `-W` options where it has one.

mod value;
mod words;

pub use value::Value;
pub use words::{Collector, Inlining, OptLevel, RegallocAlgorithm, Strategy};

use crate::Size;
use toml::de::DeValue;
use value::{EngineSetting, SettingType};
use wasmtime::{Config, WasmBacktraceDetails};

/// The table of a profile that a setting is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// `[optimize]`
    Optimize,
    /// `[codegen]`
    Codegen,
    /// `[wasm]`, which also holds the proposals.
    Wasm,
}

impl Section {
    /// The table's name in a profile.
    pub fn name(self) -> &'static str {
        match self {
            Section::Optimize => "optimize",
            Section::Codegen => "codegen",
            Section::Wasm => "wasm",
        }
    }
}

/// Who reads a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Written into the artifact, and an engine with another value refuses to load it.
    Checked,
    /// Written into the artifact; an engine with another value loads it.
    Recorded,
    /// Only the code generator sees it.
    CodeGeneration,
}

/// A setting, without its value.
#[derive(Debug)]
pub struct Row {
    /// Its table.
    pub section: Section,
    /// Its key in that table.
    pub key: &'static str,
    /// Who reads it.
    pub role: Role,
    /// One line on its effect.
    pub doc: &'static str,
    /// Sets it in an engine's configuration, where engines have it: not for [`Role::CodeGeneration`].
    pub(crate) set: Option<Setter>,
}

/// Sets one setting to a value of requirements. The error says which values an engine can have.
type Setter = fn(&mut Config, &Value) -> Result<(), String>;

fn set<T: EngineSetting>(
    config: &mut Config,
    value: &Value,
    set: fn(&mut Config, T::Engine) -> &mut Config,
) -> Result<(), String> {
    if let (Value::Text(word), Some(absent)) = (value, T::ABSENT)
        && word == absent
    {
        return Ok(());
    }
    set(config, T::of_value(value).ok_or_else(T::possible)?.engine());
    Ok(())
}

fn backtrace_details(config: &mut Config, on: bool) -> &mut Config {
    config.wasm_backtrace_details(if on { WasmBacktraceDetails::Enable } else { WasmBacktraceDetails::Disable })
}

/// The setter of a row of the table: none for what only the code generator sees.
macro_rules! setter {
    ($type:ty) => {
        None
    };
    ($type:ty, $set:expr) => {
        Some(|config, value| set::<$type>(config, value, $set))
    };
}

/// Why a key of a profile was not set.
#[derive(Debug)]
pub(crate) enum SetError {
    UnknownKey,
    /// The value is of another type or not one of the words.
    Wrong {
        found: String,
        expected: String,
    },
}

macro_rules! settings {
    ($($section:ident $key:literal $field:ident: $type:ty = $role:ident $(($set:expr))?, $default:expr, $doc:literal;)+) => {
        /// The effective settings of a profile: every one has a value.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Settings { $(#[doc = $doc] pub $field: $type),+ }

        /// The settings that one profile file names.
        #[derive(Clone, Debug, Default)]
        pub(crate) struct PartialSettings { $($field: Option<$type>),+ }

        /// Every setting, in the order of the documentation.
        pub static ROWS: &[Row] =
            &[$(Row {
                section: Section::$section,
                key: $key,
                role: Role::$role,
                doc: $doc,
                set: setter!($type $(, $set)?),
            }),+];

        impl Settings {
            /// wasmtime's own defaults, for native code or for Pulley.
            pub fn defaults(pulley: bool) -> Settings {
                Settings { $($field: { let default: fn(bool) -> $type = $default; default(pulley) }),+ }
            }

            /// Every setting with its value, in the order of [`ROWS`].
            pub fn values(&self) -> impl Iterator<Item = (&'static Row, Value)> {
                ROWS.iter().zip([$(SettingType::value(self.$field)),+])
            }

            /// Every setting with its value as a profile would spell it, in the order of [`ROWS`].
            pub fn shown(&self) -> impl Iterator<Item = (&'static Row, String)> {
                ROWS.iter().zip([$(SettingType::show(self.$field)),+])
            }
        }

        impl PartialSettings {
            pub(crate) fn set(&mut self, section: Section, key: &str, value: &DeValue<'_>) -> Result<(), SetError> {
                match (section, key) {
                    $((Section::$section, $key) => {
                        self.$field = Some(<$type as SettingType>::parse(value).map_err(|found| SetError::Wrong {
                            found,
                            expected: <$type as SettingType>::expected(),
                        })?);
                    })+
                    _ => return Err(SetError::UnknownKey),
                }
                Ok(())
            }

            /// The settings that this file names, in the order of [`ROWS`].
            pub(crate) fn values(&self) -> impl Iterator<Item = (&'static Row, Value)> {
                let values = [$(self.$field.map(SettingType::value)),+];
                ROWS.iter().zip(values).filter_map(|(row, value)| Some((row, value?)))
            }

            /// Puts the settings of this file into `settings`, and calls `origin` with each key.
            pub(crate) fn apply(&self, settings: &mut Settings, mut origin: impl FnMut(&'static str)) {
                $(if let Some(value) = self.$field {
                    settings.$field = value;
                    origin($key);
                })+
            }
        }
    };
}

const NATIVE_GUARD: fn(bool) -> Size = |pulley| if pulley { Size(0) } else { Size::mib(32) };

settings! {
    Optimize "opt-level" opt_level: OptLevel = CodeGeneration, |_| OptLevel::Speed,
        "how hard Cranelift optimises";
    Optimize "regalloc-algorithm" regalloc_algorithm: RegallocAlgorithm = CodeGeneration, |_| RegallocAlgorithm::Backtracking,
        "how registers are assigned";
    Optimize "inlining" inlining: Inlining = Checked(Config::compiler_inlining),
        |_| Inlining::No, "which calls between Wasm functions may be inlined";
    Optimize "signals-based-traps" signals_based_traps: bool = Checked(Config::signals_based_traps),
        |pulley| !pulley, "traps by hardware fault instead of explicit checks";
    Optimize "memory-reservation" memory_reservation: Size = Checked(Config::memory_reservation),
        |_| Size::gib(4), "address space reserved for a linear memory; 4GiB and more elide bounds checks";
    Optimize "memory-guard-size" memory_guard_size: Size = Checked(Config::memory_guard_size),
        NATIVE_GUARD, "unmapped bytes after a linear memory; static offsets below it need no bounds check";
    Optimize "memory-reservation-for-growth" memory_reservation_for_growth: Size = Recorded(Config::memory_reservation_for_growth),
        |_| Size::gib(2), "address space added when a memory moves";
    Optimize "memory-may-move" memory_may_move: bool = Checked(Config::memory_may_move),
        |_| true, "a memory may be moved when it outgrows its reservation";
    Optimize "guard-before-linear-memory" guard_before_linear_memory: bool = Checked(Config::guard_before_linear_memory),
        |_| true, "a second guard in front of a linear memory";
    Optimize "memory-init-cow" memory_init_cow: bool = Checked(Config::memory_init_cow),
        |_| true, "initial memory contents are mapped copy-on-write from the artifact";
    Optimize "memory-guaranteed-dense-image-size" memory_guaranteed_dense_image_size: Size = CodeGeneration, |_| Size::mib(16),
        "data segments up to this size become one image even when sparse";
    Optimize "table-lazy-init" table_lazy_init: bool = Checked(Config::table_lazy_init),
        |_| true, "table elements are initialised on first use";
    Optimize "gc-heap-reservation" gc_heap_reservation: Size = Checked(Config::gc_heap_reservation),
        |_| Size::gib(4), "address space reserved for the GC heap";
    Optimize "gc-heap-guard-size" gc_heap_guard_size: Size = Checked(Config::gc_heap_guard_size),
        NATIVE_GUARD, "unmapped bytes after the GC heap";
    Optimize "gc-heap-reservation-for-growth" gc_heap_reservation_for_growth: Size = Recorded(Config::gc_heap_reservation_for_growth),
        |_| Size::gib(2), "address space added when the GC heap moves";
    Optimize "gc-heap-may-move" gc_heap_may_move: bool = Checked(Config::gc_heap_may_move),
        |_| true, "the GC heap may be moved when it outgrows its reservation";
    Optimize "gc-heap-initial-size" gc_heap_initial_size: Size = Checked(Config::gc_heap_initial_size),
        |_| Size(0), "bytes that a GC heap starts with";

    Codegen "strategy" strategy: Strategy = CodeGeneration, |_| Strategy::Cranelift,
        "the code generator";
    Codegen "collector" collector: Collector = Checked(Config::collector),
        |_| Collector::Copying, "the garbage collector that objects are laid out for; copying in the Rust crate, drc in the C API";
    Codegen "nan-canonicalization" nan_canonicalization: bool = CodeGeneration, |_| false,
        "every NaN result has one bit pattern";
    Codegen "heap-access-spectre-mitigation" heap_access_spectre_mitigation: bool = CodeGeneration, |pulley| !pulley,
        "explicit heap bounds checks also hold under speculation";
    Codegen "table-access-spectre-mitigation" table_access_spectre_mitigation: bool = CodeGeneration, |pulley| !pulley,
        "table bounds checks also hold under speculation";
    Codegen "native-unwind-info" native_unwind_info: bool = CodeGeneration, |_| true,
        "unwind tables for native debuggers and profilers";
    Codegen "address-map" address_map: bool = Recorded(Config::generate_address_map),
        |_| true, "backtraces name offsets in the Wasm file";
    Codegen "debug-info" debug_info: bool = Checked(Config::debug_info),
        |_| false, "native DWARF from the module's own";
    Codegen "debug-symbols" debug_symbols: bool = Checked(Config::debug_symbols),
        |_| true, "native symbols for every function";
    Codegen "backtrace-details" backtrace_details: bool = Checked(backtrace_details),
        |_| false, "the module's DWARF is kept, so that backtraces name source lines";

    Wasm "fuel" fuel: bool = Checked(Config::consume_fuel),
        |_| false, "code counts what it executes, so that a host can bound it";
    Wasm "epoch-interruption" epoch_interruption: bool = Checked(Config::epoch_interruption),
        |_| false, "code checks a host's deadline at loops and calls";
    Wasm "relaxed-simd-deterministic" relaxed_simd_deterministic: bool = Checked(Config::relaxed_simd_deterministic),
        |_| false, "relaxed SIMD gives the same results on every CPU";
    Wasm "concurrency-support" concurrency_support: bool = Checked(Config::concurrency_support),
        |_| true, "component tasks may run concurrently in a store";
    Wasm "branch-hinting" branch_hinting: bool = Recorded(Config::wasm_branch_hinting),
        |_| false, "the module's branch hints move cold blocks";
}

/// The keys of one table, for hints.
pub fn keys(section: Section) -> impl Iterator<Item = &'static str> {
    ROWS.iter().filter(move |row| row.section == section).map(|row| row.key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_unique_across_tables() {
        // Requirements name a setting by its key alone.
        let keys: std::collections::BTreeSet<_> = ROWS.iter().map(|row| row.key).collect();
        assert_eq!(keys.len(), ROWS.len());
    }

    #[test]
    fn engines_have_what_artifacts_record() {
        for row in ROWS {
            assert_eq!(row.set.is_some(), row.role != Role::CodeGeneration, "{}", row.key);
        }
        for (row, value) in Settings::defaults(false).values() {
            let Some(set) = row.set else { continue };
            assert_eq!(set(&mut Config::new(), &value), Ok(()), "{}", row.key);
            let wrong = [Value::Text("none of them".to_owned()), Value::Integer(3), Value::Bool(true)];
            let refused = wrong.iter().filter(|value| set(&mut Config::new(), value).is_err()).count();
            assert_eq!(refused, 2 + usize::from(matches!(value, Value::Text(_))), "{}", row.key);
        }
    }

    #[test]
    fn an_artifact_without_a_collector_loads_with_any() {
        let collector = ROWS.iter().find(|row| row.key == "collector").and_then(|row| row.set).expect("a setter");
        assert_eq!(collector(&mut Config::new(), &Collector::value_of(None)), Ok(()));
        let error = collector(&mut Config::new(), &Value::Text("mark-and-sweep".to_owned())).unwrap_err();
        assert_eq!(error, "copying, drc, null or none");
        let inlining = ROWS.iter().find(|row| row.key == "inlining").and_then(|row| row.set).expect("a setter");
        assert!(inlining(&mut Config::new(), &Value::Text("none".to_owned())).is_err());
    }

    #[test]
    fn what_is_shown_can_be_read() {
        for pulley in [false, true] {
            let settings = Settings::defaults(pulley);
            let mut partial = PartialSettings::default();
            for (row, text) in settings.shown() {
                let value = DeValue::parse(&text).unwrap();
                partial.set(row.section, row.key, value.get_ref()).unwrap();
            }
            let mut read = Settings::defaults(!pulley);
            partial.apply(&mut read, |_| ());
            assert_eq!(read, settings);
        }
    }
}
