//! Every setting of a profile but its ISA extensions and proposals: key, type, default, what it touches.
//!
//! One table defines the TOML key, the field, wasmtime's default and the documentation together, so that a setting
//! cannot exist in one place only. Keys are those of wasmtime's `-O`, `-C`, `-D` and `-W` options where it has one.

use crate::Size;
use serde::{Deserialize, Serialize};
use std::fmt;
use toml::de::DeValue;

/// The table of a profile that a setting stands in.
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

/// A setting's value, independent of its type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// On or off.
    Bool(bool),
    /// A number; bytes for sizes.
    Integer(u64),
    /// One of a setting's words.
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(value) => value.fmt(f),
            Value::Integer(value) => value.fmt(f),
            Value::Text(value) => value.fmt(f),
        }
    }
}

/// What a setting is, without its value.
#[derive(Debug)]
pub struct Row {
    /// The table it stands in.
    pub section: Section,
    /// Its key there.
    pub key: &'static str,
    /// Who reads it.
    pub role: Role,
    /// One line on its effect.
    pub doc: &'static str,
}

/// A type that a setting can have.
trait SettingType: Sized + Copy {
    /// What a wrong value is told.
    fn expected() -> String;
    fn parse(value: &DeValue<'_>) -> Result<Self, String>;
    fn value(self) -> Value;
    /// As it would be written in a profile.
    fn show(self) -> String;
}

impl SettingType for bool {
    fn expected() -> String {
        "true or false".to_owned()
    }
    fn parse(value: &DeValue<'_>) -> Result<bool, String> {
        value.as_bool().ok_or_else(|| format!("a {}", value.type_str()))
    }
    fn value(self) -> Value {
        Value::Bool(self)
    }
    fn show(self) -> String {
        self.to_string()
    }
}

impl SettingType for Size {
    fn expected() -> String {
        format!("a size such as \"4GiB\", \"32MiB\" or 65536, in B, KiB, MiB, GiB or TiB, up to {}", Size::MAX)
    }
    fn parse(value: &DeValue<'_>) -> Result<Size, String> {
        match value {
            DeValue::String(text) => Size::parse(text),
            DeValue::Integer(number) => match u64::from_str_radix(number.as_str(), number.radix()) {
                Ok(bytes) => Size::parse(&bytes.to_string()),
                Err(_) => Err(format!("`{}`", number.as_str())),
            },
            other => Err(format!("a {}", other.type_str())),
        }
    }
    fn value(self) -> Value {
        Value::Integer(self.0)
    }
    fn show(self) -> String {
        format!("\"{self}\"")
    }
}

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_meta])* $variant),+ }

        impl $name {
            /// Every word, in the order of the documentation.
            pub const WORDS: &'static [(&'static str, $name)] = &[$(($word, $name::$variant)),+];

            /// The word that profiles use.
            pub fn word(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }

        impl SettingType for $name {
            fn expected() -> String {
                let words: Vec<_> = Self::WORDS.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                words.join(" or ")
            }
            fn parse(value: &DeValue<'_>) -> Result<Self, String> {
                let DeValue::String(text) = value else { return Err(format!("a {}", value.type_str())) };
                Self::WORDS
                    .iter()
                    .find(|(word, _)| *word == text.as_ref())
                    .map(|(_, variant)| *variant)
                    .ok_or_else(|| format!("\"{text}\""))
            }
            fn value(self) -> Value {
                Value::Text(self.word().to_owned())
            }
            fn show(self) -> String {
                format!("\"{}\"", self.word())
            }
        }
    };
}

words! {
    /// How hard Cranelift optimises.
    OptLevel {
        /// No optimisation.
        None = "none",
        /// For speed.
        Speed = "speed",
        /// For speed, and smaller code where it costs none.
        SpeedAndSize = "speed-and-size",
    }
}
words! {
    /// How registers are assigned.
    RegallocAlgorithm {
        /// Slower to compile, faster code.
        Backtracking = "backtracking",
        /// Fast to compile, slower code.
        SinglePass = "single-pass",
    }
}
words! {
    /// Which calls between Wasm functions may be inlined.
    Inlining {
        /// None.
        No = "no",
        /// wasmtime's intrinsics only.
        Intrinsics = "intrinsics",
        /// Calls between the modules of a component.
        InterModule = "inter-module",
        /// Those, and calls inside modules that use GC.
        InterModuleAndIntraGc = "inter-module-and-intra-gc",
        /// All calls.
        Yes = "yes",
    }
}
words! {
    /// The code generator.
    Strategy {
        /// The optimising one.
        Cranelift = "cranelift",
    }
}
words! {
    /// The garbage collector that GC objects are laid out for.
    Collector {
        /// Semi-space copying: wasmtime 48's default.
        Copying = "copying",
        /// Deferred reference counting.
        Drc = "drc",
        /// Never collects.
        Null = "null",
    }
}

