//! In: a layout and the name of a module in it. Out: that module as a [`Source`]. Never here: the network; a byte that
//! was not checked against the digest that named it.

use crate::blob::CHUNK_SIZE_BYTES;
use crate::layout::{ARTIFACT_SIZE_BYTES_MAX, DOCUMENT_SIZE_BYTES_MAX, Layout, ModuleEntry};
use crate::{LayoutError, Signature, Source, SourceError};
use isomer_contract::Hinted;
use isomer_contract::manifest::Blob;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};

/// A module of a layout: what carries releases where no registry reaches.
#[derive(Debug)]
pub struct LocalSource {
    layout: Layout,
    entry: ModuleEntry,
    typed: String,
}

impl LocalSource {
    /// The module called `name` in `layout`, its name or its reference; without a name, the only one. `typed` is what a
    /// person called it.
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
}

impl fmt::Display for LocalSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.typed)
    }
}

impl From<LayoutError> for SourceError {
    fn from(error: LayoutError) -> SourceError {
        SourceError { message: error.to_string(), hint: error.hint(), source: None }
    }
}

impl Source for LocalSource {
    fn index(&self) -> Result<Vec<u8>, SourceError> {
        self.read(self.index_blob())
    }

    fn manifest(&self, blob: Blob) -> Result<Vec<u8>, SourceError> {
        self.read(blob)
    }

    fn document(&self, blob: Blob) -> Result<Vec<u8>, SourceError> {
        self.read(blob)
    }

    /// Copies from the first byte: what is at hand need not be resumed.
    fn layer(&self, blob: Blob, file: &mut File, on_bytes: &(dyn Fn(u64) + Sync)) -> Result<(), SourceError> {
        let path = self.layout.root().blob_path(blob.digest);
        let named_by = self.layout.dir().join("index.json");
        let mut from = self.layout.root().open_blob(blob, ARTIFACT_SIZE_BYTES_MAX, &named_by)?.file;
        let writing = |error: std::io::Error| SourceError {
            message: format!("cannot keep what was read of `{}`", path.display()),
            hint: None,
            source: Some(error.into()),
        };
        file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).map_err(writing)?;
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
            file.write_all(&buffer[..read]).map_err(writing)?;
            on_bytes(read as u64);
        }
        Ok(self.layout.root().check_digest(blob.digest, isomer_contract::Digest::from_hasher(hasher))?)
    }

    fn signatures(&self, index: Blob) -> Result<Vec<Signature>, SourceError> {
        Ok(self.layout.signature_documents(index.digest)?)
    }
}
