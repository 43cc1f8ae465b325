//! A job is one module for one profile. Its digest says whether work done earlier is the same work.
//!
//! | enters the digest | never enters it |
//! |---|---|
//! | the digest of the binary WebAssembly | the file's path, name and time |
//! | module or component | the profile's name, file, description and aliases |
//! | the profile's triple, extensions, settings and proposals, in effect | how they are inherited |
//! | the passes that the module goes through first | |
//! | the exact version of wasmtime | the machine, its CPU, the number of threads |
//! | the version of isomer | the other modules and targets of the release |

use crate::{Input, VERSION, passes};
use isomer_contract::{Digest, ENGINE_VERSION, Profile};

/// One module for one profile.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// What is compiled.
    pub input: &'a Input,
    /// What for.
    pub profile: &'a Profile,
}

impl Job<'_> {
    /// Equal digests mean equal artifacts.
    pub fn digest(&self) -> Digest {
        let Job { input, profile } = self;
        let passes = passes::passes(profile);
        Digest::of_json(&(input.blob.digest, input.kind, profile.digest(), passes, ENGINE_VERSION, VERSION))
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
    fn what_enters_the_digest_changes_it() {
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
    fn what_never_enters_the_digest_leaves_it() {
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
