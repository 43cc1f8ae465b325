//! Work that this user did earlier. In: the digest of a job. Out: its artifact, as a release's layer holds it, with who
//! made it, if this user's key sealed both and every byte is what it was. Never here: an error that ends a build. What
//! cannot be read is compiled again, what cannot be written is not kept, and both are reported once.
//!
//! ```text
//! DIR/CACHEDIR.TAG            backup tools pass over the directory
//! DIR/v1/actions/HEX.json     a job's digest → an Entry, sealed
//! DIR/v1/artifacts/HEX        a layer, named by its digest
//! DIR/v1/profiles/HEX.json    what was in effect in a profile, named by its digest: to say later what has changed
//! DIR/v1/functions/HEX        one module's functions for one profile, sealed, for compiling it after an edit
//! ```
//! Any number of processes use it at once without a lock: files appear under their names by renaming, are never changed,
//! and are looked at only through their digests. Nothing is flushed to disk: what a power failure tears is found by its
//! digest. A hit sets the time of the action's file; [`Cache::collect`] removes the longest unused first. Each file is
//! opened, written and removed through its directory's descriptor, if only this user can write to that directory: renaming
//! a directory above it has no effect on a process that has it open.
//!
//! A digest says nothing of who wrote an entry. So each is sealed with a key that only this user has and that is kept
//! outside the cache (`seal`): what another user put there, or sealed with another key, is compiled again. Besides,
//! directories are made with mode 0700, files with 0600, and a cache that other users can write to is not used at all.
//! Each entry says who made its artifact (`maker`): one that a remote sent is still known for that later.

mod collect;
mod error;
mod functions;
mod ownership;

pub use collect::{Collected, Usage};
pub use error::{CacheError, Writer};
pub use functions::Functions;
pub(crate) use functions::{FunctionsUse, Pack};

use crate::maker::Maker;
use crate::seal::{Purpose, SealKey, Sealed, Unsealed};
use isomer_contract::manifest::Blob;
use isomer_contract::profile::Effective;
use isomer_contract::{Digest, Size, canonical_json};
use isomer_layout::{Compression, Layer, measure, pack, unpack};
use ownership::{directory_of, open_if_there, own_directory, remove};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

/// The variable that names another directory.
pub const VARIABLE: &str = "ISOMER_CACHE";

/// The default limit of a cache's size. Beyond it, the longest unused entries are removed.
pub const SIZE_MAX_DEFAULT: Size = Size::gib(10);

/// The largest file of an action or a profile that is read.
const DOCUMENT_SIZE_BYTES_MAX: u64 = 1 << 20;

/// What is known of a job that was done. Its artifact is kept compressed, as a release stores it: a hit is then a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Entry {
    /// The artifact.
    pub artifact: Blob,
    /// The digest of its code.
    pub code: Digest,
    /// The file that holds it, one zstd frame.
    pub layer: Blob,
}

impl Entry {
    /// The layer that a release may take over.
    pub fn layer(&self) -> Layer {
        Layer { blob: self.layer, compression: Compression::Zstd }
    }
}

/// An entry with its job and its maker, as a file holds them under a seal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Action {
    job: Digest,
    entry: Entry,
    maker: Maker,
}

/// A cache in a directory.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
    key: Arc<SealKey>,
    /// Whether something could not be written, after which nothing more is tried.
    full: AtomicBool,
    /// Whether something was written.
    grown: AtomicBool,
    /// How many entries were found that another key sealed.
    of_other_keys: AtomicU64,
}

impl Cache {
    /// The cache in `dir`, which is created when it does not exist. `key` seals what it keeps.
    ///
    /// # Errors
    /// When that cannot be, other users can write to one of its directories, or it contains other files.
    pub fn open(dir: &Path, key: Arc<SealKey>) -> Result<Cache, CacheError> {
        let cache =
            Cache { dir: dir.to_owned(), key, full: false.into(), grown: false.into(), of_other_keys: 0.into() };
        check_ours(dir)?;
        own_directory(dir, dir)?;
        let parts = ["actions", "artifacts", "functions", "profiles"].map(|name| cache.path_of(name));
        for path in [dir.join("v1")].iter().chain(&parts) {
            own_directory(path, dir)?;
        }
        let tag = dir.join("CACHEDIR.TAG");
        if !tag.exists() {
            // Without it the cache works as well.
            let text = "Signature: 8a477f597d28d172789f06886806bc55\n# isomer's cache: safe to remove\n";
            let _ = write_file(&tag, text.as_bytes());
        }
        Ok(cache)
    }

