//! A server's store: modules that were pulled and found right, each as the variant that this machine runs.
//!
//! In: a [`Source`], what is trusted, this machine. Out: installed modules, of which one version each is active. Never
//! here: a file that is half-written under its final name, the store's lock held while something is transferred, a
//! byte of code fetched before its index is trusted.
//!
//! ```text
//! store.json              the format
//! lock                    held by whoever changes what is installed or active
//! artifacts/HEX.cwasm     an artifact, mode 0444, under the digest that it was seen to have when it was written
//! installed/HEX/          a sparse OCI image layout of the index with that digest, and install.json: from where, when, on
//!                         whose word
//! active/MODULE.json      the index that runs, and those that ran before
//! counters.json           the counter of each release's name that no later pull may fall below
//! partial/HEX             a layer on its way
//! tmp/                    what is not finished, a directory for each process
//! ```
//!
//! Readers take no lock: everything they see took its name in one rename, after its bytes were on disk. Writers take it
//! for the last step alone, when all bytes are there. A process that dies at any moment leaves a store that works, and
//! what it left is removed by the next one.

mod documents;
mod error;
mod files;
mod protected;

mod pull;
mod transfer;

mod activate;
mod collect;
mod installed;

pub use collect::{Collection, Garbage, GarbageKind};
pub use documents::{Record, STORE_SCHEMA, Word};
pub use error::{Instead, StoreError};
pub use installed::{Damaged, Installed, LoadPath, OpenedArtifact};
pub use protected::Weakness;
pub use pull::{Pulled, Wanted};
pub use transfer::Progress;

use documents::{Counters, StoreDocument};
use error::is_damage;
use files::{entries, io_error, json, make_dir, read, remove, rename, sync_dir, write_new};
use isomer_contract::Digest;
use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Where the store is, unless somebody says otherwise.
pub const DEFAULT_STORE: &str = "/var/lib/isomer";

/// What the temporary directories of a store hold beside what is written there: whoever has it locked is alive.
const OWNER: &str = "owner";

/// How long whoever changes the store is waited for in silence.
const SILENT_WAIT: Duration = Duration::from_secs(3);

/// What a writer of the store works on.
const WRITTEN: [&str; 9] =
    ["", "active", "installed", "artifacts", "tmp", "partial", "lock", "store.json", "counters.json"];

