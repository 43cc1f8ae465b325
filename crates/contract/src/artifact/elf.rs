//! In: the bytes of a file. Out: its sections and header, if it is an ELF file that wasmtime wrote. Never here: what the
//! sections mean.

use super::error::ArtifactError;
use super::machine::Machine;
use crate::requirements::Kind;
use object::elf::FileHeader64;
use object::endian::{Endian as _, Endianness};
use object::read::elf::{FileHeader, SectionHeader};
use wasmtime_environ::obj;

/// The section whose bytes say what the artifact needs. Two artifacts that differ in nothing else hold the same code.
pub const ENGINE_SECTION: &str = obj::ELF_WASM_ENGINE;

/// The parts of an artifact's ELF file.
pub(super) struct Elf<'a> {
    pub(super) kind: Kind,
    pub(super) machine: Machine,
    /// All sections with a name, in the file's order.
    pub(super) sections: Vec<(String, &'a [u8])>,
}

/// Reads `bytes`; beside all sections, the content of [`ENGINE_SECTION`].
pub(super) fn sections(bytes: &[u8]) -> Result<(Elf<'_>, &[u8]), ArtifactError> {
    if bytes.is_empty() {
        return Err(ArtifactError::Empty);
    }
    if bytes.starts_with(b"\0asm") {
        return Err(ArtifactError::Wasm);
    }
    if !bytes.starts_with(b"\x7fELF") {
        return Err(ArtifactError::NotAnArtifact("it does not start as an ELF file".to_owned()));
    }
    let damaged = |error: object::Error| ArtifactError::Damaged(error.to_string());
    let header = FileHeader64::<Endianness>::parse(bytes).map_err(damaged)?;
    let endian = header.endian().map_err(damaged)?;
    if header.e_ident().os_abi != obj::ELFOSABI_WASMTIME {
        return Err(ArtifactError::NotAnArtifact("an ELF file that wasmtime did not write".to_owned()));
    }
    let flags = header.e_flags(endian);
    let kind = match (flags & obj::EF_WASMTIME_MODULE != 0, flags & obj::EF_WASMTIME_COMPONENT != 0) {
        (true, false) => Kind::Module,
        (false, true) => Kind::Component,
        _ => return Err(ArtifactError::Damaged(format!("its header flags {flags:#x} name no kind of artifact"))),
    };
    let headers = header.section_headers(endian, bytes).map_err(damaged)?;
    let strings = header.section_strings(endian, bytes, headers).map_err(damaged)?;
    let mut sections = Vec::with_capacity(headers.len().min(64));
    let mut engine = None;
    for section in headers {
        let name = section.name(endian, strings).map_err(damaged)?;
        let name = String::from_utf8_lossy(name).into_owned();
        let data = section.data(endian, bytes).map_err(damaged)?;
        if name == ENGINE_SECTION {
            engine = Some(data);
        }
        if !name.is_empty() {
            sections.push((name, data));
        }
    }
    let engine = engine.ok_or_else(|| ArtifactError::Damaged(format!("no section {ENGINE_SECTION}")))?;
    let machine = Machine { number: header.e_machine(endian), big_endian: endian.is_big_endian() };
    Ok((Elf { kind, machine, sections }, engine))
}
