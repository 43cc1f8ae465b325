//! One compiled form of a module, as a selection sees it. In: an index, or a profile that something is to be compiled for.
//! Out: a [`Variant`]. Never here: whether it runs somewhere.

use crate::settings::Value;
use crate::{Cost, Digest, Kind, Profile, Requirements};
use std::collections::BTreeMap;

/// One compiled form of a module, as a module's index describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// The profile that it was compiled for.
    pub target: String,
    /// The profiles that it serves: `target`, and those whose own code came out equal.
    pub serves: Vec<String>,
    /// The exact version of the engine that compiled it.
    pub engine: String,
    /// What it needs.
    pub requirements: Requirements,
    /// The settings that only the code generator saw, by key, where they differ from wasmtime's defaults.
    pub code_generation: BTreeMap<String, Value>,
    /// The highest priority of the profiles that it serves: of two forms that are otherwise equally good the higher one is
    /// chosen.
    pub priority: i32,
    /// The digest of its manifest.
    pub manifest: Digest,
}

impl Variant {
    /// What a variant for `profile` is to a selection before it is compiled. Its manifest is the digest of its name.
    pub fn of_profile(profile: &Profile, kind: Kind, engine: &str) -> Variant {
        Variant {
            target: profile.name.clone(),
            serves: vec![profile.name.clone()],
            engine: engine.to_owned(),
            requirements: Requirements::of_profile(profile, kind),
            code_generation: profile.code_generation(),
            priority: profile.priority,
            manifest: Digest::of(profile.name.as_bytes()),
        }
    }

    /// Whether it serves the profile called `target`.
    pub fn is_for(&self, target: &str) -> bool {
        self.target == target || self.serves.iter().any(|served| served == target)
    }

    /// What it costs at run time, compared with a form of the same module without such settings.
    pub fn costs(&self) -> Vec<Cost> {
        Cost::of(&self.requirements, &self.code_generation)
    }
}
