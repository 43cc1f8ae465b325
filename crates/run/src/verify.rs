//! In: bytes that cannot change and what they must be. Out: a [`VerifiedArtifact`], the only thing that [`crate::Loader::load`] takes.

use crate::map::MappedFile;
use crate::sealed::SealedBytes;
use isomer_contract::artifact::{ArtifactError, Import, imports};
use isomer_contract::manifest::VariantConfig;
use isomer_contract::{Digest, Hinted, Requirements};
use std::fs::File;
use std::sync::Arc;

/// What bytes must be to be executed.
#[derive(Clone, Copy, Debug)]
pub enum Expected<'a> {
    /// The artifact of a release's variant: its digest, and the requirements that the release declares.
    Variant(&'a VariantConfig),
    /// An artifact with this digest.
    Digest(Digest),
    /// Any artifact: the user takes responsibility for it.
    AnyArtifact,
}

/// Why bytes are not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// Their digest differs.
    #[error("the artifact has the digest {found}, expected {expected}")]
    DigestMismatch {
        /// Of the bytes.
        found: Digest,
        /// The expected one.
        expected: Digest,
    },
    /// Their number differs.
    #[error("the artifact has {found_bytes} bytes, expected {expected_bytes}")]
    SizeMismatch {
        /// The number of bytes.
        found_bytes: u64,
        /// The expected number.
        expected_bytes: u64,
    },
    /// They are not a valid artifact.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The artifact's requirements are not those that the release declares. Its digest is right: the release is wrong.
    #[error("the artifact's requirements are not those that the release declares: {}", .0.join("; "))]
    RequirementsMismatch(Vec<String>),
}

impl Hinted for VerifyError {
    fn hint(&self) -> Option<String> {
        match self {
            VerifyError::DigestMismatch { .. } | VerifyError::SizeMismatch { .. } => {
                Some("it was altered or truncated: fetch or compile it again".to_owned())
            }
            VerifyError::Artifact(error) => error.hint(),
            VerifyError::RequirementsMismatch(_) => Some("build the release again".to_owned()),
        }
    }
}

/// An artifact that cannot change, which is what was expected. Clones share its bytes.
#[derive(Clone, Debug)]
pub struct VerifiedArtifact {
    pub(crate) bytes: Arc<Bytes>,
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
    /// `mapped` must have the digest `config.artifact.digest`: the caller, or a user whom it trusts as much, hashed
    /// these bytes, and no other user could have changed them since. Its code is executed on that evidence alone.
    ///
    /// # Errors
    /// When its size or its requirements differ.
    #[allow(unsafe_code)]
    pub unsafe fn assume_hashed(mapped: MappedFile, config: &VariantConfig) -> Result<VerifiedArtifact, VerifyError> {
        let (found_bytes, expected_bytes) = (mapped.bytes().len() as u64, config.artifact.size_bytes);
        if found_bytes != expected_bytes {
            return Err(VerifyError::SizeMismatch { found_bytes, expected_bytes });
        }
        let requirements = verify_requirements(mapped.bytes(), config)?;
        Ok(VerifiedArtifact {
            bytes: Arc::new(Bytes::Mapped(mapped)),
            requirements,
            target: Some(config.target.clone()),
        })
    }

    /// What it requires, read from the artifact itself.
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

    /// The profile that it was compiled for, where a release declares it.
    pub fn target(&self) -> Option<&str> {
        self.target.as_deref()
    }
}

/// Compares `bytes` with what is expected.
///
/// # Errors
/// When they are not a valid artifact, or not the expected one.
pub fn verify(bytes: SealedBytes, expected: Expected<'_>) -> Result<VerifiedArtifact, VerifyError> {
    let digest = match expected {
        Expected::Variant(config) => Some(config.artifact.digest),
        Expected::Digest(digest) => Some(digest),
        Expected::AnyArtifact => None,
    };
    if let Some(expected) = digest {
        let found = bytes.digest();
        if found != expected {
            return Err(VerifyError::DigestMismatch { found, expected });
        }
    }
    let (requirements, target) = match expected {
        Expected::Variant(config) => (verify_requirements(bytes.bytes(), config)?, Some(config.target.clone())),
        Expected::Digest(_) | Expected::AnyArtifact => (Requirements::of_artifact(bytes.bytes())?, None),
    };
    Ok(VerifiedArtifact { bytes: Arc::new(Bytes::Sealed(bytes)), requirements, target })
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
    Err(VerifyError::RequirementsMismatch(differences(&config.requirements, &requirements)))
}

/// Each field that differs, with both values.
fn differences(declared: &Requirements, found: &Requirements) -> Vec<String> {
    let fields = |requirements: &Requirements| match serde_json::to_value(requirements) {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let (declared, found) = (fields(declared), fields(found));
    let mut keys: Vec<_> = declared.keys().chain(found.keys()).collect();
    keys.sort();
    keys.dedup();
    let text = |value: Option<&serde_json::Value>| value.map_or_else(|| "nothing".to_owned(), ToString::to_string);
    keys.into_iter()
        .filter(|key| declared.get(*key) != found.get(*key))
        .map(|key| format!("`{key}`: expected {}, found {}", text(declared.get(key)), text(found.get(key))))
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
        assert_eq!(error, VerifyError::DigestMismatch { found, expected });
    }

    #[test]
    fn each_problem_says_what_to_do() {
        let digest = Digest::of(b"x");
        let altered = Some("it was altered or truncated: fetch or compile it again");
        for (error, expected) in [
            (VerifyError::DigestMismatch { found: digest, expected: digest }, altered),
            (VerifyError::SizeMismatch { found_bytes: 1, expected_bytes: 2 }, altered),
            (VerifyError::Artifact(ArtifactError::Wasm), Some("compile it first")),
            (VerifyError::Artifact(ArtifactError::Empty), None),
            (VerifyError::RequirementsMismatch(Vec::new()), Some("build the release again")),
        ] {
            assert_eq!(error.hint().as_deref(), expected, "{error}");
        }
    }

    #[test]
    fn the_right_digest_makes_no_artifact() {
        for bytes in [&b""[..], b"\0asm\x01\0\0\0", b"\x7fELF", b"#!/bin/sh", &[0x7f; 4096]] {
            let expected = Expected::Digest(Digest::of(bytes));
            assert!(matches!(verify(sealed(bytes), expected), Err(VerifyError::Artifact(_))), "{bytes:?}");
        }
    }
}
