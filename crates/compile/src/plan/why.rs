//! Why a job is to be done: what is different since the module was last compiled for the profile.

use crate::VERSION;
use crate::job::Key;
use isomer_contract::profile::{Change, Effective};
use isomer_contract::{Digest, ENGINE_VERSION};
use serde::Serialize;
use std::fmt;

/// Why a job is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Why {
    /// There is no earlier release.
    NothingEarlier,
    /// The earlier release does not hold the module.
    NewModule,
    /// The earlier release does not hold the module for this profile.
    NewTarget,
    /// The module is another.
    Module {
        /// Its digest in the earlier release.
        from: Digest,
        /// Its digest now.
        to: Digest,
    },
    /// Something in effect in the profile is another.
    Profile {
        /// The keys, where the earlier profile is known key by key.
        changes: Option<Vec<Change>>,
    },
    /// wasmtime is of another version.
    Engine {
        /// In the earlier release.
        from: String,
        /// Now.
        to: &'static str,
    },
    /// isomer is of another version.
    Isomer {
        /// In the earlier release.
        from: String,
        /// Now.
        to: &'static str,
    },
    /// The module goes through other passes first.
    Passes {
        /// In the earlier release.
        from: Vec<String>,
        /// Now.
        to: &'static [&'static str],
    },
    /// It was there, and cannot be used.
    Damaged {
        /// What is wrong.
        problem: String,
    },
    /// It was predicted to come out as another, and its own code was never measured.
    OnlyPredicted,
    /// It was found equal to another and not kept, and that other is no longer there to stand for it.
    StandsAlone,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |passes: &[&str]| if passes.is_empty() { "none".to_owned() } else { passes.join(", ") };
        match self {
            Why::NothingEarlier => f.write_str("there is no earlier release"),
            Why::NewModule => f.write_str("the module is new in the release"),
            Why::NewTarget => f.write_str("the target is new for the module"),
            Why::Module { from, to } => write!(f, "the module changed from {} to {}", short(from), short(to)),
            Why::Profile { changes: None } => f.write_str("the profile changed"),
            Why::Profile { changes: Some(changes) } => {
                let changes: Vec<_> = changes.iter().map(Change::to_string).collect();
                write!(f, "the profile's {}", changes.join(", "))
            }
            Why::Engine { from, to } => write!(f, "wasmtime changed from {from} to {to}"),
            Why::Isomer { from, to } => write!(f, "isomer changed from {from} to {to}"),
            Why::Passes { from, to } => {
                let from: Vec<_> = from.iter().map(String::as_str).collect();
                write!(f, "the passes changed from {} to {}", list(&from), list(to))
            }
            Why::Damaged { problem } => write!(f, "it is damaged: {problem}"),
            Why::OnlyPredicted => f.write_str("its code was predicted so far, never measured"),
            Why::StandsAlone => f.write_str("the variant that stood for it has left the release"),
        }
    }
}

/// Enough of a digest to tell two apart.
fn short(digest: &Digest) -> String {
    digest.hex()[..12].to_owned()
}

/// How a module was compiled for a profile in an earlier release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earlier {
    /// The WebAssembly.
    pub wasm: Digest,
    /// The profile's digest.
    pub profile: Digest,
    /// The profile key by key, where that is known.
    pub effective: Option<Effective>,
    /// What the module went through first.
    pub passes: Vec<String>,
    /// The exact version of wasmtime.
    pub engine: String,
    /// The version of isomer.
    pub isomer: String,
}

impl Earlier {
    /// Everything in `key` that is not as it was. Never empty for a job that was not done.
    pub fn differences(&self, key: &Key, effective: &Effective) -> Vec<Why> {
        let mut why = Vec::new();
        if self.wasm != key.wasm {
            why.push(Why::Module { from: self.wasm, to: key.wasm });
        }
        if self.profile != key.profile {
            let changes = self.effective.as_ref().map(|before| effective.changes_since(before));
            why.push(Why::Profile { changes });
        }
        if self.engine != ENGINE_VERSION {
            why.push(Why::Engine { from: self.engine.clone(), to: ENGINE_VERSION });
        }
        if self.isomer != VERSION {
            why.push(Why::Isomer { from: self.isomer.clone(), to: VERSION });
        }
        if self.passes != key.passes {
            why.push(Why::Passes { from: self.passes.clone(), to: key.passes });
        }
        why
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Input, Job};
    use isomer_contract::Profile;
    use std::path::Path;

    #[test]
    fn every_field_of_the_key_has_its_reason() {
        let input = Input::from_bytes(Path::new("a.wat"), "a", "(module)".into()).unwrap();
        let profile = Profile::shipped("x86-64-v3").unwrap();
        let (key, effective) = (Job { input: &input, profile: &profile }.key(), profile.effective());
        let same = Earlier {
            wasm: key.wasm,
            profile: key.profile,
            effective: Some(effective.clone()),
            passes: Vec::new(),
            engine: key.engine.to_owned(),
            isomer: key.isomer.to_owned(),
        };
        assert_eq!(same.differences(&key, &effective), []);
        let v2 = Profile::shipped("x86-64-v2").unwrap();
        let other = Earlier {
            wasm: Digest::of(b"other"),
            profile: v2.digest(),
            effective: Some(v2.effective()),
            passes: vec!["old-pass".to_owned()],
            engine: "47.0.0".to_owned(),
            isomer: "0.0.9".to_owned(),
        };
        let text: Vec<_> = other.differences(&key, &effective).iter().map(Why::to_string).collect();
        assert!(text[0].starts_with("the module changed from "), "{text:?}");
        assert!(text[1].contains("`isa.avx2` changed from absent to true"), "{text:?}");
        let rest = [
            format!("wasmtime changed from 47.0.0 to {ENGINE_VERSION}"),
            format!("isomer changed from 0.0.9 to {VERSION}"),
            "the passes changed from old-pass to none".to_owned(),
        ];
        assert_eq!(text[2..], rest);
        let unknown = Earlier { effective: None, ..other };
        assert_eq!(unknown.differences(&key, &effective)[1].to_string(), "the profile changed");
    }
}
