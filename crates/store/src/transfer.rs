//! In: a source and a variant's manifest. Out: the artifact in a temporary file, decompressed, verified, on disk. Never
//! here: a final name; the store's lock.

use crate::directory::{Directory, OpenFile};
use crate::error::io_error;
use crate::hashed::Witness;
use crate::{Staging, Store, StoreError, artifact_name, check_ours};
use isomer_contract::manifest::Blob;
use isomer_contract::{Digest, chain};
use isomer_layout::{ArtifactReader, LayoutError, Manifest, Source};
use isomer_runtime::{MappedFile, verify_requirements};
use rustix::fs::{Stat, fstat, fstatvfs};
use sha2::{Digest as _, Sha256};
use std::fs::{File, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// How much is decompressed at once.
const CHUNK_SIZE_BYTES: usize = 256 << 10;

/// What happens while a layer is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// One of this size is being fetched.
    Layer {
        /// Its bytes.
        size_bytes: u64,
    },
    /// So many more of its bytes have arrived.
    Bytes(u64),
}

/// An artifact that is ready for its final name.
pub(crate) struct Fetched {
    /// The file in the temporary directory, called [`artifact_name`]; none if the artifact is installed already.
    pub(crate) staged: Option<Stat>,
    /// Keeps other processes from fetching it until this value is dropped.
    pub(crate) _partial: Option<Partial>,
    /// How many bytes its layer has.
    pub(crate) transferred_bytes: u64,
}

