//! How much a cache holds, and what of it goes. In: a limit. Out: a cache within it, without what was used longest ago.
//! Any process may read and write meanwhile: one that misses a file makes it again.

use super::ownership::own_directory;
use super::{Action, Cache, CacheError, read_if_there, remove};
use crate::maker::Maker;
use crate::seal::Sealed;
use isomer_contract::Size;
use isomer_file::directory::Directory;
use rustix::fs::FileType;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What the names of files begin with that are not finished.
pub(super) const TEMPORARY: &str = ".tmp-";
/// What is younger may be about to be named by an action, or is being written.
const GRACE: Duration = Duration::from_secs(3600);

/// What a cache holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Jobs.
    pub jobs: u64,
    /// All files, in bytes.
    pub size_bytes: u64,
}

/// What a collection did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// What is left.
    pub left: Usage,
    /// What was removed.
    pub removed: Usage,
}

struct Found {
    path: PathBuf,
    size_bytes: u64,
    used: SystemTime,
}

impl Cache {
    /// What it holds.
    ///
    /// # Errors
    /// When a directory of the cache cannot be read, or another user can write it.
    pub fn usage(&self) -> Result<Usage, CacheError> {
        let mut usage = Usage::default();
        for name in ["actions", "artifacts", "functions", "profiles"] {
            for file in self.files(name)? {
                usage.size_bytes += file.size_bytes;
                usage.jobs += u64::from(name == "actions");
            }
        }
        Ok(usage)
    }

    /// Removes the longest unused until no more than `size_max` is left. Profiles are small and stay, unless that is 0.
    ///
    /// # Errors
    /// As [`Cache::usage`], and when a file cannot be removed.
    pub fn collect(&self, size_max: Size) -> Result<Collected, CacheError> {
        let now = SystemTime::now();
        let old = |file: &Found| now.duration_since(file.used).is_ok_and(|age| age > GRACE);
        let mut removed = Usage::default();
        let mut artifacts = BTreeMap::new();
        for file in self.files("artifacts")? {
            artifacts.insert(file.path.clone(), (file, 0_u32));
        }
        let mut actions = Vec::new();
        for file in self.files("actions")? {
            let artifact = declared(&file).map(|action| self.artifact(&action.entry));
            if let Some((_, users)) = artifact.as_ref().and_then(|path| artifacts.get_mut(path)) {
                *users += 1;
            }
            actions.push((file, artifact));
        }
        // What is gone is compiled again.
        for file in self.files("functions")? {
            actions.push((file, None));
        }
        // What a killed process left, and what no job names.
        for (file, _) in artifacts.values().filter(|(file, users)| *users == 0 && old(file)) {
            remove_file(file, &mut removed)?;
        }
        artifacts.retain(|path, _| path.exists());
        let sizes = actions.iter().map(|(file, _)| file.size_bytes);
        let mut size_bytes: u64 = sizes.chain(artifacts.values().map(|(file, _)| file.size_bytes)).sum();
        actions.sort_by_key(|(file, _)| file.used);
        for (file, artifact) in actions {
            if size_bytes <= size_max.0 {
                break;
            }
            remove_file(&file, &mut removed)?;
            removed.jobs += u64::from(file.path.starts_with(self.path_of("actions")));
            size_bytes -= file.size_bytes;
            let Some((file, users)) = artifact.and_then(|path| artifacts.get_mut(&path)) else { continue };
            *users -= 1;
            if *users == 0 {
                remove_file(file, &mut removed)?;
                size_bytes -= file.size_bytes;
            }
        }
        if size_max == Size(0) {
            self.files("profiles")?.iter().try_for_each(|file| remove_file(file, &mut removed))?;
        }
        Ok(Collected { left: self.usage()?, removed })
    }

    /// How many jobs each remote did, as the entries declare. They are not checked: for a person who asks what is there.
    ///
    /// # Errors
    /// As [`Cache::usage`].
    pub fn remotes(&self) -> Result<BTreeMap<Maker, u64>, CacheError> {
        let mut remotes = BTreeMap::new();
        for action in self.files("actions")?.iter().filter_map(declared) {
            if action.maker != Maker::Local {
                *remotes.entry(action.maker).or_default() += 1;
            }
        }
        Ok(remotes)
    }

