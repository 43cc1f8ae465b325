//! In: a module of a layout. Out: all its parts, for a copy elsewhere. Never here: the copy's destination, a byte without the
//! digest it is named by.

use crate::content::{CHUNK_SIZE_BYTES, Content, Regular, io_error};
use crate::parse::{blob_of, media_type, parse_index, parse_manifest};
use crate::{Layout, LayoutError, Module, Signature};
use isomer_contract::Digest;
use isomer_contract::limits::DOCUMENT_SIZE_BYTES_MAX;
use isomer_contract::manifest::Blob;
use oci_spec::image::MediaType;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::PathBuf;

/// A module with everything that its index names, and its signatures.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The image index.
    pub index: Document,
    /// All manifests that the index names, each once.
    pub manifests: Vec<Document>,
    /// The manifest of the plain WebAssembly, if there is one.
    pub wasm: Option<Document>,
    /// All configs and layers that the manifests name, each once, with their sizes.
    pub blobs: Vec<Blob>,
    /// The signatures of the index.
    pub signatures: Vec<Signature>,
}

/// An index or a manifest, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its digest and size.
    pub blob: Blob,
    /// Its media type.
    pub media_type: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Layout {
    /// All parts of the module called `name`, which is its name or its reference.
    ///
    /// # Errors
    /// When a document is damaged or missing, or names something other than a manifest: such an index cannot
    /// be copied as a whole.
    pub fn parts(&self, name: &str) -> Result<Parts, LayoutError> {
        let module = self.module(name)?;
        let top = self.dir().join("index.json");
        let index = self.root.read_named(module.digest, DOCUMENT_SIZE_BYTES_MAX, &top)?;
        let file = self.root.blob_path(module.digest);
        let document =
            |blob, media_type: &MediaType, bytes| Document { blob, media_type: media_type.to_string(), bytes };
        let mut manifests: BTreeMap<Digest, Document> = BTreeMap::new();
        let mut blobs: BTreeMap<Digest, Blob> = BTreeMap::new();
        for descriptor in parse_index(&file, &index)?.manifests() {
            let kind = descriptor.media_type();
            media_type(&file, "mediaType of a part", kind.as_ref(), &[MediaType::ImageManifest.as_ref()])?;
            let blob = blob_of(&file, descriptor)?;
            let bytes = self.root.read_blob(blob, DOCUMENT_SIZE_BYTES_MAX, &file)?;
            let path = self.root.blob_path(blob.digest);
            let manifest = parse_manifest(&path, &bytes)?;
            for part in std::iter::once(manifest.config()).chain(manifest.layers()) {
                let part = blob_of(&path, part)?;
                blobs.insert(part.digest, part);
            }
            manifests.insert(blob.digest, document(blob, kind, bytes));
        }
        Ok(Parts {
            index: document(Blob::of(&index), &MediaType::ImageIndex, index),
            wasm: module.wasm.and_then(|wasm| manifests.get(&wasm.manifest).cloned()),
            manifests: manifests.into_values().collect(),
            blobs: blobs.into_values().collect(),
            signatures: self.signature_documents(module.digest)?,
        })
    }

    /// Reads every blob that belongs to `module`: the manifests that its index names, their configs and layers, and its
    /// signatures.
    ///
    /// # Errors
    /// When one is missing or damaged.
    pub fn check(&self, module: &Module) -> Result<(), LayoutError> {
        let index = self.root.read_named(module.digest, DOCUMENT_SIZE_BYTES_MAX, &self.dir().join("index.json"))?;
        let file = self.root.blob_path(module.digest);
        let index = parse_index(&file, &index)?;
        for descriptor in index.manifests().iter().filter(|it| *it.media_type() == MediaType::ImageManifest) {
            let blob = blob_of(&file, descriptor)?;
            let bytes = self.root.read_blob(blob, DOCUMENT_SIZE_BYTES_MAX, &file)?;
            let path = self.root.blob_path(blob.digest);
            let manifest = parse_manifest(&path, &bytes)?;
            for part in std::iter::once(manifest.config()).chain(manifest.layers()) {
                self.root.check_blob(blob_of(&path, part)?, &path)?;
            }
        }
        self.signature_documents(module.digest).map(drop)
    }

    /// Opens one of [`Parts::blobs`], to be read once from its beginning.
    ///
    /// # Errors
    /// When it is missing, or has another size than its descriptor.
    pub fn open_blob(&self, blob: Blob) -> Result<BlobReader, LayoutError> {
        let Regular { file, .. } = self.root.open_blob(blob, u64::MAX, self.dir())?;
        let path = self.root.blob_path(blob.digest);
        Ok(BlobReader { file, path, hasher: Sha256::new(), blob, left_bytes: blob.size_bytes })
    }
}

/// Yields a blob piece by piece. The last piece is returned only after the digest of all was checked: a caller that sends
/// them on never sends a whole blob that was altered.
#[derive(Debug)]
pub struct BlobReader {
    file: Content,
    path: PathBuf,
    hasher: Sha256,
    blob: Blob,
    left_bytes: u64,
}

impl BlobReader {
    /// The next piece, or none after the last.
    ///
    /// # Errors
    /// When it cannot be read, was truncated since it was opened, or has another digest than its name.
    pub fn next_piece(&mut self) -> Result<Option<Vec<u8>>, LayoutError> {
        if self.left_bytes == 0 {
            return Ok(None);
        }
        let wanted = usize::try_from(self.left_bytes).unwrap_or(usize::MAX).min(CHUNK_SIZE_BYTES);
        let mut piece = vec![0; wanted];
        self.file.read_exact(&mut piece).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => LayoutError::Size {
                file: self.path.clone(),
                // It had its size when it was opened, and was truncated since.
                found_bytes: self.blob.size_bytes - self.left_bytes,
                expected_bytes: self.blob.size_bytes,
                named_by: self.path.clone(),
            },
            _ => io_error(&self.path, error),
        })?;
        self.hasher.update(&piece);
        self.left_bytes -= wanted as u64;
        if self.left_bytes == 0 {
            let (found, expected) = (Digest::from_hasher(self.hasher.clone()), self.blob.digest);
            if found != expected {
                return Err(LayoutError::Digest { file: self.path.clone(), found, expected });
            }
        }
        Ok(Some(piece))
    }
}