impl Store {
    /// Fetches the artifact of `manifest`, unless it is installed and whole.
    pub(crate) fn fetch_artifact(
        &self,
        source: &dyn Source,
        manifest: &Manifest,
        staging: &Staging,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Fetched, StoreError> {
        let artifact = manifest.config.artifact;
        let there = Fetched { staged: None, _partial: None, transferred_bytes: 0 };
        if self.has_artifact(artifact)? {
            return Ok(there);
        }
        let layer = manifest.layer.blob;
        let mut partial = Partial::open(self, layer)?;
        // The process that had the lock may have installed it.
        if self.has_artifact(artifact)? {
            return Ok(Fetched { _partial: Some(partial), ..there });
        }
        let here_bytes = partial.file.metadata().map_err(io_error("read", &partial.path()))?.len();
        let needed_bytes = layer.size_bytes.saturating_sub(here_bytes).saturating_add(artifact.size_bytes);
        self.check_space(needed_bytes)?;
        progress(Progress::Layer { size_bytes: layer.size_bytes });
        source.layer(layer, &mut partial.file, &|read| progress(Progress::Bytes(read))).map_err(|error| {
            let full = is_full(&error);
            partial.keep = !full && partial.file.metadata().is_ok_and(|there| there.len() > 0);
            if full { self.no_space(needed_bytes) } else { StoreError::Source(error) }
        })?;
        let staged = self.unpack(&partial, manifest, staging)?;
        Ok(Fetched { staged: Some(staged), _partial: Some(partial), transferred_bytes: layer.size_bytes })
    }

    /// Whether an artifact is installed and every byte of it is right. One that is not is fetched again and replaced.
    fn has_artifact(&self, artifact: Blob) -> Result<bool, StoreError> {
        let opened = match self.open_artifact(artifact.digest) {
            Err(error) if error.is_damage() => return Ok(false),
            opened => opened?,
        };
        let Some(opened) = opened else { return Ok(false) };
        if u64::try_from(opened.stat.st_size) != Ok(artifact.size_bytes) {
            return Ok(false);
        }
        Ok(self.hash_artifact(&opened, artifact.digest)? == artifact.digest)
    }

    /// An installed artifact, or none where it does not exist.
    pub(crate) fn open_artifact(&self, artifact: Digest) -> Result<Option<OpenFile>, StoreError> {
        match self.root.directory("artifacts")? {
            Some(artifacts) => artifacts.file(artifact_name(artifact)),
            None => Ok(None),
        }
    }

    /// The digest of all bytes of an installed artifact. If it is the expected one, and root computed it, that is recorded.
    pub(crate) fn hash_artifact(&self, opened: &OpenFile, expected: Digest) -> Result<Digest, StoreError> {
        let witness = Witness::of(opened, &mut Vec::new());
        let mut hasher = Sha256::new();
        let hashed = copy(&mut &opened.file, |bytes| {
            hasher.update(bytes);
            Ok(())
        });
        hashed.map_err(io_error("read", &self.artifact_path(expected)))?;
        let found = Digest::from_hasher(hasher);
        if found == expected
            && let Some(witness) = witness
        {
            witness.record(opened, expected);
        }
        Ok(found)
    }

    /// Writes the artifact that the layer in `partial` holds to a file of its name in `staging`.
    fn unpack(&self, partial: &Partial, manifest: &Manifest, staging: &Staging) -> Result<Stat, StoreError> {
        let Manifest { config, layer, .. } = manifest;
        let from = partial.file.try_clone().map_err(io_error("read", &partial.path()))?;
        let mut reader = ArtifactReader::of_file(from, *layer, config.artifact.size_bytes, &partial.path())?;
        let name = artifact_name(config.artifact.digest);
        let path = &staging.dir.path_of(&name);
        let mut file = staging.dir.new_file(&name)?;
        let (mut hasher, mut written_bytes) = (Sha256::new(), 0);
        let copied = copy(&mut reader, |bytes| {
            hasher.update(bytes);
            written_bytes += bytes.len() as u64;
            file.write_all(bytes)
        });
        copied.and_then(|()| file.sync_all()).map_err(|error| match error.kind() {
            ErrorKind::StorageFull => self.no_space(config.artifact.size_bytes.saturating_sub(written_bytes)),
            _ => match error.downcast::<LayoutError>() {
                Ok(error) => StoreError::Layout(error),
                Err(error) => io_error("write", path)(error),
            },
        })?;
        let (found, expected) = (Digest::from_hasher(hasher), config.artifact.digest);
        if found != expected {
            return Err(StoreError::OtherArtifact { target: config.target.clone(), found, expected });
        }
        let mapped = file.try_clone().and_then(|file| map(file, written_bytes)).map_err(io_error("map", path))?;
        verify_requirements(mapped.bytes(), config)
            .map_err(|source| StoreError::Verify { target: config.target.clone(), source })?;
        file.set_permissions(Permissions::from_mode(0o444))
            .and_then(|()| file.sync_all())
            .and_then(|()| Ok(fstat(&file)?))
            .map_err(io_error("write", path))
    }

    fn check_space(&self, needed_bytes: u64) -> Result<(), StoreError> {
        if self.available_bytes()? < needed_bytes { Err(self.no_space(needed_bytes)) } else { Ok(()) }
    }

    fn no_space(&self, needed_bytes: u64) -> StoreError {
        StoreError::Space {
            dir: self.dir().to_owned(),
            needed_bytes,
            available_bytes: self.available_bytes().unwrap_or(0).min(needed_bytes.saturating_sub(1)),
        }
    }

    fn available_bytes(&self) -> Result<u64, StoreError> {
        let stat = self
            .root
            .descriptor()
            .and_then(|root| fstatvfs(root).map_err(|error| io_error("read", self.dir())(error.into())))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// Whether the disk was full, as any of the error's sources says.
fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let is_full = |error: &io::Error| error.kind() == ErrorKind::StorageFull;
    chain(error).any(|error| error.downcast_ref().is_some_and(is_full))
}

fn copy(from: &mut impl Read, mut to: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_SIZE_BYTES];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => to(&buffer[..read])?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A layer that is being fetched, and the lock for that. The next transfer continues where an interrupted one ended.
pub(crate) struct Partial {
    file: File,
    dir: Directory,
    name: String,
    /// Whether the next transfer can continue with these bytes.
    keep: bool,
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.keep {
            // It is still locked. What cannot be removed, `gc` removes.
            let _ = self.dir.remove(&self.name);
        }
    }
}

impl Partial {
    /// Waits for another process that fetches the same layer.
    fn open(store: &Store, layer: Blob) -> Result<Partial, StoreError> {
        let (dir, name) = (store.part_to_write("partial")?, layer.digest.hex());
        loop {
            let OpenFile { file, stat, judgement, .. } = dir.file_to_write(&name)?;
            check_ours(store.dir(), &judgement)?;
            file.lock().map_err(io_error("lock", &dir.path_of(&name)))?;
            // The process that had the lock may have removed the name since.
            if dir.stat(&name)?.is_some_and(|there| (there.st_dev, there.st_ino) == (stat.st_dev, stat.st_ino)) {
                return Ok(Partial { file, dir, name, keep: false });
            }
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path_of(&self.name)
    }
}

#[allow(unsafe_code)]
fn map(file: File, size_bytes: u64) -> io::Result<MappedFile> {
    // SAFETY: this process made the file a moment ago with mode 0600 and writes nothing more to it.
    unsafe { MappedFile::new(file, size_bytes) }
}

#[cfg(test)]
mod tests;
