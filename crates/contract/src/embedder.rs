//! Programs that embed wasmtime in its default configuration. In: what an artifact requires. Out: every reason why their
//! engines do not load it. Never here: their hosts' CPUs; that is [`check`](crate::check)'s.

use crate::proposals;
use crate::requirements::checked_settings;
use crate::settings::{Collector, Settings, Value};
use crate::{Hinted, Requirements};
use serde::Serialize;
use std::fmt;
use wasmparser::WasmFeatures;

/// A build of wasmtime, with an engine of default configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Embedder {
    /// The crate `wasmtime` with its default Cargo features.
    Rust,
    /// The C API as upstream releases it, and what is built on it: wasmtime-py, wasmtime-go and others.
    CApi,
}

/// A setting of an embedder's engine with which an artifact does not load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "mismatch", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
#[non_exhaustive]
pub enum EmbedderMismatch {
    /// Bytecode, and the engine executes native code.
    Bytecode,
    /// A setting that must be equal differs.
    Setting {
        /// Its key in a profile.
        key: String,
        /// The artifact's value.
        needs: Value,
        /// The engine's value, or none where its version does not have the setting.
        has: Option<Value>,
    },
    /// A proposal is enabled that the engine does not enable.
    Proposal {
        /// Its name, as wasmparser has it.
        name: String,
    },
}

impl Embedder {
    /// Every embedder.
    pub const ALL: [Embedder; 2] = [Embedder::Rust, Embedder::CApi];

    /// The name in options.
    pub fn name(self) -> &'static str {
        match self {
            Embedder::Rust => "rust",
            Embedder::CApi => "c-api",
        }
    }

    /// The collector of its engines: the first of `copying`, `drc` and `null` that it was built with.
    fn collector(self) -> Collector {
        match self {
            Embedder::Rust => Collector::Copying,
            Embedder::CApi => Collector::Drc,
        }
    }

    /// Every reason why its engine of default configuration does not load an artifact with these requirements. Empty means
    /// that it loads wherever [`check`](crate::check) finds nothing either.
    pub fn mismatches(self, requirements: &Requirements) -> Vec<EmbedderMismatch> {
        let Requirements { arch, tunables, .. } = requirements;
        if arch.is_pulley() {
            return vec![EmbedderMismatch::Bytecode];
        }
        let settings = Settings { collector: self.collector(), ..Settings::defaults(false) };
        let engine = checked_settings(&settings);
        let needs_no_collector = Collector::value_of(None);
        let mut mismatches = Vec::new();
        for (key, needs) in tunables {
            let has = engine.get(key);
            if has == Some(needs) || key == "collector" && *needs == needs_no_collector {
                continue;
            }
            let (key, needs, has) = (key.clone(), needs.clone(), has.cloned());
            mismatches.push(EmbedderMismatch::Setting { key, needs, has });
        }
        let enabled = proposals::default_features(*arch);
        let is_enabled = |name: &str| {
            let feature = proposals::feature_by_name(name);
            feature.is_some_and(|feature: WasmFeatures| enabled.contains(feature))
        };
        let missing = requirements.wasm_features.iter().filter(|name| !is_enabled(name)).cloned();
        mismatches.extend(missing.map(|name| EmbedderMismatch::Proposal { name }));
        mismatches
    }
}

impl fmt::Display for Embedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Embedder::Rust => "the Rust crate with its default features",
            Embedder::CApi => "the C API (wasmtime-py, wasmtime-go)",
        })
    }
}

impl fmt::Display for EmbedderMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EmbedderMismatch::Bytecode => {
                f.write_str("the artifact is Pulley bytecode; the engine executes native code")
            }
            EmbedderMismatch::Setting { key, needs, has: Some(has) } => {
                write!(f, "`{key}` is {needs}; the engine has {has}")
            }
            EmbedderMismatch::Setting { key, needs, has: None } => {
                write!(f, "`{key}` is {needs}; the engine does not have it")
            }
            EmbedderMismatch::Proposal { name } => {
                write!(f, "the proposal `{name}` is enabled; the engine disables it")
            }
        }
    }
}

