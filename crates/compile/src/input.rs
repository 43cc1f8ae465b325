//! In: a path. Out: an [`Input`], the WebAssembly in it with its kind, or what else the file is. Never here: a device, a
//! pipe, more bytes than a module may have.

use isomer_contract::limits::WASM_SIZE_BYTES_MAX;
use isomer_contract::manifest::Blob;
use isomer_contract::{Hinted, Kind, artifact};
use isomer_file::FileError;
use std::path::{Path, PathBuf};

/// A module or component to compile.
#[derive(Clone)]
pub struct Input {
    /// The file, as it was named.
    pub path: PathBuf,
    /// What it is called in file names and releases: the file's stem.
    pub name: String,
    /// Binary WebAssembly, also where the file holds text.
    pub wasm: Vec<u8>,
    /// The digest and size of `wasm`.
    pub blob: Blob,
    /// Module or component.
    pub kind: Kind,
}

/// Why a file cannot be compiled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// It cannot be read, or is larger than any module.
    #[error(transparent)]
    File(#[from] FileError),
    /// Nothing in it.
    #[error("{} is empty; expected WebAssembly (.wasm or .wat)", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Already compiled.
    #[error("{} is already compiled, for {triple}; expected WebAssembly (.wasm or .wat)", .path.display())]
    AlreadyCompiled {
        /// The file.
        path: PathBuf,
        /// What for.
        triple: String,
    },
    /// A binary that ends within its first eight bytes.
    #[error("{} is cut: a WebAssembly binary has at least 8 bytes, and it has {size_bytes}", .path.display())]
    Cut {
        /// The file.
        path: PathBuf,
        /// Its size.
        size_bytes: usize,
    },
    /// Something else.
    #[error("{} is not WebAssembly: it starts with {found}; expected `\\0asm` or WebAssembly text", .path.display())]
    NotWasm {
        /// The file.
        path: PathBuf,
        /// Its first bytes.
        found: String,
    },
    /// A binary of another version.
    #[error("{} has the WebAssembly version {found}; expected 1 (a module) or 13 (a component)", .path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version field.
        found: u32,
    },
    /// Text that does not parse.
    #[error("{} is not valid WebAssembly text", .path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// The parser's words, with line and column.
        source: wat::Error,
    },
    /// A file name without a stem that could name the result.
    #[error("{} has no usable file name", .path.display())]
    NoName {
        /// The file.
        path: PathBuf,
    },
}

impl Hinted for InputError {
    fn hint(&self) -> Option<String> {
        match self {
            InputError::File(FileError::NotRegular { path, found: "a directory" }) => {
                Some(format!("name the files in it: {}/*.wasm", path.display()))
            }
            InputError::File(FileError::TooLarge { .. }) => {
                Some("check that it is the right file: wasmtime compiles no larger module".to_owned())
            }
            InputError::File(error) => error.hint(),
            InputError::AlreadyCompiled { .. } => Some("compile the .wasm that it was made from".to_owned()),
            InputError::NotWasm { found, .. } if found.contains("gzip") || found.contains("zstd") => {
                Some("decompress it first".to_owned())
            }
            _ => None,
        }
    }
}

/// The version fields of a core module and of a component (component-model `Binary.md`: version 13, layer 1).
const MODULE_VERSION: u32 = 1;
const COMPONENT_VERSION: u32 = 0x0001_000d;

impl Input {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`InputError`]: when the file cannot be read, and as [`Input::from_bytes`].
    pub fn read(path: &Path) -> Result<Input, InputError> {
        let bytes = isomer_file::read(path, WASM_SIZE_BYTES_MAX)?;
        let name = path.file_stem().and_then(|stem| stem.to_str()).filter(|stem| !stem.is_empty());
        let name = name.ok_or_else(|| InputError::NoName { path: path.to_owned() })?;
        Input::from_bytes(path, name, bytes)
    }

    /// Takes `bytes` for the contents of `path`.
    ///
    /// # Errors
    /// [`InputError`]: when the bytes are neither WebAssembly nor its text format, or were compiled already.
    pub fn from_bytes(path: &Path, name: &str, bytes: Vec<u8>) -> Result<Input, InputError> {
        let path = path.to_owned();
        if bytes.is_empty() {
            return Err(InputError::Empty { path });
        }
        if bytes.starts_with(b"\x7fELF") {
            return Err(match artifact::Artifact::read(&bytes) {
                Ok(artifact) => InputError::AlreadyCompiled { path, triple: artifact.triple },
                Err(artifact::ArtifactError::OtherEngine { found, .. }) => {
                    InputError::AlreadyCompiled { path, triple: format!("wasmtime {found}") }
                }
                Err(_) => InputError::NotWasm { path, found: first_bytes(&bytes) },
            });
        }
        let wasm = if bytes.starts_with(b"\0asm") { bytes } else { text_to_binary(&path, &bytes)? };
        let version = wasm.get(4..8).map(|field| u32::from_le_bytes(field.try_into().expect("four bytes")));
        let kind = match version {
            Some(MODULE_VERSION) => Kind::Module,
            Some(COMPONENT_VERSION) => Kind::Component,
            Some(found) => return Err(InputError::Version { path, found }),
            None => return Err(InputError::Cut { path, size_bytes: wasm.len() }),
        };
        let blob = Blob::of(&wasm);
        Ok(Input { path, name: name.to_owned(), wasm, blob, kind })
    }
}

fn text_to_binary(path: &Path, bytes: &[u8]) -> Result<Vec<u8>, InputError> {
    let not_wasm = || InputError::NotWasm { path: path.to_owned(), found: first_bytes(bytes) };
    let text = std::str::from_utf8(bytes).map_err(|_| not_wasm())?;
    // Text is taken for WebAssembly's when it is named or starts like it: everything else is some other file.
    let named = path.extension().is_some_and(|extension| extension == "wat" || extension == "wast");
    if !named && !text.trim_start().starts_with(['(', ';']) {
        return Err(not_wasm());
    }
    wat::parse_str(text).map_err(|mut source| {
        source.set_path(path);
        InputError::Text { path: path.to_owned(), source }
    })
}

/// What a file starts with, by name where that is known.
fn first_bytes(bytes: &[u8]) -> String {
    const KNOWN: [(&[u8], &str); 5] = [
        (b"\x1f\x8b", "a gzip header"),
        (b"\x28\xb5\x2f\xfd", "a zstd header"),
        (b"PK\x03\x04", "a zip header"),
        (b"\x7fELF", "an ELF header"),
        (b"#!", "`#!`"),
    ];
    if let Some((_, name)) = KNOWN.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return (*name).to_owned();
    }
    format!("`{}`", bytes[..bytes.len().min(8)].escape_ascii())
}
