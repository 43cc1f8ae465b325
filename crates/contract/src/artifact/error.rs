//! Why bytes are not an artifact. Out: messages that say what was found, and hints.

use crate::Hinted;

/// Why bytes are not an artifact that this version reads.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArtifactError {
    /// No bytes.
    #[error("the file is empty; expected a compiled artifact (.cwasm)")]
    Empty,
    /// WebAssembly, not compiled.
    #[error("this is WebAssembly, not a compiled artifact (.cwasm)")]
    Wasm,
    /// A file of another kind.
    #[error("not a compiled artifact (.cwasm): {0}")]
    NotAnArtifact(String),
    /// An ELF file that is truncated or damaged.
    #[error("damaged artifact: {0}")]
    Damaged(String),
    /// Compiled by a version of wasmtime whose metadata this one cannot read.
    #[error("compiled by wasmtime {found}; this isomer reads artifacts of wasmtime {expected}")]
    OtherEngine {
        /// The version in the artifact.
        found: String,
        /// The one this binary holds.
        expected: String,
    },
    /// Compiled for a platform that no profile is for.
    #[error("compiled for the platform `{0}`, which isomer does not know")]
    UnknownPlatform(String),
}

impl Hinted for ArtifactError {
    fn hint(&self) -> Option<String> {
        match self {
            ArtifactError::Wasm => Some("compile it first".to_owned()),
            ArtifactError::OtherEngine { expected, .. } => Some(format!(
                "compile the module again with wasmtime {expected}, or use the isomer of the artifact's version"
            )),
            ArtifactError::Damaged(_) => Some("fetch or compile it again".to_owned()),
            _ => None,
        }
    }
}
