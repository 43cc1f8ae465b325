//! In: the bytes of a `.cwasm`, from any tool. Out: its sections and its [`Requirements`]. Hostile bytes give an
//! error; nothing here maps or runs them.
//!
//! An artifact is an ELF64 file whose section `.wasmtime.engine` holds `0u8, len u8, version[len], postcard(Metadata)`
//! (wasmtime's `engine/serialization.rs`). The layout of the metadata belongs to one major version.

mod elf;
mod engine_section;
mod error;
mod imports;
mod machine;

pub use elf::ENGINE_SECTION;
pub use error::ArtifactError;
pub use imports::{Import, imports};

use crate::Digest;
use crate::requirements::Requirements;
use elf::sections;
use engine_section::parse_engine_section;
use wasmtime_environ::obj;

/// One section of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Its name, `.text`.
    pub name: String,
    /// Its bytes in the file.
    pub size_bytes: u64,
    /// Their digest.
    pub digest: Digest,
}

/// What an artifact declares about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The platform that it was compiled for.
    pub triple: String,
    /// What it needs.
    pub requirements: Requirements,
    /// Every flag of the code generator, `name = value`, in the artifact's order.
    pub flags: Vec<(String, String)>,
    /// The sections in the file's order.
    pub sections: Vec<Section>,
}

impl Artifact {
    /// The digest of everything but the engine section: equal digests mean equal code.
    pub fn code_digest(&self) -> Digest {
        let code: Vec<_> = self
            .sections
            .iter()
            .filter(|section| section.name != ENGINE_SECTION)
            .map(|section| (&section.name, section.digest))
            .collect();
        Digest::of_json(&code)
    }

    /// Reads `bytes` whole: requirements, flags, and a digest of every section.
    ///
    /// # Errors
    /// [`ArtifactError`]: when the bytes are not an artifact, are damaged, or are of a version of wasmtime that this
    /// one cannot read.
    pub fn read(bytes: &[u8]) -> Result<Artifact, ArtifactError> {
        let (elf, engine) = sections(bytes)?;
        let parsed = parse_engine_section(engine, &elf)?;
        let sections = elf
            .sections
            .into_iter()
            .map(|(name, data)| Section { name, size_bytes: data.len() as u64, digest: Digest::of(data) })
            .collect();
        Ok(Artifact { triple: parsed.triple, requirements: parsed.requirements, flags: parsed.flags, sections })
    }
}

impl Requirements {
    /// What the artifact in `bytes` needs, without a look at its code.
    ///
    /// # Errors
    /// As [`Artifact::read`].
    pub fn of_artifact(bytes: &[u8]) -> Result<Requirements, ArtifactError> {
        let (elf, engine) = sections(bytes)?;
        Ok(parse_engine_section(engine, &elf)?.requirements)
    }
}

/// Where an artifact has its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeSection {
    /// From the artifact's beginning, in bytes.
    pub offset_bytes: u64,
    /// Whether it was compiled for pages that check the targets of branches (Arm's BTI).
    pub branch_protection: bool,
}

impl CodeSection {
    /// Of the artifact in `bytes`, where it has code.
    ///
    /// # Errors
    /// When it is no artifact.
    pub fn of_artifact(bytes: &[u8]) -> Result<Option<CodeSection>, ArtifactError> {
        let (elf, _) = sections(bytes)?;
        let section = |name: &str| elf.sections.iter().find(|(found, _)| found == name).map(|(_, data)| *data);
        let branch_protection = section(obj::ELF_WASM_BTI).is_some_and(|data| data != [0]);
        let code = section(".text").filter(|data| !data.is_empty());
        Ok(code.map(|code| {
            let offset_bytes = (code.as_ptr().addr() - bytes.as_ptr().addr()) as u64;
            CodeSection { offset_bytes, branch_protection }
        }))
    }
}
