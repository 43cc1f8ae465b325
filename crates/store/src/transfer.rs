//! In: a source and what a variant's manifest says. Out: the artifact in a temporary file, decompressed, found right, on
//! disk. Never here: a final name; the store's lock.

use super::error::StoreError;
use super::files::{io_error, is_same, make_dir};
use super::{Staging, Store, artifact_name, remove};
use crate::protected::{self, Owners};
use isomer_contract::Digest;
use isomer_contract::manifest::Blob;
use isomer_layout::{ArtifactReader, LayoutError, Manifest, Source};
use isomer_runtime::{MappedFile, verify_requirements};
use sha2::{Digest as _, Sha256};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// How much is decompressed at once.
const CHUNK_SIZE_BYTES: usize = 256 << 10;

/// What happens while a layer is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// One of this size is on its way.
    Layer {
        /// Its bytes.
        size_bytes: u64,
    },
    /// So many more of its bytes are here.
    Bytes(u64),
}

/// An artifact that is wanted under its final name.
pub(super) struct Fetched {
    /// What is to get that name, or none where it is there already.
    pub(super) file: Option<PathBuf>,
    /// Keeps other processes from fetching it, too, and goes with this value.
    pub(super) _partial: Option<Partial>,
    /// How many bytes its layer has.
    pub(super) transferred_bytes: u64,
}

impl Store {
    /// Fetches the artifact of `manifest`, unless it is there, whole.
    pub(super) fn fetch_artifact(
        &self,
        source: &dyn Source,
        manifest: &Manifest,
        staging: &Staging,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Fetched, StoreError> {
        let artifact = manifest.config.artifact;
        let there = Fetched { file: None, _partial: None, transferred_bytes: 0 };
        if self.has_artifact(artifact)? {
            return Ok(there);
        }
        let layer = manifest.layer.blob;
        let mut partial = Partial::open(self, layer)?;
        // Whoever had it until now may have installed it.
        if self.has_artifact(artifact)? {
            return Ok(Fetched { _partial: Some(partial), ..there });
        }
        let here_bytes = partial.file.metadata().map_err(io_error("read", &partial.path))?.len();
        let needed_bytes = layer.size_bytes.saturating_sub(here_bytes).saturating_add(artifact.size_bytes);
        self.check_space(needed_bytes)?;
        progress(Progress::Layer { size_bytes: layer.size_bytes });
        source.layer(layer, &mut partial.file, &|read| progress(Progress::Bytes(read))).map_err(|error| {
            let full = is_full(&error);
            partial.keep = !full && partial.file.metadata().is_ok_and(|there| there.len() > 0);
            if full { self.no_space(needed_bytes) } else { StoreError::Source(error) }
        })?;
        let file = staging.path().join(artifact_name(artifact.digest));
        self.unpack(&partial, manifest, &file)?;
        Ok(Fetched { file: Some(file), _partial: Some(partial), transferred_bytes: layer.size_bytes })
    }

    /// Whether an artifact is in place, and every byte of it. One that is not is fetched again and replaced.
    fn has_artifact(&self, artifact: Blob) -> Result<bool, StoreError> {
        let there = self.artifact_path(artifact.digest).symlink_metadata();
        if there.is_ok_and(|there| !there.is_file()) {
            return Ok(false);
        }
        let name = artifact_name(artifact.digest);
        let mut opened = match protected::open(&self.dir, &["artifacts", &name], Owners::Root) {
            Ok(opened) => opened,
            Err((_, error)) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err((path, error)) => return Err(io_error("read", &path)(error)),
        };
        if opened.size_bytes != artifact.size_bytes {
            return Ok(false);
        }
        let mut hasher = Sha256::new();
        copy(&mut opened.file, |bytes| {
            hasher.update(bytes);
            Ok(())
        })
        .map_err(io_error("read", &self.artifact_path(artifact.digest)))?;
        Ok(Digest::from_hasher(hasher) == artifact.digest)
    }

    /// Writes the artifact that the layer in `partial` holds to `file`.
    fn unpack(&self, partial: &Partial, manifest: &Manifest, path: &Path) -> Result<(), StoreError> {
        let Manifest { config, layer, .. } = manifest;
        let from = partial.file.try_clone().map_err(io_error("read", &partial.path))?;
        let mut reader = ArtifactReader::of_file(from, *layer, config.artifact.size_bytes, &partial.path)?;
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create_new(true).mode(0o600).open(path).map_err(io_error("create", path))?;
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
            .map_err(io_error("write", path))
    }

    fn check_space(&self, needed_bytes: u64) -> Result<(), StoreError> {
        if self.available_bytes()? < needed_bytes { Err(self.no_space(needed_bytes)) } else { Ok(()) }
    }

    fn no_space(&self, needed_bytes: u64) -> StoreError {
        StoreError::Space {
            dir: self.dir.clone(),
            needed_bytes,
            available_bytes: self.available_bytes().unwrap_or(0).min(needed_bytes.saturating_sub(1)),
        }
    }

    fn available_bytes(&self) -> Result<u64, StoreError> {
        let stat = rustix::fs::statvfs(&self.dir).map_err(|error| io_error("read", &self.dir)(error.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

#[allow(unsafe_code)]
fn map(file: File, size_bytes: u64) -> io::Result<MappedFile> {
    // SAFETY: this process made the file a moment ago with mode 0600 and writes nothing more to it.
    unsafe { MappedFile::new(file, size_bytes) }
}

/// Whether the disk was full, as any of the error's sources says.
fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::StorageFull) {
            return true;
        }
        next = error.source();
    }
    false
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

/// A layer on its way, and the right to fetch it. What an interrupted transfer left is what the next one begins with.
pub(super) struct Partial {
    file: File,
    path: PathBuf,
    /// Whether the next attempt can go on from here.
    keep: bool,
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.keep {
            // Its owner still has it locked. What can't be removed, `gc` removes.
            let _ = remove(&self.path);
        }
    }
}

impl Partial {
    /// Waits for whoever fetches the same layer now.
    fn open(store: &Store, layer: Blob) -> Result<Partial, StoreError> {
        let dir = store.dir.join("partial");
        make_dir(&dir)?;
        let path = dir.join(layer.digest.hex());
        loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
            let file = options.open(&path).map_err(io_error("open", &path))?;
            file.lock().map_err(io_error("lock", &path))?;
            // The one who had it may have removed the name since.
            if is_same(&file, &path)? {
                return Ok(Partial { file, path, keep: false });
            }
        }
    }
}