/// What a profile's table says of one key.
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
    ($($section:ident $key:literal $field:ident: $type:ty = $role:ident, $default:expr, $doc:literal;)+) => {
        /// The effective settings of a profile: every one has a value.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Settings { $(#[doc = $doc] pub $field: $type),+ }

        /// The settings that one profile file names.
        #[derive(Clone, Debug, Default)]
        pub(crate) struct PartialSettings { $($field: Option<$type>),+ }

        /// Every setting, in the order of the documentation.
        pub static ROWS: &[Row] =
            &[$(Row { section: Section::$section, key: $key, role: Role::$role, doc: $doc }),+];

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

            /// Puts what this file names into `settings`, and tells `origin` of each key.
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
    Optimize "inlining" inlining: Inlining = Checked, |_| Inlining::No,
        "which calls between Wasm functions may be inlined";
    Optimize "signals-based-traps" signals_based_traps: bool = Checked, |pulley| !pulley,
        "traps by hardware fault instead of explicit checks";
    Optimize "memory-reservation" memory_reservation: Size = Checked, |_| Size::gib(4),
        "address space reserved for a linear memory; 4GiB and more elide bounds checks";
    Optimize "memory-guard-size" memory_guard_size: Size = Checked, NATIVE_GUARD,
        "unmapped bytes after a linear memory; static offsets below it need no bounds check";
    Optimize "memory-reservation-for-growth" memory_reservation_for_growth: Size = Recorded, |_| Size::gib(2),
        "address space added when a memory moves";
    Optimize "memory-may-move" memory_may_move: bool = Checked, |_| true,
        "a memory may be moved when it outgrows its reservation";
    Optimize "guard-before-linear-memory" guard_before_linear_memory: bool = Checked, |_| true,
        "a second guard in front of a linear memory";
    Optimize "memory-init-cow" memory_init_cow: bool = Checked, |_| true,
        "initial memory contents are mapped copy-on-write from the artifact";
    Optimize "memory-guaranteed-dense-image-size" memory_guaranteed_dense_image_size: Size = CodeGeneration, |_| Size::mib(16),
        "data segments up to this size become one image even when sparse";
    Optimize "table-lazy-init" table_lazy_init: bool = Checked, |_| true,
        "table elements are initialised on first use";
    Optimize "gc-heap-reservation" gc_heap_reservation: Size = Checked, |_| Size::gib(4),
        "address space reserved for the GC heap";
    Optimize "gc-heap-guard-size" gc_heap_guard_size: Size = Checked, NATIVE_GUARD,
        "unmapped bytes after the GC heap";
    Optimize "gc-heap-reservation-for-growth" gc_heap_reservation_for_growth: Size = Recorded, |_| Size::gib(2),
        "address space added when the GC heap moves";
    Optimize "gc-heap-may-move" gc_heap_may_move: bool = Checked, |_| true,
        "the GC heap may be moved when it outgrows its reservation";
    Optimize "gc-heap-initial-size" gc_heap_initial_size: Size = Checked, |_| Size(0),
        "bytes that a GC heap starts with";

    Codegen "strategy" strategy: Strategy = CodeGeneration, |_| Strategy::Cranelift,
        "the code generator";
    Codegen "collector" collector: Collector = Checked, |_| Collector::Copying,
        "the garbage collector that objects are laid out for";
    Codegen "nan-canonicalization" nan_canonicalization: bool = CodeGeneration, |_| false,
        "every NaN result has one bit pattern";
    Codegen "heap-access-spectre-mitigation" heap_access_spectre_mitigation: bool = CodeGeneration, |pulley| !pulley,
        "explicit heap bounds checks also hold under speculation";
    Codegen "table-access-spectre-mitigation" table_access_spectre_mitigation: bool = CodeGeneration, |pulley| !pulley,
        "table bounds checks also hold under speculation";
    Codegen "native-unwind-info" native_unwind_info: bool = CodeGeneration, |_| true,
        "unwind tables for native debuggers and profilers";
    Codegen "address-map" address_map: bool = Recorded, |_| true,
        "backtraces name offsets in the Wasm file";
    Codegen "debug-info" debug_info: bool = Checked, |_| false,
        "native DWARF from the module's own";
    Codegen "debug-symbols" debug_symbols: bool = Checked, |_| true,
        "native symbols for every function";
    Codegen "backtrace-details" backtrace_details: bool = Checked, |_| false,
        "the module's DWARF is kept, so that backtraces name source lines";

    Wasm "fuel" fuel: bool = Checked, |_| false,
        "code counts what it executes, so that a host can bound it";
    Wasm "epoch-interruption" epoch_interruption: bool = Checked, |_| false,
        "code checks a host's deadline at loops and calls";
    Wasm "relaxed-simd-deterministic" relaxed_simd_deterministic: bool = Checked, |_| false,
        "relaxed SIMD gives the same results on every CPU";
    Wasm "concurrency-support" concurrency_support: bool = Checked, |_| true,
        "component tasks may run concurrently in a store";
    Wasm "branch-hinting" branch_hinting: bool = Recorded, |_| false,
        "the module's branch hints move cold blocks";
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
