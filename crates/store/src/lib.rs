//! A server's store: modules that were pulled and verified, each as the variant that this machine runs.
//!
//! In: a [`Source`](isomer_layout::Source), what is trusted, this machine. Out: installed modules, of which one version
//! each is active. Never here: a file that is half-written under its final name, the store's lock held while something is
//! transferred, a byte of code fetched before its index is trusted.
//!
//! ```text
//! store.json              the format
//! lock                    held by the process that changes what is installed or active
//! artifacts/HEX.cwasm     an artifact, mode 0444, named by its digest, which was computed while it was written
//! installed/HEX/          a sparse OCI image layout of the index with that digest, and install.json: from where, when, on
//!                         which trust basis
//! active/MODULE.json      the index that runs, and those that ran before
//! counters.json           for each key and module, the counter that no later release may fall below
//! partial/HEX             a layer that is being fetched
//! tmp/                    unfinished files, in a directory for each process
//! ```
//!
//! Readers take no lock: everything they see took its name in one rename, after its bytes were on disk. Writers take it
//! for the last step alone, when all bytes are on disk. A process that dies at any moment leaves a store that works, and
//! what it left is removed by the next one.
//!
//! A store is opened once: each part of it is judged by the descriptor that it is then read by, and no path is resolved
//! twice. What another user could have written counts for nothing, and what cannot be judged counts as such. An artifact
//! is mapped without being hashed only where this machine has a record, outside of every store, that root hashed that
//! very file; `SECURITY.md` in the repository says what is promised.
//!
//! ```
//! # fn main() -> Result<(), isomer_store::StoreError> {
//! # let directory = tempfile::tempdir().expect("there is room");
//! # let directory = directory.path().join("store");
//! use isomer_store::{Check, Store};
//!
//! let store = Store::create(&directory)?;
//! let (installed, damaged) = store.installed()?;
//! for module in &installed {
//!     module.check(Check::Bytes)?;
//! }
//! assert!(damaged.is_empty());
//!
//! let error = store.find("resize").expect_err("nothing is installed yet");
//! assert!(error.to_string().starts_with("`resize` is not installed in"));
//! # Ok(())
//! # }
//! ```

#![warn(clippy::missing_errors_doc)]
#![cfg_attr(
    not(test),
    deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::print_stderr, clippy::print_stdout)
)]

mod documents;
mod error;

mod directory;
mod files;
mod mounts;
mod proc;
mod server;
mod weakness;

mod pull;
mod transfer;

mod activate;
mod collect;
mod counters;
mod installed;

mod artifact;
mod hashed;
mod live;

pub use artifact::{LoadPath, OpenedArtifact};
pub use collect::{Collection, Garbage, GarbageKind};
pub use counters::{CounterRepair, RememberedCounter};
pub use documents::{Record, STORE_SCHEMA, TrustBasis};
pub use error::{Instead, StoreError};
pub use installed::{Check, Damaged, Installed};
pub use live::Live;
pub use pull::{Pulled, Wanted};
pub use transfer::Progress;
pub use weakness::Weakness;

use directory::{Directory, OpenFile, Walked};
use documents::StoreDocument;
use error::{io_error, unless_damaged};
use files::{Judged, json};
use isomer_contract::Digest;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions, TryLockError};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use weakness::Judgement;

/// The directory of the store where no other is named.
pub const DEFAULT_STORE: &str = "/var/lib/isomer";

/// The file in each temporary directory that its process keeps locked while it is alive.
const OWNER: &str = "owner";

/// How long the store's lock is waited for without a message.
const SILENT_WAIT: Duration = Duration::from_secs(3);

/// The names in a store that its writers change.
const WRITTEN: [&str; 8] =
    ["active", "installed", "artifacts", "tmp", "partial", "lock", "store.json", "counters.json"];

/// An open directory with installed modules. What its path leads to later does not matter.
#[derive(Clone, Debug)]
pub struct Store {
    root: Arc<Directory>,
    /// By which weakness another user could have written `store.json`.
    foreign: Option<Weakness>,
}