impl Hinted for EmbedderMismatch {
    fn hint(&self) -> Option<String> {
        Some(match self {
            EmbedderMismatch::Bytecode => "compile for a native target".to_owned(),
            EmbedderMismatch::Setting { key, .. } if key == "collector" => {
                "compile for the same target with the overlay `+default`, or, if the module uses GC and the engine has drc, \
                 with `+portable-collector`"
                    .to_owned()
            }
            EmbedderMismatch::Setting { .. } => {
                "compile for the same target with the overlay `+default`, or set the engine as the artifact is".to_owned()
            }
            EmbedderMismatch::Proposal { name } => format!("compile for a profile without `{name}`, or enable it there"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::shipped_names;
    use crate::{Kind, Profile};

    fn found(target: &str, overlays: &[&str], embedder: Embedder) -> Vec<String> {
        let profile = Profile::shipped(target).expect("a shipped profile");
        let profile = profile.with_overlays(overlays.iter().copied()).expect("they fit");
        let requirements = Requirements::of_profile(&profile, Kind::Module);
        embedder.mismatches(&requirements).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn shipped_profiles_load_into_rust_and_with_the_overlay_everywhere() {
        let collector = "`collector` is copying; the engine has drc";
        for name in shipped_names().filter(|name| !name.starts_with("pulley")) {
            assert_eq!(found(name, &[], Embedder::Rust), [""; 0], "{name}");
            assert_eq!(found(name, &[], Embedder::CApi), [collector], "{name}");
            assert_eq!(found(name, &["portable-collector"], Embedder::CApi), [""; 0], "{name}");
            for embedder in Embedder::ALL {
                assert_eq!(found(name, &["default"], embedder), [""; 0], "{name}");
            }
        }
    }

    #[test]
    fn every_mismatch_is_named_and_has_a_hint() {
        assert_eq!(
            found("x86-64-v3", &["epoch", "portable-collector", "debug"], Embedder::Rust),
            [
                "`backtrace-details` is true; the engine has false",
                "`collector` is drc; the engine has copying",
                "`epoch-interruption` is true; the engine has false",
            ]
        );
        let bytecode = "the artifact is Pulley bytecode; the engine executes native code";
        assert_eq!(found("pulley64", &["default"], Embedder::CApi), [bytecode]);
        let profile = Profile::shipped("x86-64-v3").expect("a shipped profile");
        let mut requirements = Requirements::of_profile(&profile, Kind::Module);
        requirements.wasm_features.insert("wide-arithmetic".to_owned());
        requirements.wasm_features.insert("telepathy".to_owned());
        requirements.tunables.insert("from-the-future".to_owned(), Value::Integer(3));
        let mismatches = Embedder::Rust.mismatches(&requirements);
        let words: Vec<_> = mismatches.iter().map(ToString::to_string).collect();
        let expected = [
            "`from-the-future` is 3; the engine does not have it",
            "the proposal `telepathy` is enabled; the engine disables it",
            "the proposal `wide-arithmetic` is enabled; the engine disables it",
        ];
        assert_eq!(words, expected);
        let hint = |mismatch: &EmbedderMismatch| mismatch.hint().expect("each has one");
        assert!(hint(&mismatches[0]).contains("or set the engine as the artifact is"));
        assert_eq!(hint(&mismatches[1]), "compile for a profile without `telepathy`, or enable it there");
        assert_eq!(hint(&EmbedderMismatch::Bytecode), "compile for a native target");
        let (needs, has) = (Collector::value_of(None), None);
        let collector = EmbedderMismatch::Setting { key: "collector".to_owned(), needs, has };
        assert!(hint(&collector).contains("`+portable-collector`"));
    }

    #[test]
    fn a_module_without_a_collector_loads_into_engines_with_any() {
        let profile = Profile::shipped("x86-64-v3").expect("a shipped profile");
        let mut requirements = Requirements::of_profile(&profile, Kind::Module);
        requirements.tunables.insert("collector".to_owned(), Collector::value_of(None));
        for embedder in Embedder::ALL {
            assert_eq!(embedder.mismatches(&requirements), []);
        }
        // Of another setting, that value is as different as any.
        requirements.tunables.insert("memory-init-cow".to_owned(), Collector::value_of(None));
        assert_eq!(Embedder::Rust.mismatches(&requirements).len(), 1);
    }

    #[test]
    fn each_embedder_has_a_name() {
        assert_eq!(Embedder::ALL.map(Embedder::name), ["rust", "c-api"]);
        let shown = Embedder::ALL.map(|embedder| embedder.to_string());
        assert_eq!(shown, ["the Rust crate with its default features", "the C API (wasmtime-py, wasmtime-go)"]);
    }
}