/// A directory with what was pulled.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// The store in `dir`, which is there.
    ///
    /// # Errors
    /// When there is none, or one that this isomer does not know.
    pub fn open(dir: &Path) -> Result<Store, StoreError> {
        if dir.exists() && !dir.is_dir() {
            return Err(StoreError::NotAStore { dir: dir.to_owned(), found: "it is no directory".to_owned() });
        }
        let store = Store { dir: dir.to_owned() };
        let file = store.dir.join("store.json");
        let Some(found) = read::<serde_json::Value>(&file)? else {
            // Another process is making it now, or died before it was done.
            let begun = entries(dir)?.iter().all(|it| it.ends_with("lock") || it.ends_with("tmp"));
            let dir = dir.to_owned();
            return Err(if begun {
                StoreError::NoStore { dir }
            } else {
                StoreError::NotAStore { dir, found: "it has no `store.json`".to_owned() }
            });
        };
        match found.get("schema").and_then(serde_json::Value::as_u64) {
            Some(schema) if schema == u64::from(STORE_SCHEMA) => Ok(store),
            Some(found) => Err(StoreError::Schema { file, found }),
            None => Err(StoreError::Malformed { file, reason: "it has no `schema`".to_owned() }),
        }
    }

    /// The store in `dir`; a new one where there is nothing.
    ///
    /// # Errors
    /// When the directory holds other things, or others decide what is in it.
    pub fn create(dir: &Path) -> Result<Store, StoreError> {
        match Store::open(dir) {
            Ok(store) => return store.check_ours().map(|()| store),
            Err(StoreError::NoStore { .. }) => {}
            // Another process has made it in this moment.
            Err(StoreError::NotAStore { .. }) if dir.join("store.json").is_file() => return Store::create(dir),
            Err(error) => return Err(error),
        }
        let store = Store { dir: dir.to_owned() };
        if let Some(parent) = dir.parent().filter(|_| !dir.exists()) {
            DirBuilder::new().mode(0o755).recursive(true).create(parent).map_err(io_error("create", parent))?;
            make_dir(dir)?;
        }
        store.check_ours()?;
        let locked = store.lock()?;
        let file = store.dir.join("store.json");
        if !file.exists() {
            let staging = locked.stage()?;
            locked.replace(&staging, &file, &json(&StoreDocument { schema: STORE_SCHEMA }))?;
        }
        drop(locked);
        Ok(store)
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// That what says that the module with `index` is installed, and active, was said by whoever may install.
    fn check_believed(&self, module: &str, index: Digest) -> Result<(), StoreError> {
        let installed = Path::new("installed").join(index.hex());
        let record = installed.join("install.json");
        let active = Path::new("active").join(format!("{module}.json"));
        let directories = ["", "store.json", "active", "installed"].map(Path::new).into_iter();
        let foreign = self.foreign(directories.chain([&*active, &*installed, &*record]))?;
        foreign.map_or(Ok(()), |weakness| Err(StoreError::NotBelieved { dir: self.dir.clone(), weakness }))
    }

    /// Who else can change how the module with `index` is said to have come here.
    fn installed_by_others(&self, index: Digest) -> Result<Option<Weakness>, StoreError> {
        let installed = Path::new("installed").join(index.hex());
        self.foreign([&*installed, &*installed.join("install.json")].into_iter())
    }

    /// That nobody else decides what is in the store that is to be changed.
    fn check_ours(&self) -> Result<(), StoreError> {
        let foreign = self.foreign(WRITTEN.into_iter().map(Path::new))?;
        foreign.map_or(Ok(()), |weakness| Err(StoreError::NotOurs { dir: self.dir.clone(), weakness }))
    }

    /// The first weakness by which somebody else decides what is at those of `paths` that are there.
    fn foreign<'a>(&self, paths: impl Iterator<Item = &'a Path>) -> Result<Option<Weakness>, StoreError> {
        for path in paths {
            match protected::weaknesses(&self.dir, path) {
                Err((_, error)) if error.kind() == ErrorKind::NotFound => {}
                Err((file, error)) if error.kind() == ErrorKind::Other => {
                    return Err(StoreError::Malformed { file, reason: error.to_string() });
                }
                Err((path, error)) => return Err(io_error("read", &path)(error)),
                Ok(weaknesses) => match weaknesses.into_iter().find(Weakness::is_foreign) {
                    None => {}
                    found => return Ok(found),
                },
            }
        }
        Ok(None)
    }

    fn artifact_path(&self, artifact: Digest) -> PathBuf {
        self.dir.join("artifacts").join(artifact_name(artifact))
    }

    fn installed_path(&self, index: Digest) -> PathBuf {
        self.dir.join("installed").join(index.hex())
    }

    fn active_path(&self, module: &str) -> PathBuf {
        self.dir.join("active").join(format!("{module}.json"))
    }

    fn counters(&self) -> Result<Counters, StoreError> {
        Ok(read(&self.dir.join("counters.json"))?.unwrap_or_default())
    }

    /// Waits for whoever changes the store now. Held for moments.
    fn lock(&self) -> Result<Locked<'_>, StoreError> {
        self.check_ours()?;
        let path = self.dir.join("lock");
        let mut options = OpenOptions::new();
        // Who can open a file can lock it, and stop everybody else.
        options.read(true).write(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let file = options.open(&path).map_err(io_error("open", &path))?;
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

fn artifact_name(artifact: Digest) -> String {
    format!("{}.cwasm", artifact.hex())
}

/// The right to change what is installed and active.
struct Locked<'a> {
    store: &'a Store,
    _file: File,
}

impl Locked<'_> {
    /// A place for what is not finished.
    fn stage(&self) -> Result<Staging, StoreError> {
        let tmp = self.store.dir.join("tmp");
        make_dir(&tmp)?;
        let dir = tempfile::Builder::new().tempdir_in(&tmp).map_err(io_error("create a directory in", &tmp))?;
        let path = dir.path().join(OWNER);
        let owner = File::create_new(&path).map_err(io_error("create", &path))?;
        owner.lock().map_err(io_error("lock", &path))?;
        Ok(Staging { dir, _owner: owner })
    }

    /// Gives the file at `path` new content in one step.
    fn replace(&self, staging: &Staging, path: &Path, content: &[u8]) -> Result<(), StoreError> {
        let dir = path.parent().expect("a file of the store is in the store");
        make_dir(dir)?;
        let new = staging.path().join("new");
        write_new(&new, content)?;
        rename(&new, path)?;
        sync_dir(dir)
    }

    /// The temporary directories whose owners are gone.
    fn abandoned(&self) -> Result<Vec<PathBuf>, StoreError> {
        let mut abandoned = Vec::new();
        for path in entries(&self.store.dir.join("tmp"))? {
            // Directories are made, and get their owner, under the lock that is held here.
            if !is_in_use(&path.join(OWNER))? {
                abandoned.push(path);
            }
        }
        Ok(abandoned)
    }

    /// Removes what processes that are gone were not done with.
    fn sweep(&self) -> Result<(), StoreError> {
        for path in self.abandoned()? {
            remove(&path)?;
        }
        Ok(())
    }
}

/// A directory for what is not finished; it goes with this value.
struct Staging {
    dir: tempfile::TempDir,
    _owner: File,
}

impl Staging {
    fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Whether a process that is alive has the file at `path` locked. What is no regular file nobody has.
fn is_in_use(path: &Path) -> Result<bool, StoreError> {
    let mut options = OpenOptions::new();
    match options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path) {
        Ok(file) => {
            let there = file.metadata().map_err(io_error("read", path))?;
            Ok(there.is_file() && file.try_lock().is_err())
        }
        Err(error) if is_damage(&error) => Ok(false),
        Err(error) => Err(io_error("read", path)(error)),
    }
}
