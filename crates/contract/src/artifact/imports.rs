//! In: an artifact's bytes, also hostile ones. Out: what it imports, and whether guests are given it. Nothing is loaded: the
//! names are read from the beginning of the section in which wasmtime keeps what it knows of the module, whose layout belongs to
//! one major version.

use super::elf::sections;
use super::error::ArtifactError;
use crate::requirements::Kind;
use crate::wasi;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroU32;
use wasmtime_environ::component::ComponentExtern;
use wasmtime_environ::{EntityIndex, obj};

/// Something that an artifact imports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Import {
    /// The module that a core module imports from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// Its name: `fd_write`; of a component's import `wasi:io/streams@0.2.3`.
    pub name: String,
    /// Whether commands are given it.
    pub provided: bool,
}

/// As wasmtime's messages name it.
impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.module {
            Some(module) => write!(f, "{module}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// What the artifact in `bytes` imports, in its own order.
///
/// # Errors
/// When it is no artifact, or is damaged.
pub fn imports(bytes: &[u8]) -> Result<Vec<Import>, ArtifactError> {
    let (elf, _) = sections(bytes)?;
    let damaged = |what: &str| ArtifactError::Damaged(format!("{}: {what}", obj::ELF_WASMTIME_INFO));
    let section = elf.sections.iter().find(|(name, _)| name == obj::ELF_WASMTIME_INFO);
    let (_, info) = section.ok_or_else(|| damaged("it is missing"))?;
    let imports = match elf.kind {
        Kind::Module => of_module(info),
        Kind::Component => of_component(info),
    };
    imports.map_err(|error| damaged(&error.to_string()))
}

/// How wasmtime's `CompiledModuleInfo` begins.
#[derive(Deserialize)]
struct ModuleBeginning<'a> {
    _module_index: u32,
    #[serde(borrow)]
    strings: Vec<&'a str>,
    _name: Option<StringIndex>,
    initializers: Vec<Initializer>,
}

/// A string's index, and 1 more.
type StringIndex = NonZeroU32;

/// wasmtime's `Initializer`.
#[derive(Deserialize)]
enum Initializer {
    Import { name: StringIndex, field: StringIndex, _index: EntityIndex },
}

fn of_module(info: &[u8]) -> Result<Vec<Import>, postcard::Error> {
    let (ModuleBeginning { strings, initializers, .. }, _) = postcard::take_from_bytes(info)?;
    let string = |index: StringIndex| {
        let string = strings.get(index.get() as usize - 1).copied();
        string.ok_or(postcard::Error::DeserializeBadEncoding)
    };
    let import = |Initializer::Import { name: module, field, .. }: &Initializer| {
        let (module, name) = (string(*module)?, string(*field)?);
        let provided = wasi::is_provided(module);
        Ok(Import { module: Some(module.to_owned()), name: name.to_owned(), provided })
    };
    initializers.iter().map(import).collect()
}

/// How wasmtime's `ComponentArtifacts` begins: the component's type, and its imports.
type ComponentBeginning<'a> = (u32, Vec<(&'a str, ComponentExtern)>);

fn of_component(info: &[u8]) -> Result<Vec<Import>, postcard::Error> {
    let ((_, imports), _) = postcard::take_from_bytes::<ComponentBeginning<'_>>(info)?;
    let import =
        |(name, _): &(&str, _)| Import { module: None, name: (*name).to_owned(), provided: wasi::is_provided(name) };
    Ok(imports.iter().map(import).collect())
}
