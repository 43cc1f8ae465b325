//! In: WebAssembly. Out: what the config of its plain Wasm artifact has: kind, imports and exports. Never here: validation.

use crate::WriteError;
use isomer_contract::Kind;
use isomer_contract::manifest::Blob;
use wasmparser::{Parser, Payload};

/// WebAssembly that [`Writer::add_wasm`](crate::Writer::add_wasm) put into the release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wasm {
    kind: Kind,
    blob: Blob,
    component: Option<ComponentNames>,
}

/// What a component imports and exports, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ComponentNames {
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Vec<String>,
}

impl Wasm {
    /// Describes `bytes`, whose kind it reads from their preamble.
    pub(crate) fn of(bytes: &[u8]) -> Result<Wasm, WriteError> {
        let blob = Blob::of(bytes);
        if !Parser::is_component(bytes) {
            return Ok(Wasm { kind: Kind::Module, blob, component: None });
        }
        let names = component_names(bytes).map_err(|error| WriteError::Wasm(error.to_string()))?;
        Ok(Wasm { kind: Kind::Component, blob, component: Some(names) })
    }

    /// Module or component.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its bytes.
    pub fn blob(&self) -> Blob {
        self.blob
    }

    pub(crate) fn component(&self) -> Option<&ComponentNames> {
        self.component.as_ref()
    }
}

/// Reads the names that the outermost component imports and exports; nested ones have their own.
fn component_names(bytes: &[u8]) -> Result<ComponentNames, wasmparser::BinaryReaderError> {
    let mut names = ComponentNames::default();
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    names.imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    names.exports.push(export?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    names.imports.sort();
    names.exports.sort();
    Ok(names)
}
