//! Functions that were compiled before, so that an edited module costs what was edited. In: a module's name and a profile.
//! Out: what wasmtime's incremental compilation asks for, by the digest of all that enters a function's code. Never here:
//! a function that was not asked for by that digest, or from a file that is not what it was.
//!
//! ```text
//! DIR/v1/functions/HEX        the functions of one module for one profile: a SHA-256, and what it is of, as zstd
//! ```
//! A file holds what the module came out of last time and no more: what an edit leaves unused goes.
//!
//! Not quite all that is the same is found: in wasmtime 48 a function's digest also depends on whether the one before it on
//! the same thread was taken over or compiled (seen: 1 to 5 % with one thread, up to a quarter with two).

use super::ownership::open_if_there;
use super::{Cache, CacheError, damaged, write_file};
use crate::Job;
use isomer_contract::{Digest, ENGINE_VERSION};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;
use wasmtime::CacheStore;

/// Machine code shrinks to less than half at the quickest level; higher ones give a tenth more for several times the time.
const ZSTD_LEVEL: i32 = 1;
/// The size of the digest in front, in hexadecimal.
const DIGEST_SIZE_BYTES: usize = 64;

/// Where a cache keeps functions, and how often it had them.
pub struct Functions {
    directory: PathBuf,
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
            directory: cache.place("functions"),
            on_trouble: Box::new(on_trouble),
            asked: 0.into(),
            found: 0.into(),
            unwritable: false.into(),
        }
    }

    /// The file for `job`, none where its path is no text that a worker could be sent. The module's name says only where
    /// to look: two modules of one name take turns.
    pub(crate) fn path(&self, job: &Job<'_>) -> Option<String> {
        let name = Digest::of_json(&(&job.input.name, job.profile.digest(), ENGINE_VERSION));
        self.directory.join(name.hex()).into_os_string().into_string().ok()
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
    earlier: BTreeMap<Vec<u8>, Vec<u8>>,
    damaged: Option<String>,
    used: Mutex<BTreeSet<Vec<u8>>>,
    new: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    asked: AtomicU64,
    found: AtomicU64,
}

impl Pack {
    /// What the file has; nothing, where there is none or it is damaged.
    pub(crate) fn read(path: &Path) -> Pack {
        let (earlier, damaged) = match read(path) {
            Ok(earlier) => (earlier, None),
            Err(error) => (BTreeMap::new(), Some(error.to_string())),
        };
        Pack {
            path: path.to_owned(),
            earlier,
            damaged,
            used: Mutex::default(),
            new: Mutex::default(),
            asked: 0.into(),
            found: 0.into(),
        }
    }

    /// Puts what was used into the file's place.
    pub(crate) fn keep(&self) -> FunctionsUse {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        let written = if new.is_empty() && used.len() == self.earlier.len() && !used.is_empty() {
            // The longest unused goes first. A cache that only may be read is of use too.
            let file = File::options().append(true).open(&self.path);
            let _ = file.and_then(|file| file.set_modified(SystemTime::now()));
            Ok(())
        } else {
            let earlier = self.earlier.iter().filter(|(key, _)| used.contains(*key));
            write(&self.path, earlier.chain(&*new))
        };
        FunctionsUse {
            asked: self.asked.load(Ordering::Relaxed),
            found: self.found.load(Ordering::Relaxed),
            damaged: self.damaged.clone(),
            unwritten: written.err().map(|error| error.to_string()),
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

fn read(path: &Path) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, CacheError> {
    let Some(mut file) = open_if_there(path)? else { return Ok(BTreeMap::new()) };
    let io = |source| CacheError::Io { action: "read", path: path.to_owned(), source };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(io)?;
    let damaged = |problem: &str| damaged(path.to_owned(), problem.to_owned());
    let (digest, packed) = bytes.split_at_checked(DIGEST_SIZE_BYTES).ok_or_else(|| damaged("it is cut short"))?;
    if Digest::of(packed).hex().as_bytes() != digest {
        return Err(damaged("it has another digest"));
    }
    // Whoever wrote this was `write`.
    let bytes = zstd::decode_all(packed).map_err(|error| damaged(&error.to_string()))?;
    entries(&bytes).ok_or_else(|| damaged("its parts have no end"))
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

fn write<'a>(path: &Path, entries: impl Iterator<Item = (&'a Vec<u8>, &'a Vec<u8>)>) -> Result<(), CacheError> {
    let packed = pack(entries).map_err(|source| CacheError::Io { action: "pack", path: path.to_owned(), source })?;
    write_file(path, &[Digest::of(&packed).hex().as_bytes(), &packed].concat())
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
        let first = Pack::read(&path);
        assert!(first.get(b"a").is_none());
        for (key, code) in [("a", "code of a"), ("b", ""), ("c", "code of c")] {
            first.insert(key.as_bytes(), code.into());
        }
        let used = first.keep();
        assert_eq!((used.asked, used.found, used.unwritten), (1, 0, None));

        let second = Pack::read(&path);
        assert_eq!(second.get(b"a").as_deref(), Some(b"code of a".as_slice()));
        assert_eq!(second.get(b"b").as_deref(), Some(b"".as_slice()));
        assert!(second.get(b"d").is_none());
        second.insert(b"d", b"code of d".to_vec());
        let used = second.keep();
        assert_eq!((used.asked, used.found, used.unwritten), (3, 2, None));

        let third = Pack::read(&path);
        assert!(third.get(b"c").is_none(), "nothing has asked for it");
        assert_eq!(third.get(b"d").as_deref(), Some(b"code of d".as_slice()));
    }

    /// A function from a file that is not what it was would be machine code that nobody compiled.
    #[test]
    fn every_damaged_byte_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("functions");
        let first = Pack::read(&path);
        first.insert(b"a", b"code".to_vec());
        first.keep();
        let right = fs::read(&path).unwrap();
        let damages = (0..right.len()).flat_map(|place| {
            let mut flipped = right.clone();
            flipped[place] ^= 1;
            [flipped, right[..place].to_vec()]
        });
        for wrong in damages {
            fs::write(&path, &wrong).unwrap();
            let pack = Pack::read(&path);
            assert!(pack.get(b"a").is_none());
            assert!(pack.damaged.is_some_and(|problem| problem.contains("is damaged: ")));
            assert!(!path.exists(), "it is said once");
        }
        assert_eq!(entries(b"\xff\xff\xff\xff\xff\xff\xff\xffa"), None);
        assert_eq!(entries(b"\x01\0\0\0\0\0\0\0k"), None, "a key without code");
    }
}
