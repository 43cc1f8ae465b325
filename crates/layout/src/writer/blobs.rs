//! In: bytes, artifacts, layers. Out: blobs under their digests, each hashed while it was written. Never here: a document's
//! meaning; a blob removed that is referenced.

use super::{Count, Writer};
use crate::layer::{Compression, Layer, copy_hashing, write_layer};
use crate::staging::{io_error, persist};
use crate::{LayoutError, Wasm, WriteError};
use isomer_contract::Digest;
use isomer_contract::limits::ARTIFACT_SIZE_BYTES_MAX;
use isomer_contract::manifest::Blob;
use isomer_file::directory::NewFile;
use rustix::fs::FileType;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Read, Write};

impl Writer {
    /// Adds `bytes` as they are.
    ///
    /// # Errors
    /// [`WriteError::Io`] when the system refuses.
    pub fn add_blob(&self, bytes: &[u8]) -> Result<Blob, WriteError> {
        let blob = Blob::of(bytes);
        if !self.has(blob) {
            let mut file = self.staging.file()?;
            file.write_all(bytes).map_err(|error| io_error("write", &self.blob_path(blob.digest), error))?;
            self.install(file, blob)?;
        }
        Ok(blob)
    }

    /// Adds WebAssembly.
    ///
    /// # Errors
    /// [`WriteError::Wasm`] when it is a component whose names do not parse; it is not validated otherwise.
    pub fn add_wasm(&self, bytes: &[u8]) -> Result<Wasm, WriteError> {
        let wasm = Wasm::of(bytes)?;
        self.add_blob(bytes)?;
        Ok(wasm)
    }

    /// Adds the layer for the artifact that `artifact` yields, which must be the `expected` one.
    ///
    /// # Errors
    /// When `artifact` cannot be read or does not yield the `expected` artifact, when that is larger than
    /// [`ARTIFACT_SIZE_BYTES_MAX`], and when the system refuses.
    pub fn add_layer(
        &self,
        artifact: impl Read,
        compression: Compression,
        expected: Blob,
    ) -> Result<Layer, WriteError> {
        if expected.size_bytes > ARTIFACT_SIZE_BYTES_MAX {
            let (found_bytes, limit_bytes) = (expected.size_bytes, ARTIFACT_SIZE_BYTES_MAX);
            return Err(
                LayoutError::TooLarge { file: self.blob_path(expected.digest), found_bytes, limit_bytes }.into()
            );
        }
        if compression == Compression::None && self.has(expected) {
            return Ok(Layer { blob: expected, compression });
        }
        let mut file = self.staging.file()?;
        let mut into = Hashing { file: &mut file, hasher: Sha256::new(), size_bytes: 0 };
        let read = write_layer(artifact, expected.size_bytes, compression, &mut into);
        let Hashing { hasher, size_bytes, .. } = into;
        let found = read.map_err(|error| io_error("write a layer to", self.dir(), error))?;
        if found != expected {
            return Err(WriteError::Artifact { found, expected });
        }
        let blob = Blob { digest: Digest::from_hasher(hasher), size_bytes };
        if !self.has(blob) {
            self.install(file, blob)?;
        }
        Ok(Layer { blob, compression })
    }

    /// Adds a layer that was packed before: `bytes` yields it.
    ///
    /// # Errors
    /// [`WriteError::PackedLayer`] when it is not the expected one.
    pub fn add_packed(&self, mut bytes: impl Read, layer: Layer) -> Result<(), WriteError> {
        if self.has(layer.blob) {
            return Ok(());
        }
        let mut file = self.staging.file()?;
        let found = copy_hashing(&mut bytes, layer.blob.size_bytes, &mut file)
            .map_err(|error| io_error("write a layer to", self.dir(), error))?;
        if found != layer.blob {
            return Err(WriteError::PackedLayer { found, expected: layer.blob });
        }
        self.install(file, layer.blob)
    }

    /// Keeps a layer of the release that is in the directory.
    ///
    /// # Errors
    /// When it is missing or damaged: it must be added again then.
    pub fn keep(&self, layer: Layer) -> Result<(), LayoutError> {
        if self.state().present.contains_key(&layer.blob.digest) {
            return Ok(());
        }
        self.root.check_blob(layer.blob, self.root.path())?;
        self.found(layer.blob);
        Ok(())
    }

    /// Whether the blob exists, undamaged.
    fn has(&self, blob: Blob) -> bool {
        if self.state().present.contains_key(&blob.digest) {
            return true;
        }
        let right = self.root.check_blob(blob, self.root.path()).is_ok();
        if right {
            self.found(blob);
        }
        right
    }

    fn found(&self, blob: Blob) {
        let mut state = self.state();
        if state.present.insert(blob.digest, blob.size_bytes).is_none() {
            state.reused.add(blob.size_bytes);
        }
    }

    fn install(&self, file: NewFile, blob: Blob) -> Result<(), WriteError> {
        let name = blob.digest.hex();
        let existed = self.blobs.stat_of(&name).ok().flatten().is_some();
        persist(file, &self.blobs, &name)?;
        let mut state = self.state();
        // Two threads may have written the same bytes; the second rename changed nothing.
        if state.present.insert(blob.digest, blob.size_bytes).is_none() {
            state.written.add(blob.size_bytes);
            if !existed {
                state.created.insert(blob.digest);
            }
        }
        Ok(())
    }

    /// Removes the blobs that are not referenced.
    pub(super) fn sweep(&self, referenced: &BTreeSet<Digest>) -> Result<Count, WriteError> {
        let error = |error| io_error("read", self.blobs.path(), error);
        let mut removed = Count::default();
        for name in self.blobs.names().map_err(error)? {
            let digest = name.to_str().and_then(|name| format!("sha256:{name}").parse::<Digest>().ok());
            let unreferenced = digest.is_some_and(|digest| !referenced.contains(&digest));
            let there = self.blobs.stat_of(&name).map_err(error)?;
            let Some(there) = there.filter(|it| FileType::from_raw_mode(it.st_mode) == FileType::RegularFile) else {
                continue;
            };
            if !unreferenced {
                continue;
            }
            match self.blobs.remove_file(&name) {
                Ok(()) => removed.add(u64::try_from(there.st_size).unwrap_or(0)),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(io_error("remove", &self.blobs.path().join(name), error)),
            }
        }
        Ok(removed)
    }
}

/// Hashes and counts what goes into a file.
struct Hashing<'a> {
    file: &'a mut NewFile,
    hasher: Sha256,
    size_bytes: u64,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size_bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