impl Store {
    /// The store in `dir`, which exists.
    ///
    /// # Errors
    /// When it holds no store, or one of an unknown schema.
    pub fn open(dir: &Path) -> Result<Store, StoreError> {
        let Walked { directory, missing } = Directory::walk(dir)?;
        if !missing.is_empty() {
            return Err(StoreError::NoStore { dir: dir.to_owned() });
        }
        Store::of(directory)
    }

    fn of(root: Directory) -> Result<Store, StoreError> {
        let mut found = root.read::<serde_json::Value>("store.json")?;
        if found.is_none() {
            let names = root.names()?;
            if names.iter().all(|name| name == "lock" || name == "tmp") {
                // Another process is creating it now, or ended before it was finished.
                return Err(StoreError::NoStore { dir: root.path().to_owned() });
            }
            // Another process may have created it since.
            found = root.read("store.json")?;
        }
        let Some(Judged { value, foreign }) = found else {
            let found = "it has no `store.json`".to_owned();
            return Err(StoreError::NotAStore { dir: root.path().to_owned(), found });
        };
        let file = root.path_of("store.json");
        match value.get("schema").and_then(serde_json::Value::as_u64) {
            Some(schema) if schema == u64::from(STORE_SCHEMA) => Ok(Store { root: Arc::new(root), foreign }),
            Some(found) => Err(StoreError::Schema { file, found }),
            None => Err(StoreError::Malformed { file, reason: "it has no `schema`".to_owned() }),
        }
    }

    /// The store in `dir`, which is created if the directory is empty or does not exist.
    ///
    /// # Errors
    /// When the directory holds other things, or another user can change it.
    pub fn create(dir: &Path) -> Result<Store, StoreError> {
        match Store::open(dir) {
            Ok(store) => return store.check_ours().map(|()| store),
            Err(StoreError::NoStore { .. }) => {}
            Err(error) => return Err(error),
        }
        let Walked { directory: mut root, missing } = Directory::walk(dir)?;
        for name in missing {
            check_ours(dir, root.judgement())?;
            root = root.make_directory(name)?;
        }
        let new = Store { root: Arc::new(root.called(dir)), foreign: None };
        let locked = new.lock()?;
        if new.root.stat("store.json")?.is_none() {
            let staging = locked.stage()?;
            locked.replace(&staging, &new.root, "store.json", &json(&StoreDocument { schema: STORE_SCHEMA }))?;
        }
        drop(locked);
        Ok(new)
    }

    /// Its directory, as messages name it.
    pub fn dir(&self) -> &Path {
        self.root.path()
    }

    /// The directories of the store in `dir` that change whenever a version becomes active, or the store is replaced. They
    /// need not exist.
    pub fn directories_of_active(dir: &Path) -> [PathBuf; 2] {
        [dir.to_owned(), dir.join("active")]
    }

    /// Checks, before a change, that no other user can change the store.
    fn check_ours(&self) -> Result<(), StoreError> {
        check_ours(self.dir(), self.root.judgement())?;
        for name in WRITTEN {
            if let Some(judgement) = self.root.judge(name)? {
                check_ours(self.dir(), &judgement)?;
            }
        }
        Ok(())
    }

    /// A directory of the store that is to be changed, created if it does not exist.
    fn part_to_write(&self, name: &str) -> Result<Directory, StoreError> {
        let part = self.root.make_directory(name)?;
        check_ours(self.dir(), part.judgement()).map(|()| part)
    }

    /// The names in a directory of the store; none where it does not exist.
    fn names_in(&self, part: &str) -> Result<Vec<OsString>, StoreError> {
        self.root.directory(part)?.map_or(Ok(Vec::new()), |part| part.names())
    }

    fn artifact_path(&self, artifact: Digest) -> PathBuf {
        self.dir().join("artifacts").join(artifact_name(artifact))
    }

    fn installed_path(&self, index: Digest) -> PathBuf {
        self.dir().join("installed").join(index.hex())
    }

    fn active_path(&self, module: &str) -> PathBuf {
        self.dir().join("active").join(active_name(module))
    }

