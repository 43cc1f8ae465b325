//! In: bytes that cannot change and what they must be. Out: a [`VerifiedArtifact`], the only thing that [`crate::load`] takes.

use crate::map::MappedFile;
use crate::sealed::SealedBytes;
use isomer_contract::artifact::{ArtifactError, Import, imports};
use isomer_contract::manifest::VariantConfig;
use isomer_contract::{Digest, Hinted, Requirements};
use std::fs::File;

/// What bytes must be to be executed.
#[derive(Clone, Copy, Debug)]
pub enum Expected<'a> {
    /// The artifact of a release's variant: its digest, and no other needs than the release says.
    Variant(&'a VariantConfig),
    /// An artifact with this digest.
    Digest(Digest),
    /// Any artifact: the user vouches for it.
    AnyArtifact,
}

/// Why bytes are not what they must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Other bytes.
    #[error("the artifact has the digest {found}; expected is {expected}")]
    OtherDigest {
        /// Of the bytes.
        found: Digest,
        /// The one that was promised.
        expected: Digest,
    },
    /// More or fewer bytes.
    #[error("the artifact has {found_bytes} bytes; expected are {expected_bytes}")]
    OtherSize {
        /// How many there are.
        found_bytes: u64,
        /// How many were promised.
        expected_bytes: u64,
    },
    /// No artifact.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// An artifact that needs other things than the release says. Its digest is right: the release was made wrong.
    #[error("the artifact needs other things than the release says: {}", .0.join("; "))]
    OtherRequirements(Vec<String>),
}

impl Hinted for VerifyError {
    fn hint(&self) -> Option<String> {
        match self {
            VerifyError::OtherDigest { .. } | VerifyError::OtherSize { .. } => {
                Some("it was altered or cut since it was made: fetch or make it again".to_owned())
            }
            VerifyError::Artifact(error) => error.hint(),
            VerifyError::OtherRequirements(_) => Some("make the release again".to_owned()),
        }
    }
}

/// An artifact that cannot change, which is what was expected.
#[derive(Debug)]
pub struct VerifiedArtifact {
    pub(crate) bytes: Bytes,
    pub(crate) requirements: Requirements,
    pub(crate) target: Option<String>,
}

/// Where its bytes are.
#[derive(Debug)]
pub(crate) enum Bytes {
    Sealed(SealedBytes),
    Mapped(MappedFile),
}

impl Bytes {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Bytes::Sealed(sealed) => sealed.bytes(),
            Bytes::Mapped(mapped) => mapped.bytes(),
        }
    }

    pub(crate) fn file(&self) -> &File {
        match self {
            Bytes::Sealed(sealed) => sealed.file(),
            Bytes::Mapped(mapped) => mapped.file(),
        }
    }
}

impl VerifiedArtifact {
    /// The artifact of a release's variant that a store hashed when it wrote it, and maps now without hashing it again.
    /// Its size, and that it requires what `config` declares, are checked here.
    ///
    /// # Safety
    /// `mapped` must have the digest `config.artifact.digest`: the caller, or somebody whom it trusts as much, hashed
    /// these bytes, and no other user could have changed them since. Its code is executed on that evidence alone.
    ///
    /// # Errors
    /// When it has another size, or requires other things.
    #[allow(unsafe_code)]
    pub unsafe fn assume_hashed(mapped: MappedFile, config: &VariantConfig) -> Result<VerifiedArtifact, VerifyError> {
        let (found_bytes, expected_bytes) = (mapped.bytes().len() as u64, config.artifact.size_bytes);
        if found_bytes != expected_bytes {
            return Err(VerifyError::OtherSize { found_bytes, expected_bytes });
        }
        let requirements = verify_requirements(mapped.bytes(), config)?;
        Ok(VerifiedArtifact { bytes: Bytes::Mapped(mapped), requirements, target: Some(config.target.clone()) })
    }

    /// What it needs, as it says itself.
    pub fn requirements(&self) -> &Requirements {
        &self.requirements
    }

    /// What it imports.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn imports(&self) -> Result<Vec<Import>, ArtifactError> {
        imports(self.bytes.bytes())
    }

    /// The profile that it was compiled for, where a release says so.
    pub fn target(&self) -> Option<&str> {
        self.target.as_deref()
    }
}

/// Holds `bytes` against `expected`.
///
/// # Errors
/// When they are another artifact, or none.
pub fn verify(bytes: SealedBytes, expected: Expected<'_>) -> Result<VerifiedArtifact, VerifyError> {
    let digest = match expected {
        Expected::Variant(config) => Some(config.artifact.digest),
        Expected::Digest(digest) => Some(digest),
        Expected::AnyArtifact => None,
    };
    if let Some(expected) = digest {
        let found = bytes.digest();
        if found != expected {
            return Err(VerifyError::OtherDigest { found, expected });
        }
    }
    let (requirements, target) = match expected {
        Expected::Variant(config) => (verify_requirements(bytes.bytes(), config)?, Some(config.target.clone())),
        Expected::Digest(_) | Expected::AnyArtifact => (Requirements::of_artifact(bytes.bytes())?, None),
    };
    Ok(VerifiedArtifact { bytes: Bytes::Sealed(bytes), requirements, target })
}

/// What the artifact in `bytes` requires, if `config`, of the release, declares the same.
///
/// # Errors
/// When it is not an artifact, or each field that differs.
pub fn verify_requirements(bytes: &[u8], config: &VariantConfig) -> Result<Requirements, VerifyError> {
    let requirements = Requirements::of_artifact(bytes)?;
    if requirements == config.requirements {
        return Ok(requirements);
    }
    Err(VerifyError::OtherRequirements(differences(&config.requirements, &requirements)))
}

/// Each field that differs, with both values.
fn differences(said: &Requirements, found: &Requirements) -> Vec<String> {
    let fields = |requirements: &Requirements| match serde_json::to_value(requirements) {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let (said, found) = (fields(said), fields(found));
    let mut keys: Vec<_> = said.keys().chain(found.keys()).collect();
    keys.sort();
    keys.dedup();
    let text = |value: Option<&serde_json::Value>| value.map_or_else(|| "nothing".to_owned(), ToString::to_string);
    keys.into_iter()
        .filter(|key| said.get(*key) != found.get(*key))
        .map(|key| format!("`{key}` is {}, said to be {}", text(found.get(key)), text(said.get(key))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(bytes: &[u8]) -> SealedBytes {
        SealedBytes::copy(bytes, u64::MAX).expect("memfds work where tests run")
    }

    #[test]
    fn other_bytes_are_refused_before_they_are_read() {
        let (found, expected) = (Digest::of(b"altered"), Digest::of(b"original"));
        let error = verify(sealed(b"altered"), Expected::Digest(expected)).expect_err("the digest differs");
        assert_eq!(error, VerifyError::OtherDigest { found, expected });
    }

    #[test]
    fn the_right_digest_makes_no_artifact() {
        for bytes in [&b""[..], b"\0asm\x01\0\0\0", b"\x7fELF", b"#!/bin/sh", &[0x7f; 4096]] {
            let expected = Expected::Digest(Digest::of(bytes));
            assert!(matches!(verify(sealed(bytes), expected), Err(VerifyError::Artifact(_))), "{bytes:?}");
        }
    }
}
