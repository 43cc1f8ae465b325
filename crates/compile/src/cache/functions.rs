//! Functions that were compiled before, so that an edited module costs what was edited. In: a module's name and a profile.
//! Out: what wasmtime's incremental compilation requests, by the digest of all that enters a function's code. Never here:
//! a function that was not requested by that digest, or from a file that this user's key did not seal.
//!
//! ```text
//! DIR/v1/functions/HEX        the functions of one module for one profile: which key, its seal, and the sealed, as zstd
//! ```
//! A file holds what the module came out of last time and no more: what an edit leaves unused goes.
//!
//! Not quite all that is the same is found: in wasmtime 48 a function's digest also depends on whether the one before it on
//! the same thread was taken over or compiled (seen: 1 to 5 % with one thread, up to a quarter with two).

use super::ownership::open_if_there;
use super::{Cache, CacheError, damaged, write_file};
use crate::Job;
use crate::seal::{Purpose, SealKey};
use isomer_contract::{Digest, ENGINE_VERSION, one_line};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use wasmtime::CacheStore;
use zeroize::Zeroizing;

/// Machine code shrinks to less than half at the quickest level; higher ones give a tenth more for several times the time.
const ZSTD_LEVEL: i32 = 1;
/// The sizes of what comes first: the name of the key and the seal, in hexadecimal.
const KEY_ID_SIZE_BYTES: usize = 16;
const SEAL_SIZE_BYTES: usize = 64;

/// Where a cache keeps functions, and how often it had them.
pub struct Functions {
    directory: PathBuf,
    key: Arc<SealKey>,
    on_trouble: OnTrouble,
    asked: AtomicU64,
    found: AtomicU64,
    unwritable: AtomicBool,
}

/// Says what went wrong, and what is done about it.
type OnTrouble = Box<dyn Fn(&str, &'static str) + Send + Sync>;

/// What one job made of its functions.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct FunctionsUse {
    /// How many it has.
    asked: u64,
    /// How many of them were compiled before.
    found: u64,
    /// What is wrong with the file.
    damaged: Option<String>,
    /// Why there is no new file.
    unwritten: Option<String>,
}

impl Functions {
    /// Those of `cache`.
    pub fn of(cache: &Cache, on_trouble: impl Fn(&str, &'static str) + Send + Sync + 'static) -> Functions {
        Functions {
            directory: cache.path_of("functions"),
            key: cache.key(),
            on_trouble: Box::new(on_trouble),
            asked: 0.into(),
            found: 0.into(),
            unwritable: false.into(),
        }
    }

    /// The file for `job`, none where its path is not UTF-8, which a worker could not be sent. The module's name says only where
    /// to look: two modules of one name take turns.
    pub(crate) fn path(&self, job: &Job<'_>) -> Option<String> {
        let name = Digest::of_json(&(&job.input.name, job.profile.digest(), ENGINE_VERSION));
        self.directory.join(name.hex()).into_os_string().into_string().ok()
    }

    /// The key that seals them, for a worker process.
    pub(crate) fn key_hex(&self) -> Zeroizing<String> {
        self.key.to_hex()
    }

    /// Counts what a job made of them.
    pub(crate) fn count(&self, used: &FunctionsUse) {
        self.asked.fetch_add(used.asked, Ordering::Relaxed);
        self.found.fetch_add(used.found, Ordering::Relaxed);
        if let Some(problem) = &used.damaged {
            (self.on_trouble)(problem, "its functions are compiled again");
        }
        if let Some(problem) = &used.unwritten
            && !self.unwritable.swap(true, Ordering::Relaxed)
        {
            (self.on_trouble)(problem, "what was compiled is not kept by function this time");
        }
    }

    /// How many functions the jobs had, and how many of them were compiled before.
    pub fn counts(&self) -> (u64, u64) {
        (self.asked.load(Ordering::Relaxed), self.found.load(Ordering::Relaxed))
    }
}

/// One module's functions for one profile, while it is compiled.
#[derive(Debug)]
pub(crate) struct Pack {
    path: PathBuf,
    key: SealKey,
    earlier: BTreeMap<Vec<u8>, Vec<u8>>,
    damaged: Option<String>,
    used: Mutex<BTreeSet<Vec<u8>>>,
    new: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    asked: AtomicU64,
    found: AtomicU64,
}

impl Pack {
    /// The functions in the file; none if it does not exist, another key sealed it, or it is damaged.
    pub(crate) fn read(path: &Path, key: SealKey) -> Pack {
        let (earlier, damaged) = match read(path, &key) {
            Ok(earlier) => (earlier, None),
            Err(error) => (BTreeMap::new(), Some(one_line(&error))),
        };
        Pack {
            path: path.to_owned(),
            key,
            earlier,
            damaged,
            used: Mutex::default(),
            new: Mutex::default(),
            asked: 0.into(),
            found: 0.into(),
        }
    }