    /// The cache in `dir`, to measure and to trim it. None if there is no cache: nothing is created. Its entries cannot be
    /// read, since the key that seals them is not given.
    ///
    /// # Errors
    /// As [`Cache::open`].
    pub fn open_existing(dir: &Path) -> Result<Option<Cache>, CacheError> {
        match fs::read_dir(dir).map(|mut entries| entries.next().is_none()) {
            Ok(true) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Ok(false) | Err(_) => Cache::open(dir, Arc::new(SealKey::ephemeral())).map(Some),
        }
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn path_of(&self, name: &str) -> PathBuf {
        self.dir.join("v1").join(name)
    }

    /// The key that seals what it keeps.
    pub(crate) fn key(&self) -> Arc<SealKey> {
        self.key.clone()
    }

    /// How many entries were found, and not used, that another key sealed: another user's, or one that was removed.
    pub fn of_other_keys(&self) -> u64 {
        self.of_other_keys.load(Ordering::Relaxed)
    }

    fn action(&self, job: Digest) -> PathBuf {
        self.path_of("actions").join(format!("{}.json", job.hex()))
    }

    fn artifact(&self, entry: &Entry) -> PathBuf {
        self.path_of("artifacts").join(entry.layer.digest.hex())
    }

    fn profile_path(&self, profile: Digest) -> PathBuf {
        self.path_of("profiles").join(format!("{}.json", profile.hex()))
    }

    /// What is known of `job`, and who made its artifact, when that is there, whole, and this user's key sealed the entry.
    /// Every byte of it is hashed. Whether its maker is trusted is for the caller.
    ///
    /// # Errors
    /// When a file is damaged. It is removed, so that it is reported once.
    pub fn find(&self, job: Digest) -> Result<Option<(Entry, Maker)>, CacheError> {
        let path = self.action(job);
        let Some(text) = read_if_there(&path)? else { return Ok(None) };
        let sealed: Sealed<Action> = match serde_json::from_slice(&text) {
            Ok(sealed) => sealed,
            Err(error) => return Err(damaged(path, error.to_string())),
        };
        let (entry, maker) = match self.key.unseal(Purpose::CacheEntry, sealed) {
            Ok(Action { job: found, entry, maker }) if found == job => (entry, maker),
            Ok(_) => return Err(damaged(path, "it is about another job".to_owned())),
            Err(Unsealed::Damaged) => return Err(damaged(path, "its seal does not match".to_owned())),
            Err(Unsealed::OtherKey) => {
                self.of_other_keys.fetch_add(1, Ordering::Relaxed);
                return Ok(None);
            }
        };
        let artifact = self.artifact(&entry);
        let Some(file) = open_if_there(&artifact)? else {
            // Another process makes room.
            let _ = remove(&path);
            return Ok(None);
        };
        check_bytes(file, artifact, entry.layer)?;
        // A cache that may only be read is of use too.
        if let Ok(Some(file)) = open_if_there(&path) {
            let _ = file.set_modified(SystemTime::now());
        }
        Ok(Some((entry, maker)))
    }

    /// Opens the layer of an entry. Its bytes may have changed since: the caller hashes them.
    ///
    /// # Errors
    /// When it is missing, another user could have written it, or the system refuses.
    pub fn open_layer(&self, entry: &Entry) -> Result<File, CacheError> {
        let path = self.artifact(entry);
        let missing = || CacheError::Io { action: "read", path: path.clone(), source: io::ErrorKind::NotFound.into() };
        open_if_there(&path)?.ok_or_else(missing)
    }

    /// The artifact of an entry, checked.
    ///
    /// # Errors
    /// As [`Cache::open_layer`], and when it is damaged.
    pub fn read_artifact(&self, entry: &Entry) -> Result<Vec<u8>, CacheError> {
        let path = self.artifact(entry);
        let io = |source| CacheError::Io { action: "read", path: path.clone(), source };
        let mut bytes = Vec::new();
        self.open_layer(entry)?.take(entry.layer.size_bytes + 1).read_to_end(&mut bytes).map_err(io)?;
        unpack(&bytes, Compression::Zstd, entry.artifact).map_err(|error| damaged(path, error.to_string()))
    }

    /// Keeps what `job` came out as: `layer` is its artifact, packed with zstd. After a first failure nothing more is
    /// tried, and nothing more is reported.
    ///
    /// # Errors
    /// The first time that it cannot be written: then the caller reports it once.
    pub fn put(&self, job: Digest, entry: &Entry, maker: &Maker, layer: &[u8]) -> Result<(), CacheError> {
        self.try_to_write(|| {
            write_file(&self.artifact(entry), layer)?;
            let sealed = self.key.seal(Purpose::CacheEntry, Action { job, entry: *entry, maker: maker.clone() });
            write_file(&self.action(job), canonical_json(&sealed).as_bytes())
        })
    }

    /// Keeps what is in effect in a profile.
    ///
    /// # Errors
    /// As [`Cache::put`].
    pub fn put_profile(&self, effective: &Effective) -> Result<(), CacheError> {
        let path = self.profile_path(effective.digest());
        if path.exists() {
            Ok(())
        } else {
            self.try_to_write(|| write_file(&path, canonical_json(effective).as_bytes()))
        }
    }

    /// What was in effect in the profile of this digest, if that was ever kept.
    pub fn profile(&self, profile: Digest) -> Option<Effective> {
        let text = read_if_there(&self.profile_path(profile)).ok()??;
        let effective: Effective = serde_json::from_slice(&text).ok()?;
        (effective.digest() == profile).then_some(effective)
    }

    fn try_to_write(&self, write: impl FnOnce() -> Result<(), CacheError>) -> Result<(), CacheError> {
        if self.full.load(Ordering::Relaxed) {
            return Ok(());
        }
        match write() {
            Ok(()) => {
                self.grown.store(true, Ordering::Relaxed);
                Ok(())
            }
            Err(_) if self.full.swap(true, Ordering::Relaxed) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Packs an artifact for the cache and for a release.
///
/// # Errors
/// When zstd fails, for lack of memory.
pub fn pack_entry(artifact: &[u8], code: Digest) -> io::Result<(Entry, Vec<u8>)> {
    let (layer, bytes) = pack(artifact, Compression::Zstd)?;
    Ok((Entry { artifact: Blob::of(artifact), code, layer: layer.blob }, bytes))
}

/// Whether there is a cache of isomer's in `dir`.
fn is_ours(dir: &Path) -> bool {
    dir.join("v1/actions").exists()
}

/// That there is a cache in `dir`, or nothing.
fn check_ours(dir: &Path) -> Result<(), CacheError> {
    if is_ours(dir) {
        return Ok(());
    }
    // What cannot be read is reported where it is needed.
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !["v1", "CACHEDIR.TAG"].contains(&name.as_str()) && !name.starts_with(collect::TEMPORARY) {
            return Err(CacheError::NotACache { path: dir.to_owned(), found: name.escape_debug().to_string() });
        }
    }
    Ok(())
}

/// A file whose content is wrong is removed, and made again when it is needed.
fn damaged(path: PathBuf, problem: String) -> CacheError {
    let _ = remove(&path);
    CacheError::Damaged { path, problem }
}

/// A file appears under its name when it is whole.
fn write_file(path: &Path, bytes: &[u8]) -> Result<(), CacheError> {
    let error = |source| CacheError::Io { action: "write", path: path.to_owned(), source };
    let (directory, name) = directory_of(path).map_err(error)?;
    let mut file = directory.new_file(collect::TEMPORARY, 0o600).map_err(error)?;
    file.write_all(bytes).map_err(error)?;
    // A file does not replace a directory.
    if directory.directory(name).is_ok() {
        let _ = directory.remove_all(name);
    }
    file.rename(&directory, name).map_err(error)
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, CacheError> {
    let Some(file) = open_if_there(path)? else { return Ok(None) };
    let mut bytes = Vec::new();
    match file.take(DOCUMENT_SIZE_BYTES_MAX + 1).read_to_end(&mut bytes) {
        Ok(_) if bytes.len() as u64 > DOCUMENT_SIZE_BYTES_MAX => {
            Err(damaged(path.to_owned(), format!("it has more than {DOCUMENT_SIZE_BYTES_MAX} bytes")))
        }
        Ok(_) => Ok(Some(bytes)),
        Err(source) => Err(CacheError::Io { action: "read", path: path.to_owned(), source }),
    }
}

fn check_bytes(file: File, path: PathBuf, expected: Blob) -> Result<(), CacheError> {
    let found = measure(file).map_err(|source| CacheError::Io { action: "read", path: path.clone(), source })?;
    if found == expected {
        return Ok(());
    }
    let Blob { digest, size_bytes } = found;
    Err(damaged(path, format!("it has digest {digest} and {size_bytes} bytes, expected {} bytes", expected.size_bytes)))
}

#[cfg(test)]
mod tests;
