//! Why a job runs: what is different since the module was last compiled for the profile.

use crate::VERSION;
use crate::job::Key;
use crate::maker::Maker;
use isomer_contract::profile::{Change, Effective};
use isomer_contract::{Digest, ENGINE_VERSION, Kind};
use serde::Serialize;
use std::fmt;

/// Why a job runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
#[non_exhaustive]
pub enum Why {
    /// No earlier release exists.
    NothingEarlier,
    /// The earlier release does not hold the module.
    NewModule,
    /// The earlier release does not hold the module for this profile.
    NewTarget,
    /// The module has changed.
    Module {
        /// Its digest in the earlier release.
        from: Digest,
        /// Its digest now.
        to: Digest,
    },
    /// Something in effect in the profile has changed.
    Profile {
        /// The keys, where the earlier profile is known key by key.
        changes: Option<Vec<Change>>,
    },
    /// The version of wasmtime has changed.
    Engine {
        /// In the earlier release.
        from: String,
        /// Now.
        to: &'static str,
    },
    /// isomer generates other code: [`CODEGEN_REVISION`](crate::job::CODEGEN_REVISION) has changed between these versions.
    Isomer {
        /// In the earlier release.
        from: String,
        /// Now.
        to: &'static str,
    },
    /// The passes that the module goes through first have changed.
    Passes {
        /// In the earlier release.
        from: Vec<String>,
        /// Now.
        to: Vec<String>,
    },
    /// Its artifact exists, and cannot be used.
    Damaged {
        /// What is wrong.
        problem: String,
    },
    /// The earlier release holds it, and there is no record that this user released that.
    NotRecorded,
    /// A remote made its artifact: it is compiled locally too, and compared.
    Compared {
        /// The remote.
        maker: Maker,
    },
    /// Its code was predicted to equal another's, and was never compiled.
    OnlyPredicted,
    /// Its code equals that of a variant that represented it and has left the release; its own artifact was not kept.
    #[serde(rename = "stands-alone")]
    Unrepresented,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |passes: &[String]| if passes.is_empty() { "none".to_owned() } else { passes.join(", ") };
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
            Why::Isomer { from, to } => write!(f, "isomer's code generation changed between {from} and {to}"),
            Why::Passes { from, to } => {
                write!(f, "the passes changed from {} to {}", list(from), list(to))
            }
            Why::Damaged { problem } => write!(f, "it is damaged: {problem}"),
            Why::NotRecorded => f.write_str("there is no record that this user released it"),
            Why::Compared { maker } => write!(f, "it is compared with what {maker} made"),
            Why::OnlyPredicted => f.write_str("its code was predicted so far, never measured"),
            Why::Unrepresented => f.write_str("the variant that represented it has left the release"),
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
    /// Module or component.
    pub kind: Kind,
    /// The digest of the job.
    pub job: Digest,
}

impl Earlier {
    /// Everything in `key` that has changed. Never empty when the digest of the job has.
    pub fn differences(&self, key: &Key<'_>, effective: &Effective) -> Vec<Why> {
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
        // A release does not record the revision, and the digests of its jobs hold it.
        if self.key(key.codegen_revision).digest() != self.job {
            why.push(Why::Isomer { from: self.isomer.clone(), to: VERSION });
        }
        if self.passes != key.passes {
            why.push(Why::Passes {
                from: self.passes.clone(),
                to: key.passes.iter().map(|pass| (*pass).to_owned()).collect(),
            });
        }
        why
    }

    /// The key of the earlier job, had isomer's code generation been of this revision.
    fn key(&self, codegen_revision: u32) -> Key<'_> {
        Key {
            wasm: self.wasm,
            kind: self.kind,
            profile: self.profile,
            passes: self.passes.iter().map(String::as_str).collect(),
            engine: &self.engine,
            codegen_revision,
        }
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
            isomer: "0.0.8".to_owned(),
            kind: key.kind,
            job: key.digest(),
        };
        assert_eq!(same.differences(&key, &effective), [], "another version of isomer that generates the same code");
        let v2 = Profile::shipped("x86-64-v2").unwrap();
        let other = Earlier {
            wasm: Digest::of(b"other"),
            profile: v2.digest(),
            effective: Some(v2.effective()),
            passes: vec!["old-pass".to_owned()],
            engine: "47.0.0".to_owned(),
            isomer: "0.0.9".to_owned(),
            kind: Kind::Module,
            job: Digest::of(b"the digest of a job with another revision"),
        };
        let text: Vec<_> = other.differences(&key, &effective).iter().map(Why::to_string).collect();
        assert!(text[0].starts_with("the module changed from "), "{text:?}");
        assert!(text[1].contains("`isa.avx2` changed from absent to true"), "{text:?}");
        let rest = [
            format!("wasmtime changed from 47.0.0 to {ENGINE_VERSION}"),
            format!("isomer's code generation changed between 0.0.9 and {VERSION}"),
            "the passes changed from old-pass to none".to_owned(),
        ];
        assert_eq!(text[2..], rest);
        let unknown = Earlier { effective: None, ..other };
        assert_eq!(unknown.differences(&key, &effective)[1].to_string(), "the profile changed");
    }
}
