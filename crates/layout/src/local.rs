//! In: a layout and the name of a module in it. Out: that module as a [`Source`]. Never here: the network; a byte that
//! was not compared with the digest it was named by.

use crate::content::CHUNK_SIZE_BYTES;
use crate::layout::{Layout, ModuleEntry};
use crate::{FoundSignatures, LayoutError, Requested, Source, SourceError};
use isomer_contract::limits::{ARTIFACT_SIZE_BYTES_MAX, DOCUMENT_SIZE_BYTES_MAX};
use isomer_contract::manifest::Blob;
use isomer_contract::{Digest, Hinted};
use sha2::{Digest as _, Sha256};
use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};

/// A module of a layout, for hosts that no registry reaches.
#[derive(Debug)]
pub struct LocalSource {
    layout: Layout,
    entry: ModuleEntry,
    typed: String,
}

impl LocalSource {
    /// The module called `name` in `layout`, its name or its reference; without a name, the only one. `typed` is the
    /// name that a person typed.
    ///
    /// # Errors
    /// When there is no such module, or several.
    pub fn new(layout: Layout, name: Option<&str>, typed: String) -> Result<LocalSource, LayoutError> {
        let entry = match name {
            Some(name) => layout.entry(name)?,
            None => layout.only_entry()?,
        };
        Ok(LocalSource { entry: entry.clone(), layout, typed })
    }

    fn index_blob(&self) -> Blob {
        Blob { digest: self.entry.digest, size_bytes: self.entry.size_bytes }
    }

    fn read(&self, blob: Blob) -> Result<Vec<u8>, SourceError> {
        let named_by = self.layout.dir().join("index.json");
        Ok(self.layout.root().read_blob(blob, DOCUMENT_SIZE_BYTES_MAX, &named_by)?)
    }

    fn copy(&self, blob: Blob, file: &mut File, on_bytes: &(dyn Fn(u64) + Sync)) -> Result<(), SourceError> {
        let root = self.layout.root();
        let path = root.blob_path(blob.digest);
        let mut from = root.open_blob(blob, ARTIFACT_SIZE_BYTES_MAX, &self.layout.dir().join("index.json"))?.file;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; CHUNK_SIZE_BYTES];
        loop {
            let read = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(source) => return Err(LayoutError::Io { file: path, source }.into()),
            };
            hasher.update(&buffer[..read]);
            file.write_all(&buffer[..read]).map_err(not_kept)?;
            on_bytes(read as u64);
        }
        Ok(root.check_digest(blob.digest, Digest::from_hasher(hasher))?)
    }
}

/// An error of the file that a layer is copied to.
fn not_kept(error: std::io::Error) -> SourceError {
    SourceError { message: "cannot write what was read".to_owned(), hint: None, source: Some(error.into()) }
}

fn empty(file: &mut File) -> Result<(), SourceError> {
    file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).map(drop).map_err(not_kept)
}

impl fmt::Display for LocalSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.typed)
    }
}

impl From<LayoutError> for SourceError {
    fn from(error: LayoutError) -> SourceError {
        let (message, hint) = (error.to_string(), error.hint());
        let source: Option<Box<dyn Error + Send + Sync>> = match error {
            LayoutError::Io { source, .. } => Some(source.into()),
            LayoutError::Variant { source, .. } => Some(source.into()),
            _ => None,
        };
        SourceError { message, hint, source }
    }
}

impl Source for LocalSource {
    fn requested(&self) -> Requested<'_> {
        let tag = self.entry.reference.rsplit_once(':').map(|(_, tag)| tag);
        Requested { module: Some(&self.entry.name), tag }
    }

    fn index(&self) -> Result<Vec<u8>, SourceError> {
        self.read(self.index_blob())
    }

    fn manifest(&self, blob: Blob) -> Result<Vec<u8>, SourceError> {
        self.read(blob)
    }

    fn document(&self, blob: Blob) -> Result<Vec<u8>, SourceError> {
        self.read(blob)
    }

    /// Copies from the first byte, and leaves nothing if that fails: a local copy need not be resumed.
    fn layer(&self, blob: Blob, file: &mut File, on_bytes: &(dyn Fn(u64) + Sync)) -> Result<(), SourceError> {
        let copied = empty(file).and_then(|()| self.copy(blob, file, on_bytes));
        if copied.is_err() {
            // The first error is the one to report.
            let _ = empty(file);
        }
        copied
    }

    fn signatures(&self, index: Blob) -> Result<FoundSignatures, SourceError> {
        Ok(self.layout.readable_signatures(index.digest))
    }
}
