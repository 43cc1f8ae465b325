//! Work done earlier, by anybody on this machine. In: the digest of a job. Out: its artifact, as a release's layer holds
//! it, if that is there and every byte is what it was. Never here: an error that stops anybody. What cannot be read is
//! made again, what cannot be written is not kept, and both are said once.
//!
//! ```text
//! DIR/CACHEDIR.TAG            backup tools pass over the directory
//! DIR/v1/actions/HEX.json     a job's digest → an Entry, sealed with its own digest
//! DIR/v1/artifacts/HEX        a layer, named by its digest
//! DIR/v1/profiles/HEX.json    what was in effect in a profile, named by its digest: to say later what has changed
//! DIR/v1/functions/HEX        one module's functions for one profile, where somebody wants to compile it after an edit
//! ```
//! Any number of processes use it at once without a lock: files appear under their names by renaming, are never changed,
//! and are looked at only through their digests. Nothing is flushed to disk: what a power failure tears is found by its
//! digest. A hit sets the time of the action's file; [`Cache::collect`] removes the longest unused first. The digest says
//! nothing of who wrote an entry: directories are made with mode 0700, files with 0600, and what others can write to is
//! not believed.

mod collect;
mod functions;
mod ownership;

pub use collect::{Collected, Usage};
pub use functions::Functions;
pub(crate) use functions::{FunctionsUse, Pack};
pub use ownership::Writer;

use isomer_contract::manifest::Blob;
use isomer_contract::profile::Effective;
use isomer_contract::{Digest, Hinted, Size, canonical_json};
use isomer_layout::{Compression, Layer, measure, pack, unpack};
use ownership::{open_if_there, own_directory};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

/// The variable that names another directory.
pub const VARIABLE: &str = "ISOMER_CACHE";

/// What a cache grows to before the longest unused goes, unless somebody says otherwise.
pub const SIZE_MAX_DEFAULT: Size = Size::gib(10);

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

/// An entry as it stands in its file: a flipped bit must not pass for another digest.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Sealed {
    job: Digest,
    entry: Entry,
    seal: Digest,
}

fn seal(job: Digest, entry: &Entry) -> Digest {
    Digest::of_json(&(job, entry))
}

/// Why the cache is not used, or why something in it is not.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The system refuses.
    #[error("cannot {action} `{}`: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Its words.
        source: io::Error,
    },
    /// Somebody else could have put anything there.
    #[error("`{}` {found}; expected a directory that only its owner, this user, writes to", .path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// The cache that it belongs to.
        cache: PathBuf,
        /// Who can write there, or could.
        found: Writer,
    },
    /// It is somebody's directory and would be marked as one that may be removed.
    #[error("`{}` holds `{found}` and is no cache of isomer's", .path.display())]
    NotACache {
        /// The directory.
        path: PathBuf,
        /// A name in it.
        found: String,
    },
    /// A file is not what it was.
    #[error("`{}` is damaged: {problem}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

impl Hinted for CacheError {
    fn hint(&self) -> Option<String> {
        let another = format!("name another directory with --cache or {VARIABLE}");
        let (cache, found) = match self {
            CacheError::Foreign { cache, found, .. } => (cache, found),
            CacheError::NotACache { .. } => return Some(format!("{another}: a new or an empty one")),
            CacheError::Io { .. } | CacheError::Damaged { .. } => return None,
        };
        Some(match found {
            Writer::User(_) => another,
            Writer::Group(_) | Writer::Everybody => format!(
                "`chmod -R go-w {}` if you trust whoever could write there, or else remove it; or {another}",
                cache.display()
            ),
        })
    }
}

/// A cache in a directory.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
    /// Whether something could not be written, after which nothing more is tried.
    full: AtomicBool,
    /// Whether something was written.
    grown: AtomicBool,
}

