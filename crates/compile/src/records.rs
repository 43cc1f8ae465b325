//! What this user released from this machine. In: the digest of a module's index, as a release names it. Out: who made
//! each artifact that the index leads to, if this user's key sealed a record of it. Never here: trust in a directory. The
//! index names every byte below it by digest, so a record holds for the module wherever it is copied or moved.
//!
//! ```text
//! DIR/seal.key            the key (`seal`)
//! DIR/releases/HEX.json   the digest of a module's index → a Record, sealed
//! ```
//! A record is some hundred bytes. The oldest go when there are too many: then the module is compiled again, or taken
//! from the cache.

use crate::maker::Maker;
use crate::seal::{Purpose, SealError, SealKey, Sealed, own_directory};
use isomer_contract::{Digest, canonical_json};
use isomer_file::directory::Directory;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How many records are kept.
const COUNT_MAX: usize = 20_000;
/// The largest record that is read: each artifact of a module may have a maker of its own.
const SIZE_BYTES_MAX: u64 = 16 << 20;

/// Who made the artifacts of a released module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Record {
    /// The jobs that a remote did, each with that remote. All others were done locally.
    pub remote: BTreeMap<Digest, Maker>,
}

impl Record {
    /// Who did this job of the module.
    pub fn maker(&self, job: Digest) -> Maker {
        self.remote.get(&job).cloned().unwrap_or(Maker::Local)
    }

    /// The remotes among the makers.
    pub fn makers(&self) -> BTreeSet<&Maker> {
        self.remote.values().collect()
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Content {
    module: Digest,
    record: Record,
}

/// The records in a user's state directory.
#[derive(Debug)]
pub struct Records {
    dir: PathBuf,
    key: Arc<SealKey>,
}

impl Records {
    /// The records in the state directory `dir`, with the key that seals them. Both are made when they do not exist.
    ///
    /// # Errors
    /// Those of [`SealKey::open`].
    pub fn open(dir: &Path) -> Result<Records, SealError> {
        let key = Arc::new(SealKey::open(dir)?);
        Ok(Records { dir: dir.join("releases"), key })
    }

    /// The user's key.
    pub fn key(&self) -> Arc<SealKey> {
        self.key.clone()
    }

    fn path(&self, module: Digest) -> PathBuf {
        self.dir.join(format!("{}.json", module.hex()))
    }

    /// What is known of the module whose index has this digest, if this user released it.
    pub fn find(&self, module: Digest) -> Option<Record> {
        let text = isomer_file::read(&self.path(module), SIZE_BYTES_MAX).ok()?;
        let sealed: Sealed<Content> = serde_json::from_slice(&text).ok()?;
        let content = self.key.unseal(Purpose::ReleasedModule, sealed).ok()?;
        (content.module == module).then_some(content.record)
    }

    /// Records who made the module whose index has this digest.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn put(&self, module: Digest, record: Record) -> Result<(), SealError> {
        let path = self.path(module);
        let io = |source| SealError::Io { action: "write", path: path.clone(), source };
        let directory = own_directory(&self.dir)?;
        let sealed = self.key.seal(Purpose::ReleasedModule, Content { module, record });
        let mut file = directory.new_file(".tmp-", 0o600).map_err(io)?;
        file.write_all(canonical_json(&sealed).as_bytes()).map_err(io)?;
        file.rename(&directory, path.file_name().unwrap_or_default()).map_err(io)?;
        prune(&directory, COUNT_MAX).map_err(io)
    }
}

/// Leaves at most `count_max` records in `directory`, the newest.
fn prune(directory: &Directory, count_max: usize) -> io::Result<()> {
    let names = directory.names()?;
    if names.len() <= count_max {
        return Ok(());
    }
    let modified = |name: &OsString| directory.stat_of(name).ok().flatten().map(|it| (it.st_mtime, it.st_mtime_nsec));
    let mut files: Vec<_> = names.iter().map(|name| (modified(name), name)).collect();
    files.sort();
    // A tenth more, so that not every release has to look at all of them.
    for (_, name) in files.iter().take(names.len() - count_max + count_max / 10) {
        match directory.remove_file(name) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::SystemTime;

    fn record(url: &str) -> Record {
        let maker = Maker::RemoteCache { url: url.to_owned() };
        Record { remote: [(Digest::of(b"job"), maker)].into() }
    }

    #[test]
    fn a_module_is_known_by_its_own_digest_and_to_its_own_user() {
        let directory = tempfile::tempdir().unwrap();
        let records = Records::open(&directory.path().join("mine")).unwrap();
        let (module, other) = (Digest::of(b"module"), Digest::of(b"other"));
        assert_eq!(records.find(module), None);
        records.put(module, record("grpc://a")).unwrap();
        let found = records.find(module).unwrap();
        assert_eq!(found, record("grpc://a"));
        assert_eq!(found.maker(Digest::of(b"job")).remote(), Some("grpc://a"));
        assert_eq!(found.maker(Digest::of(b"another job")), Maker::Local);
        // Under another name, in another user's state directory, or with one byte changed it is nothing.
        fs::copy(records.path(module), records.path(other)).unwrap();
        assert_eq!(records.find(other), None);
        let theirs = Records::open(&directory.path().join("theirs")).unwrap();
        fs::create_dir(&theirs.dir).unwrap();
        fs::copy(records.path(module), theirs.path(module)).unwrap();
        assert_eq!(theirs.find(module), None);
        let text = fs::read_to_string(records.path(module)).unwrap();
        fs::write(records.path(module), text.replace("grpc://a", "grpc://b")).unwrap();
        assert_eq!(records.find(module), None);
        records.put(module, Record::default()).unwrap();
        assert_eq!(records.find(module), Some(Record::default()));
    }

    #[test]
    fn the_oldest_go() {
        let directory = tempfile::tempdir().unwrap();
        let records = Records::open(directory.path()).unwrap();
        let modules: Vec<_> = (0..20_u8).map(|n| Digest::of(&[n])).collect();
        for (age, module) in modules.iter().rev().enumerate() {
            records.put(*module, Record::default()).unwrap();
            let time = SystemTime::now() - std::time::Duration::from_secs(age as u64);
            fs::File::options().append(true).open(records.path(*module)).unwrap().set_modified(time).unwrap();
        }
        prune(&Directory::open(&records.dir).unwrap(), 20).unwrap();
        assert!(modules.iter().all(|module| records.find(*module).is_some()));
        prune(&Directory::open(&records.dir).unwrap(), 10).unwrap();
        let left: Vec<_> = modules.iter().filter(|module| records.find(**module).is_some()).collect();
        assert_eq!(left, modules[11..].iter().collect::<Vec<_>>());
    }
}