    /// Takes the store's lock, after the process that has it. It is held for moments.
    fn lock(&self) -> Result<Locked<'_>, StoreError> {
        self.check_ours()?;
        let path = self.dir().join("lock");
        let OpenFile { file, judgement, .. } = self.root.file_to_write("lock")?;
        check_ours(self.dir(), &judgement)?;
        // Every process that can open the file can lock it, and so stop all others.
        file.set_permissions(Permissions::from_mode(0o600)).map_err(io_error("open", &path))?;
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Locked { store: self, _file: file }),
                Err(TryLockError::Error(error)) => return Err(io_error("lock", &path)(error)),
                Err(TryLockError::WouldBlock) if start.elapsed() < SILENT_WAIT => {
                    thread::sleep(Duration::from_millis(5));
                }
                Err(TryLockError::WouldBlock) => break,
            }
        }
        tracing::warn!("waiting for another isomer-run on `{}`", path.display());
        file.lock().map_err(io_error("lock", &path))?;
        Ok(Locked { store: self, _file: file })
    }
}

fn check_ours(dir: &Path, judgement: &Judgement) -> Result<(), StoreError> {
    match judgement.foreign() {
        None => Ok(()),
        Some(weakness) => Err(StoreError::NotOurs { dir: dir.to_owned(), weakness: weakness.clone() }),
    }
}

fn artifact_name(artifact: Digest) -> String {
    format!("{}.cwasm", artifact.hex())
}

fn active_name(module: &str) -> String {
    format!("{module}.json")
}

/// The right to change what is installed and active.
struct Locked<'a> {
    store: &'a Store,
    _file: File,
}

impl Locked<'_> {
    /// A directory for unfinished files.
    fn stage(&self) -> Result<Staging, StoreError> {
        let tmp = self.store.part_to_write("tmp")?;
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        for number in 0_u128.. {
            let name = format!(".tmp{:x}_{:x}", std::process::id(), started + number);
            let Some(dir) = tmp.new_directory(&name)? else { continue };
            let owner = dir.new_file(OWNER).and_then(|owner| {
                owner.lock().map_err(io_error("lock", &dir.path_of(OWNER)))?;
                Ok(owner)
            });
            return match owner {
                Ok(owner) => Ok(Staging { dir, tmp, name, _owner: owner }),
                Err(error) => tmp.remove(&name).and(Err(error)),
            };
        }
        unreachable!("a directory has fewer names")
    }

    /// Replaces the content of the file `name` in `dir` in one step.
    fn replace(&self, staging: &Staging, dir: &Directory, name: &str, content: &[u8]) -> Result<(), StoreError> {
        staging.dir.write_new("new", content)?;
        staging.dir.rename("new", dir, name)?;
        dir.sync()
    }

    /// The names of the temporary directories whose processes have ended.
    fn abandoned(&self) -> Result<Vec<OsString>, StoreError> {
        let Some(tmp) = self.store.root.directory("tmp")? else { return Ok(Vec::new()) };
        let mut abandoned = Vec::new();
        for name in tmp.names()? {
            // Directories are created, and their owner files locked, under the lock that is held here.
            let in_use = match unless_damaged(tmp.directory(&name))?.flatten() {
                Some(dir) => is_in_use(&dir, OWNER.as_ref())?,
                None => false,
            };
            if !in_use {
                abandoned.push(name);
            }
        }
        Ok(abandoned)
    }

    /// Removes the unfinished files of processes that have ended.
    fn sweep(&self) -> Result<(), StoreError> {
        let abandoned = self.abandoned()?;
        if !abandoned.is_empty() {
            let tmp = self.store.part_to_write("tmp")?;
            abandoned.iter().try_for_each(|name| tmp.remove(name))?;
        }
        Ok(())
    }
}

/// A directory for unfinished files, removed when this value is dropped.
struct Staging {
    dir: Directory,
    tmp: Directory,
    name: String,
    _owner: File,
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What cannot be removed, the next process removes.
        let _ = self.dir.clear().and_then(|()| self.tmp.remove(&self.name));
    }
}

/// Whether a living process has the file `name` in `dir` locked. False for anything but a regular file.
fn is_in_use(dir: &Directory, name: &OsStr) -> Result<bool, StoreError> {
    let opened = unless_damaged(dir.file(name))?.flatten();
    Ok(opened.is_some_and(|opened| opened.file.try_lock().is_err()))
}