impl Cache {
    /// The cache in `dir`, which is created when it is not there.
    ///
    /// # Errors
    /// When that cannot be, others can write to one of its directories, or it holds something else.
    pub fn open(dir: &Path) -> Result<Cache, CacheError> {
        let cache = Cache { dir: dir.to_owned(), full: false.into(), grown: false.into() };
        own_directory(dir, dir)?;
        check_ours(dir)?;
        let parts = ["actions", "artifacts", "functions", "profiles"].map(|name| cache.place(name));
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

    /// The cache in `dir`, or none where there is nothing: then nothing is created.
    pub fn open_if_there(dir: &Path) -> Result<Option<Cache>, CacheError> {
        match fs::read_dir(dir).map(|mut entries| entries.next().is_none()) {
            Ok(true) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Ok(false) | Err(_) => Cache::open(dir).map(Some),
        }
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn place(&self, name: &str) -> PathBuf {
        self.dir.join("v1").join(name)
    }

    fn action(&self, job: Digest) -> PathBuf {
        self.place("actions").join(format!("{}.json", job.hex()))
    }

    fn artifact(&self, entry: &Entry) -> PathBuf {
        self.place("artifacts").join(entry.layer.digest.hex())
    }

    fn profile_path(&self, profile: Digest) -> PathBuf {
        self.place("profiles").join(format!("{}.json", profile.hex()))
    }

    /// What is known of `job`, when its artifact is there, whole. Every byte of it is hashed.
    ///
    /// # Errors
    /// When something is there and is not what it was. It is removed, so that it is reported once.
    pub fn find(&self, job: Digest) -> Result<Option<Entry>, CacheError> {
        let path = self.action(job);
        let Some(text) = read_if_there(&path)? else { return Ok(None) };
        let entry = match serde_json::from_slice::<Sealed>(&text) {
            Ok(Sealed { job: found, entry, seal: it }) if found == job && it == seal(job, &entry) => entry,
            Ok(_) => return Err(damaged(path, "its seal is another".to_owned())),
            Err(error) => return Err(damaged(path, error.to_string())),
        };
        let artifact = self.artifact(&entry);
        let Some(file) = open_if_there(&artifact)? else {
            // Somebody makes room.
            let _ = fs::remove_file(path);
            return Ok(None);
        };
        check_bytes(file, artifact, entry.layer)?;
        // A cache that only may be read is of use too.
        let _ = File::options().append(true).open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        Ok(Some(entry))
    }

    /// Opens the layer of an entry. Its bytes may have changed since: whoever takes them over hashes them.
    pub fn open_layer(&self, entry: &Entry) -> Result<File, CacheError> {
        let path = self.artifact(entry);
        File::open(&path).map_err(|source| CacheError::Io { action: "read", path, source })
    }

    /// The artifact of an entry, checked.
    pub fn read_artifact(&self, entry: &Entry) -> Result<Vec<u8>, CacheError> {
        let path = self.artifact(entry);
        let bytes = fs::read(&path).map_err(|source| CacheError::Io { action: "read", path: path.clone(), source })?;
        unpack(&bytes, Compression::Zstd, entry.artifact).map_err(|error| damaged(path, error.to_string()))
    }

    /// Keeps what `job` came out as: `layer` is its artifact, packed with zstd. After a first failure nothing more is
    /// tried, and nothing more is said.
    pub fn put(&self, job: Digest, entry: &Entry, layer: &[u8]) -> Result<(), CacheError> {
        self.try_to_write(|| {
            write_file(&self.artifact(entry), layer)?;
            let sealed = Sealed { job, entry: *entry, seal: seal(job, entry) };
            write_file(&self.action(job), canonical_json(&sealed).as_bytes())
        })
    }

    /// Keeps what is in effect in a profile.
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
pub fn pack_entry(artifact: &[u8], code: Digest) -> io::Result<(Entry, Vec<u8>)> {
    let (layer, bytes) = pack(artifact, Compression::Zstd)?;
    Ok((Entry { artifact: Blob::of(artifact), code, layer: layer.blob }, bytes))
}

/// That there is a cache in `dir`, or nothing.
fn check_ours(dir: &Path) -> Result<(), CacheError> {
    if dir.join("v1/actions").exists() {
        return Ok(());
    }
    // What can't be read is said by whoever needs it.
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !["v1", "CACHEDIR.TAG"].contains(&name.as_str()) && !name.starts_with(collect::TEMPORARY) {
            return Err(CacheError::NotACache { path: dir.to_owned(), found: name.escape_debug().to_string() });
        }
    }
    Ok(())
}

/// Makes room for a file where somebody has put a directory.
fn remove_directory(path: &Path) {
    if path.symlink_metadata().is_ok_and(|there| there.is_dir()) {
        let _ = fs::remove_dir_all(path);
    }
}

/// A file that lies about its content is removed, and made again by whoever needs it.
fn damaged(path: PathBuf, problem: String) -> CacheError {
    remove_directory(&path);
    let _ = fs::remove_file(&path);
    CacheError::Damaged { path, problem }
}

/// A file appears under its name when it is whole.
fn write_file(path: &Path, bytes: &[u8]) -> Result<(), CacheError> {
    // Without the temporary file's name.
    let error = |error: io::Error| {
        let source = error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
        CacheError::Io { action: "write", path: path.to_owned(), source }
    };
    let directory = path.parent().expect("every file is in one of the cache's directories");
    let mut file = tempfile::Builder::new().prefix(collect::TEMPORARY).tempfile_in(directory).map_err(error)?;
    file.write_all(bytes).map_err(error)?;
    remove_directory(path);
    file.persist(path).map_err(|persist| error(persist.error))?;
    Ok(())
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, CacheError> {
    let Some(mut file) = open_if_there(path)? else { return Ok(None) };
    let mut bytes = Vec::new();
    match file.read_to_end(&mut bytes) {
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
mod tests {
    use super::*;

    pub(super) fn cache_with(jobs: &[&str]) -> (tempfile::TempDir, Cache) {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(&directory.path().join("cache")).unwrap();
        for job in jobs {
            let (entry, layer) = pack_entry(job.as_bytes(), Digest::of(b"code")).unwrap();
            cache.put(Digest::of(job.as_bytes()), &entry, &layer).unwrap();
        }
        (directory, cache)
    }

    #[test]
    fn what_was_put_is_found_and_nothing_else() {
        let (_directory, cache) = cache_with(&["a"]);
        let entry = cache.find(Digest::of(b"a")).unwrap().unwrap();
        assert_eq!(cache.read_artifact(&entry).unwrap(), b"a");
        assert_eq!(entry.code, Digest::of(b"code"));
        assert!(cache.find(Digest::of(b"b")).unwrap().is_none());
    }

    /// Any flipped bit of any file is found, said once, and then the job is unknown.
    #[test]
    fn every_damaged_byte_is_found() {
        let (_directory, cache) = cache_with(&["a"]);
        let job = Digest::of(b"a");
        let entry = cache.find(job).unwrap().unwrap();
        for path in [cache.action(job), cache.artifact(&entry)] {
            let right = fs::read(&path).unwrap();
            for place in 0..right.len() {
                let mut wrong = right.clone();
                wrong[place] ^= 1;
                fs::write(&path, &wrong).unwrap();
                assert!(cache.find(job).is_err(), "{}: byte {place}", path.display());
                assert!(cache.find(job).unwrap().is_none(), "{}: byte {place}", path.display());
                let (_, layer) = pack_entry(b"a", entry.code).unwrap();
                cache.put(job, &entry, &layer).unwrap();
            }
        }
        // An entry under another job's name.
        fs::copy(cache.action(job), cache.action(Digest::of(b"b"))).unwrap();
        assert!(cache.find(Digest::of(b"b")).is_err());
    }

    /// Another isomer of this version reads what this one wrote.
    #[test]
    fn the_format_of_an_action_is_fixed() {
        let (_directory, cache) = cache_with(&[]);
        let job = Digest::of(b"job");
        let entry = Entry { artifact: Blob::of(b"artifact"), code: Digest::of(b"code"), layer: Blob::of(b"layer") };
        cache.put(job, &entry, b"layer").unwrap();
        let expected = concat!(
            r#"{"entry":{"artifact":{"digest":"sha256:c7c5c1d70c5dec4416ab6158afd0b223ef40c29b1dc1f97ed9428b94d4cadb1c","size-bytes":8},"code":"sha256:5694d08a2e53ffcae0c3103e5ad6f6076abd960eb1f8a56577040bc1028f702b","#,
            r#""layer":{"digest":"sha256:dac1d7cfa95021764849fd102524e141488c5e3a90f861dbb5a12d9ac8584f85","size-bytes":5}},"#,
            r#""job":"sha256:5e8c9902207afaeb7120430c585a445f21e92932081d64bc99f80e4925bcb002","seal":"sha256:dbe48b0f89a31c4ec3af2cfef3fcb8afbefc19686183731f6fa10b236fc4b095"}"#,
        );
        assert_eq!(fs::read_to_string(cache.action(job)).unwrap(), expected);
    }

    #[test]
    fn profiles_are_found_by_their_digest() {
        let (_directory, cache) = cache_with(&[]);
        let effective = isomer_contract::Profile::shipped("z15").unwrap().effective();
        assert_eq!(cache.profile(effective.digest()), None);
        cache.put_profile(&effective).unwrap();
        assert_eq!(cache.profile(effective.digest()), Some(effective.clone()));
        fs::write(cache.profile_path(effective.digest()), "{}").unwrap();
        assert_eq!(cache.profile(effective.digest()), None);
    }
}
