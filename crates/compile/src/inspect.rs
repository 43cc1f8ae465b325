//! In: an artifact's bytes. Out: everything that it declares, as data for machines.

use isomer_contract::artifact::{Artifact, ArtifactError, Import, Section, imports};
use isomer_contract::{Digest, Requirements};
use serde::Serialize;

/// What is in a `.cwasm`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Inspection {
    /// The digest of the whole file.
    pub digest: Digest,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// The platform that it was compiled for.
    pub triple: String,
    /// What it requires.
    pub requirements: Requirements,
    /// The digest of `requirements`.
    pub compat: Digest,
    /// The digest of its code, without its requirements.
    pub code: Digest,
    /// The code generator's flags.
    pub flags: Vec<(String, String)>,
    /// Its sections.
    pub sections: Vec<InspectedSection>,
    /// What it imports.
    pub imports: Vec<Import>,
}

/// One section of a `.cwasm`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct InspectedSection {
    /// Its name.
    pub name: String,
    /// Its bytes in the file.
    pub size_bytes: u64,
    /// Their digest.
    pub digest: Digest,
}

/// Reads `bytes`, which may be hostile.
///
/// # Errors
/// When they are not an artifact of this engine.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, ArtifactError> {
    let artifact = Artifact::read(bytes)?;
    let section = |Section { name, size_bytes, digest }: &Section| InspectedSection {
        name: name.clone(),
        size_bytes: *size_bytes,
        digest: *digest,
    };
    Ok(Inspection {
        digest: Digest::of(bytes),
        size_bytes: bytes.len() as u64,
        code: artifact.code_digest(),
        compat: artifact.requirements.compat(),
        sections: artifact.sections.iter().map(section).collect(),
        triple: artifact.triple,
        requirements: artifact.requirements,
        flags: artifact.flags,
        imports: imports(bytes)?,
    })
}
