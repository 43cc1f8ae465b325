//! What an artifact requires of a server. In: a profile, or the metadata of an artifact. Out: the same value from both.
//! Never here: a look at a host.

use crate::isa::Arch;
use crate::settings::{Collector, Role, Settings, Value};
use crate::{Digest, Profile, proposals};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use wasmparser::WasmFeatures;

/// What kind of WebAssembly was compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A core module.
    Module,
    /// A component.
    Component,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Module => "module",
            Kind::Component => "component",
        })
    }
}

/// What a server must have and be set to, to load an artifact and run it right.
///
/// It has everything that wasmtime 48 compares when it loads an artifact, and nothing of the machine that compiled it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Requirements {
    /// The engine version that its loader compares: wasmtime's major, `48`.
    pub engine: String,
    /// Module or component.
    pub kind: Kind,
    /// The instruction set, or the kind of Pulley bytecode.
    pub arch: Arch,
    /// target-lexicon's name of the operating system; `unknown` for Pulley.
    pub os: String,
    /// The ISA extensions beyond the architecture's baseline. A Cranelift flag that the table has no row for is listed
    /// under its own name, which no host has.
    pub isa: BTreeSet<String>,
    /// The settings that must be equal, by their key in a profile.
    pub tunables: BTreeMap<String, Value>,
    /// The settings that were recorded and need not be equal.
    pub recorded: BTreeMap<String, Value>,
    /// The proposals that the engine must enable, by wasmparser's names.
    pub wasm_features: BTreeSet<String>,
    /// Flags of the code generator whose value wasmtime's loader never accepts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused_flags: BTreeMap<String, String>,
}

/// Settings that wasmtime's loader compares and that profiles do not offer, with the value that isomer compiles with
/// and the only one that a runtime without a compiler can have.
pub(crate) fn fixed_tunables() -> [(&'static str, Value); 6] {
    [
        ("guest-debug", Value::Bool(false)),
        // `wasmtime_environ::Tunables::default_miri`; no method of `Config` changes these two.
        ("inlining-small-callee-size", Value::Integer(50)),
        ("inlining-sum-size-threshold", Value::Integer(2000)),
        ("operator-cost", Value::Text("default".to_owned())),
        ("recording", Value::Bool(false)),
        ("winch-callable", Value::Bool(false)),
    ]
}

/// The settings that wasmtime's loader compares, with their values in an engine with `settings`.
pub(crate) fn checked_settings(settings: &Settings) -> BTreeMap<String, Value> {
    let checked = settings.values().filter(|(row, _)| row.role == Role::Checked);
    let checked = checked.map(|(row, value)| (row.key, value));
    fixed_tunables().into_iter().chain(checked).map(|(key, value)| (key.to_owned(), value)).collect()
}

impl Requirements {
    /// What an artifact compiled for `profile` will require.
    pub fn of_profile(profile: &Profile, kind: Kind) -> Requirements {
        let mut tunables = checked_settings(&profile.settings);
        if !profile.features.contains(WasmFeatures::GC_TYPES) {
            tunables.insert("collector".to_owned(), Collector::value_of(None));
        }
        let recorded = profile.settings.values().filter(|(row, _)| row.role == Role::Recorded);
        let recorded = recorded.map(|(row, value)| (row.key.to_owned(), value)).collect();
        Requirements {
            engine: crate::engine_major().to_owned(),
            kind,
            arch: profile.arch,
            os: profile.triple.operating_system.to_string(),
            isa: profile.isa.keys().map(|name| (*name).to_owned()).collect(),
            tunables,
            recorded,
            wasm_features: proposals::feature_names(profile.features).collect(),
            refused_flags: BTreeMap::new(),
        }
    }

    /// The digest of what must match: two artifacts of one module with equal `compat` load in the same engines.
    pub fn compat(&self) -> Digest {
        let Requirements { engine, kind, arch, os, isa, tunables, recorded: _, wasm_features, refused_flags } = self;
        Digest::of_json(&(engine, kind, arch, os, isa, tunables, wasm_features, refused_flags))
    }

    /// The proposals as wasmparser's bits.
    ///
    /// # Errors
    /// The first name that this version of wasmparser does not know.
    pub fn features(&self) -> Result<WasmFeatures, String> {
        self.wasm_features.iter().try_fold(WasmFeatures::empty(), |features, name| {
            proposals::feature_by_name(name).map(|feature| features | feature).ok_or_else(|| name.clone())
        })
    }

    /// Whether `self` runs wherever `other` does: equal but for the ISA extensions, of which it needs a subset.
    pub fn no_stronger_than(&self, other: &Requirements) -> bool {
        let rest = |requirements: &Requirements| Requirements { isa: BTreeSet::new(), ..requirements.clone() };
        self.isa.is_subset(&other.isa) && rest(self) == rest(other)
    }
}

/// What a module needs beside instructions, from its own sections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Needs {
    /// It declares or imports a shared memory.
    pub shared_memory: bool,
    /// The sum of its memories' minimum sizes, in bytes.
    pub memory_minimum_bytes: u64,
}
