//! A job is one module for one profile. Jobs of one digest have one artifact: it is the sha256 of the canonical JSON of a
//! [`Key`].
//!
//! | field of the key | holds | never enters it |
//! |---|---|---|
//! | `wasm` | the digest of the binary WebAssembly | the file's path, name and time |
//! | `kind` | module or component | the other modules and targets of the release |
//! | `profile` | the digest of every key of the profile, in effect | its name, file, description, aliases, and how it inherits |
//! | `passes` | the passes that the module goes through first | the number of threads, of workers, their limits |
//! | `engine` | the exact version of wasmtime | the machine, its CPU and its clock |
//! | `codegen-revision` | [`CODEGEN_REVISION`] | the version of isomer; how the artifact is stored afterwards |

use crate::{Input, passes};
use isomer_contract::{Digest, ENGINE_VERSION, Kind, Profile};
use serde::Serialize;

/// Counts the changes of what isomer itself contributes to artifacts: the passes, and how a profile becomes a
/// configuration of wasmtime. Raise it with each change that alters the bytes of any artifact; a release of isomer that
/// does not change them recompiles nothing. `tests/golden.rs` fails when artifacts change and this does not.
pub const CODEGEN_REVISION: u32 = 1;

/// One module for one profile.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// What is compiled.
    pub input: &'a Input,
    /// What for.
    pub profile: &'a Profile,
}

/// All that decides what a job's artifact is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Key<'a> {
    /// The digest of the WebAssembly.
    pub wasm: Digest,
    /// Module or component.
    pub kind: Kind,
    /// The digest of what is in effect in the profile.
    pub profile: Digest,
    /// The passes that the module goes through first.
    pub passes: Vec<&'a str>,
    /// The exact version of wasmtime.
    pub engine: &'a str,
    /// [`CODEGEN_REVISION`].
    pub codegen_revision: u32,
}

impl Job<'_> {
    /// What decides the artifact.
    pub fn key(&self) -> Key<'static> {
        let Job { input, profile } = self;
        Key {
            wasm: input.blob.digest,
            kind: input.kind,
            profile: profile.digest(),
            passes: passes::passes(profile).to_vec(),
            engine: ENGINE_VERSION,
            codegen_revision: CODEGEN_REVISION,
        }
    }

    /// Equal digests mean equal artifacts.
    pub fn digest(&self) -> Digest {
        self.key().digest()
    }
}

impl Key<'_> {
    /// The job's digest.
    pub fn digest(&self) -> Digest {
        Digest::of_json(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isomer_contract::profile::ProfileText;
    use std::path::Path;

    fn input(name: &str, text: &str) -> Input {
        Input::from_bytes(Path::new(&format!("{name}.wat")), name, text.into()).unwrap()
    }

    fn profile(name: &str, text: &str) -> Profile {
        let text = ProfileText { name: name.to_owned(), path: format!("{name}.toml"), text: text.to_owned() };
        Profile::resolve(&text, &isomer_contract::profile::find_shipped).unwrap()
    }

    fn digest(input: &Input, profile: &Profile) -> Digest {
        Job { input, profile }.digest()
    }

    #[test]
    fn every_input_changes_the_digest() {
        let base_input = input("a", "(module)");
        let base_profile = profile("p", "inherits = 'x86-64-v3'");
        let base = digest(&base_input, &base_profile);
        assert_ne!(base, digest(&input("a", "(module (func))"), &base_profile), "the module");
        assert_ne!(base, digest(&input("a", "(component)"), &base_profile), "the kind");
        for text in [
            "inherits = 'x86-64-v2'",
            "inherits = 'x86-64-v3'\nisa = ['avxvnni']",
            "inherits = 'aarch64'",
            "inherits = 'x86-64-v3'\n[optimize]\nopt-level = 'speed-and-size'",
            "inherits = 'x86-64-v3'\n[optimize]\nmemory-reservation-for-growth = '1GiB'",
            "inherits = 'x86-64-v3'\n[codegen]\nnan-canonicalization = true",
            "inherits = 'x86-64-v3'\n[wasm]\nepoch-interruption = true",
            "inherits = 'x86-64-v3'\n[wasm]\nwide-arithmetic = true",
        ] {
            assert_ne!(base, digest(&base_input, &profile("p", text)), "{text}");
        }
    }

    #[test]
    fn every_field_of_the_key_changes_the_digest() {
        let base = Job { input: &input("a", "(module)"), profile: &profile("p", "inherits = 'x86-64-v3'") }.key();
        let other = Digest::of(b"other");
        let changed = [
            Key { wasm: other, ..base.clone() },
            Key { kind: Kind::Component, ..base.clone() },
            Key { profile: other, ..base.clone() },
            Key { passes: vec![passes::OPAQUE_COPY_LENGTHS], ..base.clone() },
            Key { engine: "48.0.9", ..base.clone() },
            Key { codegen_revision: CODEGEN_REVISION + 1, ..base.clone() },
        ];
        let digests: std::collections::BTreeSet<_> = changed.iter().chain([&base]).map(Key::digest).collect();
        assert_eq!(digests.len(), changed.len() + 1);
        let named = "{\"codegen-revision\":1,\"engine\":\"48.0.8\",\"kind\":";
        assert!(isomer_contract::canonical_json(&base).starts_with(named), "the key is named fields, sorted");
    }

    #[test]
    fn names_and_equal_settings_do_not_change_the_digest() {
        let base = digest(&input("a", "(module)"), &profile("p", "inherits = 'x86-64-v3'"));
        assert_eq!(base, digest(&input("b", "(module)"), &profile("p", "inherits = 'x86-64-v3'")), "the file's name");
        for text in [
            "inherits = 'haswell'",
            "inherits = 'x86-64-v3'\ndescription = 'x'\naliases = ['y']",
            "inherits = 'x86-64-v3'\nisa = ['avx']",
            "inherits = 'x86-64-v3'\n[optimize]\nmemory-reservation = '4GiB'",
            "inherits = 'x86-64-v3'\n[wasm]\nsimd = true",
        ] {
            assert_eq!(base, digest(&input("a", "(module)"), &profile("q", text)), "{text}");
        }
    }
}
