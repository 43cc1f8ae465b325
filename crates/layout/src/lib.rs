//! A release on disk.
//!
//! In: artifacts with their configs, or a directory. Out: an OCI image layout, or what one holds, every byte checked
//! against the digest that named it. Never here: how code is generated, a choice among variants, the network.
//!
//! The data's path: [`Writer`] (`writer`, with its lock and temporary files in `staging`) compresses artifacts into
//! layers (`layer`), checks that all fits together (`released`) and states it in OCI documents (`document`, `wasm`);
//! [`Layout`] (`layout`) reads the documents back through verified blobs (`blob`, `parse`), and [`ArtifactReader`] (`layer`)
//! yields an artifact. Whoever carries a module elsewhere gets all its [`Parts`] (`parts`). A [`Source`] (`source`) offers
//! one module from anywhere, a layout as [`LocalSource`] (`local`); what a server keeps of it is a [`SparseLayout`]
//! (`sparse`). Signatures (`signature`) are bytes here: who made them, and whether they are right, is for others.

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
pub use source::{Signature, Source, SourceError};
pub use sparse::{SparseLayout, blob_name, config_of};
pub use staging::{check_writable, write_atomically};
pub use wasm::Wasm;
pub use writer::{Count, Signatures, Summary, SummaryModule, Writer, check_place};
