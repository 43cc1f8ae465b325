//! In: the path of a policy. Out: the policy, with the keys whose files it names. Never here: what a policy means.

use super::{Policy, PolicyError, PolicyProblem};
use crate::key_file::{open, read, read_public};
use std::path::Path;

/// The largest policy that is read, in bytes.
pub const POLICY_SIZE_BYTES_MAX: u64 = 1 << 20;

/// Reads a policy, and the keys whose files it names relative to its own.
///
/// # Errors
/// When a file cannot be read, or is not valid.
pub fn read_policy(path: &Path) -> Result<Policy, PolicyError> {
    let directory = path.parent().unwrap_or(Path::new(""));
    let shown = path.display().to_string();
    let fail = |problem| PolicyError { path: shown.clone(), line: None, problem };
    let bytes = open(path, POLICY_SIZE_BYTES_MAX).and_then(|file| read(file, path, POLICY_SIZE_BYTES_MAX));
    let bytes = bytes.map_err(|error| fail(PolicyProblem::Unreadable(error)))?;
    let text = String::from_utf8(bytes).map_err(|error| fail(PolicyProblem::Toml(error.to_string())))?;
    Policy::parse(&shown, &text, |file| read_public(&directory.join(file)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Algorithm, SigningKey};
    use crate::key_file::write_pair;
    use isomer_contract::chain;

    #[test]
    fn a_policy_names_its_keys_relative_to_itself() {
        let directory = tempfile::tempdir().expect("there is room for a directory");
        let file = |name: &str| directory.path().join(name);
        let key = SigningKey::generate(Algorithm::Ed25519).expect("there is randomness");
        write_pair(&file("farm.key"), &file("farm.pub"), &key, None).expect("the directory is empty");
        let path = file("trust.toml");
        let write = |bytes: &[u8]| std::fs::write(&path, bytes).expect("the directory is ours");
        let shown = |path: &Path| {
            let error = read_policy(path).expect_err("it is not a valid policy");
            let texts: Vec<_> = chain(&error).map(ToString::to_string).collect();
            texts.join(" | ").replace(&directory.path().display().to_string(), "DIR")
        };
        write(b"[[key]]\nname = \"farm\"\nfile = \"farm.pub\"\n");
        assert_eq!(read_policy(&path).expect("it is valid").keys[0].key, key.public_key());
        write(b"[[key]]\nname = \"farm\"\nfile = \"farm.key\"\n");
        let expected =
            "DIR/trust.toml:3: cannot use `DIR/farm.key` as a key | expected a public key, found a private key";
        assert_eq!(shown(&path), expected);
        write(b"\xff");
        assert_eq!(shown(&path), "DIR/trust.toml: invalid utf-8 sequence of 1 bytes from index 0");
        assert_eq!(shown(&file("x")), "cannot read `DIR/x` | No such file or directory (os error 2)");
    }
}
