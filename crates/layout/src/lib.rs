//! A release on disk: an OCI image layout in a directory or a tar file.
//!
//! ```
//! use isomer_layout::{Identity, Layout, ReleasedModule, Writer};
//!
//! let dir = tempfile::tempdir()?;
//! let writer = Writer::open(dir.path())?;
//! let wasm = writer.add_wasm(b"\0asm\x01\0\0\0")?;
//! // Compiled variants come from `Writer::add_layer`.
//! let module = ReleasedModule { name: "empty".parse()?, version: "1.0.0".parse()?, wasm, variants: Vec::new() };
//! let identity = Identity { name: "acme".parse()?, version: "1.0.0".parse()?, counter: 1, part: None };
//! writer.finish(&identity, vec![module])?;
//!
//! let layout = Layout::open(dir.path())?;
//! let module = layout.module("empty")?;
//! assert_eq!(module.reference, "empty:1.0.0");
//! assert_eq!(layout.wasm(&module)?.as_deref(), Some(&b"\0asm\x01\0\0\0"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! In: artifacts with their configs, or a directory. Out: an OCI image layout, or the content of one, every byte compared
//! with the digest it was named by. Never here: how code is generated, a choice among variants, the network.
//!
//! The data's path: [`Writer`] (`writer`, with its lock and temporary files in `staging`) compresses artifacts into
//! layers (`layer`), checks that the modules are consistent (`released`) and states it in OCI documents (`document`, `wasm`);
//! [`Layout`] (`layout`) reads the documents back through verified blobs (`blob`, `parse`), and [`ArtifactReader`] (`layer`)
//! yields an artifact. To copy a module elsewhere, take all its [`Parts`] (`parts`). A [`Source`] (`source`) offers
//! the module that is [`Requested`] (`requested`) from anywhere, a layout as [`LocalSource`] (`local`); what a server keeps of it is a [`SparseLayout`]
//! (`sparse`). Signatures (`signature`) are opaque bytes here: isomer-trust evaluates them.

#![warn(clippy::missing_errors_doc)]
#![cfg_attr(
    not(test),
    deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::print_stderr, clippy::print_stdout)
)]

mod error;

mod document;
mod released;
mod staging;
mod wasm;
mod writer;

mod archive;
mod blob;
mod content;
mod layer;
mod layout;
mod parse;
mod parts;
mod signature;
mod sparse;

mod local;
mod requested;
mod source;

pub use document::{Identity, Part};
pub use error::{LayoutError, WriteError};
pub use layer::{
    ArtifactReader, COMPRESSION_LEVEL, Compression, Layer, UnknownCompression, WINDOW_LOG_MAX, measure, pack, unpack,
};
pub use layout::{Layout, Manifest, Module, ModuleEntry, WasmEntry, nearest_module};
pub use local::LocalSource;
pub use parts::{BlobReader, Document, Parts};
pub use released::ReleasedModule;
pub use requested::{Requested, is_version_tag};
pub use source::{FoundSignatures, Signature, Source, SourceError};
pub use sparse::{SparseLayout, blob_name, config_of};
pub use staging::{check_writable, write_atomically, write_private_atomically};
pub use wasm::Wasm;
pub use writer::{Count, Signatures, Summary, SummaryModule, Writer, check_owner, check_place};