    /// Collects if anything was written through this very value.
    ///
    /// # Errors
    /// As [`Cache::collect`].
    pub fn collect_if_grown(&self, size_max: Size) -> Result<(), CacheError> {
        if self.grown.load(Ordering::Relaxed) && self.usage()?.size_bytes > size_max.0 {
            self.collect(size_max)?;
        }
        Ok(())
    }

    fn files(&self, name: &str) -> Result<Vec<Found>, CacheError> {
        let path = self.path_of(name);
        let directory = own_directory(&path, &self.dir)?;
        let names = directory.names().map_err(|source| CacheError::Io { action: "read", path, source })?;
        Ok(names.iter().filter_map(|name| found(&directory, name)).collect())
    }
}

/// A file that is there still.
fn found(directory: &Directory, name: &OsStr) -> Option<Found> {
    let there = directory.stat_of(name).ok()??;
    let is_file = FileType::from_raw_mode(there.st_mode) == FileType::RegularFile;
    let since = Duration::new(u64::try_from(there.st_mtime).ok()?, u32::try_from(there.st_mtime_nsec).ok()?);
    let (size_bytes, used) = (u64::try_from(there.st_size).ok()?, UNIX_EPOCH.checked_add(since)?);
    is_file.then(|| Found { path: directory.path().join(name), size_bytes, used })
}

/// The action that a file declares. Its seal is not checked.
fn declared(file: &Found) -> Option<Action> {
    let text = read_if_there(&file.path).ok()??;
    Some(serde_json::from_slice::<Sealed<Action>>(&text).ok()?.content)
}

fn remove_file(file: &Found, removed: &mut Usage) -> Result<(), CacheError> {
    match remove(&file.path) {
        Ok(()) => {
            removed.size_bytes += file.size_bytes;
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(source) => Err(CacheError::Io { action: "remove", path: file.path.clone(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::pack_entry;
    use super::*;
    use crate::seal::SealKey;
    use isomer_contract::Digest;
    use std::fs::{self, File};
    use std::path::Path;
    use std::sync::Arc;

    fn age(path: &Path, seconds: u64) {
        let time = SystemTime::now() - Duration::from_secs(seconds);
        File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn the_longest_unused_goes_first_and_shared_artifacts_last() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(&directory.path().join("cache"), Arc::new(SealKey::ephemeral())).unwrap();
        let job = |name: &str| Digest::of(name.as_bytes());
        let put = |name: &str, artifact: &[u8], seconds| {
            let (entry, layer) = pack_entry(artifact, job("code")).unwrap();
            cache.put(job(name), &entry, &Maker::Local, &layer).unwrap();
            age(&cache.action(job(name)), seconds);
        };
        let noise: Vec<u8> = (0..100_000_u64)
            .flat_map(|n| n.wrapping_mul(n).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
            .collect();
        put("oldest", &noise[..200_000], 300);
        put("old, same artifact as the oldest", &noise[..200_000], 200);
        put("new", &noise[200_000..400_000], 100);
        let before = cache.usage().unwrap();
        assert_eq!(before.jobs, 3);
        assert_eq!(cache.collect(Size(before.size_bytes)).unwrap().removed, Usage::default());

        // Only the one that was used now is left.
        assert!(cache.find(job("oldest")).unwrap().is_some());
        let half = cache.collect(Size(before.size_bytes * 2 / 3)).unwrap();
        assert_eq!(half.removed.jobs, 2, "{half:?}");
        assert!(cache.find(job("oldest")).unwrap().is_some(), "its artifact was shared with one that went");
        assert!(cache.find(job("new")).unwrap().is_none());

        // What no entry names goes, unless it is so young that one may be about to.
        let stray = cache.path_of("artifacts").join(format!("{TEMPORARY}stray"));
        fs::write(&stray, "x").unwrap();
        cache.collect(Size(u64::MAX)).unwrap();
        assert!(stray.exists());
        age(&stray, 7200);
        cache.collect(Size(u64::MAX)).unwrap();
        assert!(!stray.exists());
        cache.put_profile(&isomer_contract::Profile::shipped("z15").unwrap().effective()).unwrap();
        assert!(cache.collect(Size(1)).unwrap().left.size_bytes > 0);
        assert_eq!(cache.collect(Size(0)).unwrap().left, Usage { jobs: 0, size_bytes: 0 });
    }
}