    /// Replaces the file by what was used.
    pub(crate) fn keep(&self) -> FunctionsUse {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        let written = if new.is_empty() && used.len() == self.earlier.len() && !used.is_empty() {
            // The longest unused goes first. A cache that only may be read is of use too.
            if let Ok(Some(file)) = open_if_there(&self.path) {
                let _ = file.set_modified(SystemTime::now());
            }
            Ok(())
        } else {
            let earlier = self.earlier.iter().filter(|(key, _)| used.contains(*key));
            write(&self.path, &self.key, earlier.chain(&*new))
        };
        FunctionsUse {
            asked: self.asked.load(Ordering::Relaxed),
            found: self.found.load(Ordering::Relaxed),
            damaged: self.damaged.clone(),
            unwritten: written.err().map(|error| one_line(&error)),
        }
    }
}

impl CacheStore for Pack {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let code = self.earlier.get(key)?;
        self.found.fetch_add(1, Ordering::Relaxed);
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_vec());
        Some(Cow::Borrowed(code))
    }

    fn insert(&self, key: &[u8], value: Vec<u8>) -> bool {
        self.new.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_vec(), value);
        true
    }
}

fn read(path: &Path, key: &SealKey) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, CacheError> {
    let Some(mut file) = open_if_there(path)? else { return Ok(BTreeMap::new()) };
    let io = |source| CacheError::Io { action: "read", path: path.to_owned(), source };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(io)?;
    let damaged = |problem: &str| damaged(path.to_owned(), problem.to_owned());
    let cut = || damaged("it is cut short");
    let (id, rest) = bytes.split_at_checked(KEY_ID_SIZE_BYTES).ok_or_else(cut)?;
    let (seal, packed) = rest.split_at_checked(SEAL_SIZE_BYTES).ok_or_else(cut)?;
    if id != key.id().as_bytes() {
        return Ok(BTreeMap::new());
    }
    let seal = std::str::from_utf8(seal).unwrap_or_default();
    if !key.has_sealed(Purpose::Functions, &sealed_text(path, packed), seal) {
        return Err(damaged("its seal does not match"));
    }
    // Only `write` has the key, so that no size needs a bound.
    let bytes = zstd::decode_all(packed).map_err(|error| damaged(&error.to_string()))?;
    entries(&bytes).ok_or_else(|| damaged("its parts have no end"))
}

/// The file's name is sealed with its content: no file passes for another.
fn sealed_text(path: &Path, packed: &[u8]) -> Vec<u8> {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    [name, b"\n", packed].concat()
}

fn entries(mut bytes: &[u8]) -> Option<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut take = || -> Option<Option<Vec<u8>>> {
        if bytes.is_empty() {
            return Some(None);
        }
        let (size, rest) = bytes.split_first_chunk()?;
        let (part, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*size)).ok()?)?;
        bytes = rest;
        Some(Some(part.to_vec()))
    };
    let mut entries = BTreeMap::new();
    while let Some(key) = take()? {
        entries.insert(key, take()??);
    }
    Some(entries)
}

