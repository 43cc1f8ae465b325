//! In: [`Requirements`]. Out: the `wasmtime::Config` that meets them, on the compile side and on the run side alike.
//! Every setting is set, also those that equal wasmtime's default: a default can change, and the environment can
//! change one (`WASMTIME_BACKTRACE_DETAILS`).

use crate::requirements::{Requirements, fixed_tunables};
use crate::settings::{self, Value};
use crate::{Arch, ENGINE_VERSION, proposals};
use wasmparser::WasmFeatures;
use wasmtime::Config;

/// A requirement that no configuration of this build meets.
#[non_exhaustive]
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

/// The configuration that loads artifacts with these requirements. Only for Pulley is a target set, since its bytecode is
/// not this host's architecture; the compile side sets its own triple.
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
    // A module with threads creates its shared memory when it is instantiated.
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
    let row = settings::ROWS.iter().find(|row| row.key == key);
    let set = row.and_then(|row| row.set).ok_or_else(|| EngineConfigError::UnknownSetting(key.to_owned()))?;
    set(config, value).map_err(|possible| fixed(&possible))
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