fn write<'a>(
    path: &Path,
    key: &SealKey,
    entries: impl Iterator<Item = (&'a Vec<u8>, &'a Vec<u8>)>,
) -> Result<(), CacheError> {
    let packed = pack(entries).map_err(|source| CacheError::Io { action: "pack", path: path.to_owned(), source })?;
    let seal = key.seal_bytes(Purpose::Functions, &sealed_text(path, &packed));
    write_file(path, &[key.id().as_bytes(), seal.as_bytes(), &packed].concat())
}

fn pack<'a>(entries: impl Iterator<Item = (&'a Vec<u8>, &'a Vec<u8>)>) -> io::Result<Vec<u8>> {
    let mut packed = zstd::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
    for part in entries.flat_map(|(key, code)| [key, code]) {
        packed.write_all(&(part.len() as u64).to_le_bytes())?;
        packed.write_all(part)?;
    }
    packed.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_was_used_is_kept_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("functions");
        let key = SealKey::ephemeral().to_hex();
        let read = |path: &Path| Pack::read(path, SealKey::from_hex(&key).unwrap());
        let first = read(&path);
        assert!(first.get(b"a").is_none());
        for (key, code) in [("a", "code of a"), ("b", ""), ("c", "code of c")] {
            first.insert(key.as_bytes(), code.into());
        }
        let used = first.keep();
        assert_eq!((used.asked, used.found, used.unwritten), (1, 0, None));

        let second = read(&path);
        assert_eq!(second.get(b"a").as_deref(), Some(b"code of a".as_slice()));
        assert_eq!(second.get(b"b").as_deref(), Some(b"".as_slice()));
        assert!(second.get(b"d").is_none());
        second.insert(b"d", b"code of d".to_vec());
        let used = second.keep();
        assert_eq!((used.asked, used.found, used.unwritten), (3, 2, None));

        let third = read(&path);
        assert!(third.get(b"c").is_none(), "nothing has asked for it");
        assert_eq!(third.get(b"d").as_deref(), Some(b"code of d".as_slice()));
    }

    /// A function from a file that is not what it was would be machine code that no compiler made.
    #[test]
    fn every_damaged_byte_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("functions");
        let key = SealKey::ephemeral().to_hex();
        let read = |path: &Path| Pack::read(path, SealKey::from_hex(&key).unwrap());
        let first = read(&path);
        first.insert(b"a", b"code".to_vec());
        first.keep();
        let right = fs::read(&path).unwrap();
        let damages = (0..right.len()).flat_map(|offset| {
            let mut flipped = right.clone();
            flipped[offset] ^= 1;
            [flipped, right[..offset].to_vec()]
        });
        for wrong in damages {
            fs::write(&path, &wrong).unwrap();
            let pack = read(&path);
            assert!(pack.get(b"a").is_none());
            // With the name of the key changed it is another key's.
            if wrong.len() < KEY_ID_SIZE_BYTES || wrong[..KEY_ID_SIZE_BYTES] == right[..KEY_ID_SIZE_BYTES] {
                assert!(pack.damaged.is_some_and(|problem| problem.contains("is damaged: ")));
                assert!(!path.exists(), "it is reported once");
            }
        }
        fs::write(&path, &right).unwrap();
        assert!(Pack::read(&path, SealKey::ephemeral()).get(b"a").is_none(), "another user's key");
        assert!(read(&path).get(b"a").is_some());
        let other = directory.path().join("other");
        fs::copy(&path, &other).unwrap();
        assert!(read(&other).get(b"a").is_none(), "another module's functions");
        assert_eq!(entries(b"\xff\xff\xff\xff\xff\xff\xff\xffa"), None);
        assert_eq!(entries(b"\x01\0\0\0\0\0\0\0k"), None, "a key without code");
    }
}
