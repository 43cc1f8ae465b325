//! In: how many earlier versions of each module to keep. Out: what else was there, removed. Never here: an active version
//! removed, one that was pulled after it, or what another process is at work on.

use super::documents::Active;
use super::error::{StoreError, unless_damaged};
use super::files::{entries, io_error, read, remove, rename, sync_dir};
use super::{Installed, Locked, Store, is_in_use};
use isomer_contract::Digest;
use isomer_layout::Module;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What is to be removed from a store, beside what interrupted commands left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collection {
    /// How many versions of each module stay beside the active one.
    pub keep: usize,
    /// Whether what is damaged goes, active or not: none of it can run.
    pub damaged: bool,
    /// Whether nothing is removed after all.
    pub dry_run: bool,
}

/// Something that a store does not need any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Garbage {
    /// What it is.
    pub kind: GarbageKind,
    /// Its path, with which it can be told from others.
    pub path: PathBuf,
    /// How many bytes its files have.
    pub size_bytes: u64,
}

/// What something is that a store does not need any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GarbageKind {
    /// A module, installed in a version that is neither active nor to be kept.
    Module {
        /// Its name and version.
        reference: String,
        /// The digest of its index.
        index: Digest,
    },
    /// An installed module of which something does not parse, or is gone.
    Damaged {
        /// The digest of its index.
        index: Digest,
    },
    /// An artifact that no installed module names.
    Artifact,
    /// What a process that is gone was not done with.
    Unfinished,
}

impl GarbageKind {
    fn is_installed(&self) -> bool {
        matches!(self, GarbageKind::Module { .. } | GarbageKind::Damaged { .. })
    }
}

impl Store {
    /// Removes everything but, for each module, its active version, the `keep` latest before that, and what was pulled
    /// after it and may be activated yet; where no version is active, the `keep` latest, and one at least. What is
    /// damaged stays, with all that it may need and the other versions of its module, unless it is to go.
    ///
    /// # Errors
    /// When nobody can tell what is to stay: nothing is removed then.
    pub fn collect(&self, collection: Collection) -> Result<Vec<Garbage>, StoreError> {
        let locked = self.lock()?;
        let (mut garbage, mut needed, mut freed) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        let (all, mut damaged) = self.installed()?;
        for versions in all.chunk_by(|a, b| a.module().name == b.module().name) {
            let kept = self.kept(versions, collection.keep)?;
            let (kept, others): (Vec<_>, Vec<_>) = versions.iter().partition(|it| kept.contains(&it.module().digest));
            let before = damaged.len();
            for installed in kept {
                match installed.whole() {
                    Ok(variants) => needed.extend(variants.iter().map(|it| it.config.artifact.digest.hex())),
                    Err(error @ StoreError::Damaged { .. }) => damaged.push((installed.module().digest, error)),
                    Err(error) => return Err(error),
                }
            }
            for Module { reference, digest: index, .. } in others.into_iter().map(Installed::module) {
                let (reference, index, path) = (reference.clone(), *index, self.installed_path(*index));
                if damaged.len() > before && !collection.damaged {
                    // One of them may be the way back from what is damaged.
                    needed.extend(self.named(index)?);
                } else {
                    freed.extend(self.named(index)?);
                    garbage.push(self.garbage(GarbageKind::Module { reference, index }, path)?);
                }
            }
        }
        // What is damaged and stays may need what it does not name any more.
        let all_known = damaged.is_empty() || collection.damaged;
        for (index, error) in damaged {
            if collection.damaged {
                garbage.push(self.garbage(GarbageKind::Damaged { index }, self.installed_path(index))?);
            } else {
                tracing::warn!("{error}; it stays: pull it again, or remove it with `isomer-run gc --damaged`");
                needed.extend(self.named(index)?);
            }
        }
        for path in entries(&self.dir.join("artifacts"))? {
            let named = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".cwasm"));
            if named.is_some_and(|hex| is_digest(hex) && !needed.contains(hex) && (all_known || freed.contains(hex))) {
                garbage.push(self.garbage(GarbageKind::Artifact, path)?);
            }
        }
        for path in locked.unfinished()? {
            garbage.push(self.garbage(GarbageKind::Unfinished, path)?);
        }
        if !collection.dry_run {
            locked.remove(&garbage)?;
        }
        Ok(garbage)
    }

    /// The indexes to keep of the versions of one module.
    fn kept(&self, versions: &[Installed], keep: usize) -> Result<BTreeSet<Digest>, StoreError> {
        let mut by_time: Vec<_> = versions.iter().map(|it| (it.pulled_at(), it.module().digest)).collect();
        by_time.sort_by(|a, b| b.cmp(a));
        let installed = |index: &Digest| by_time.iter().any(|(_, it)| it == index);
        let active = match versions.first() {
            Some(first) => self.believed_active(&first.module().name)?.filter(|active| installed(&active.index)),
            None => None,
        };
        let Some(Active { index: active, earlier }) = active else {
            return Ok(by_time.iter().take(keep.max(1)).map(|(_, index)| *index).collect());
        };
        let since = by_time.iter().find(|(_, index)| *index == active).map(|(at, _)| *at);
        // Those that were active before in that order, then those that never were.
        let mut before: Vec<_> = earlier.into_iter().filter(installed).collect();
        let later: Vec<_> = by_time.iter().filter(|(at, index)| Some(*at) > since && !before.contains(index)).collect();
        let mut kept: BTreeSet<_> = later.iter().map(|(_, index)| *index).collect();
        let rest = by_time.iter().map(|(_, index)| *index);
        let rest: Vec<_> =
            rest.filter(|index| *index != active && !kept.contains(index) && !before.contains(index)).collect();
        before.extend(rest);
        kept.insert(active);
        kept.extend(before.into_iter().take(keep));
        Ok(kept)
    }

    /// The artifacts, in hexadecimal, that the documents of an installed index name, as far as they can still be read.
    fn named(&self, index: Digest) -> Result<Vec<String>, StoreError> {
        let blobs = self.installed_path(index).join("blobs").join("sha256");
        let mut named = Vec::new();
        for path in unless_damaged(entries(&blobs))?.unwrap_or_default() {
            let document: Option<Value> = unless_damaged(read(&path))?.flatten();
            let artifact = document.as_ref().and_then(|it| it["artifact"]["digest"].as_str()?.strip_prefix("sha256:"));
            named.extend(artifact.map(str::to_owned));
        }
        Ok(named)
    }

    fn garbage(&self, kind: GarbageKind, path: PathBuf) -> Result<Garbage, StoreError> {
        Ok(Garbage { kind, size_bytes: size_bytes(&path)?, path })
    }
}

impl Locked<'_> {
    /// What processes that are gone were not done with: temporary directories, and layers that were on their way.
    fn unfinished(&self) -> Result<Vec<PathBuf>, StoreError> {
        let mut unfinished = self.abandoned()?;
        for path in entries(&self.store.dir.join("partial"))? {
            // Whoever opened it a moment ago finds that it is gone, and makes it again.
            if !is_in_use(&path)? {
                unfinished.push(path);
            }
        }
        Ok(unfinished)
    }

    /// A module goes in one rename, before the artifacts that it names.
    fn remove(&self, garbage: &[Garbage]) -> Result<(), StoreError> {
        let staging = self.stage()?;
        for (number, Garbage { kind, path, .. }) in garbage.iter().enumerate() {
            if kind.is_installed() {
                rename(path, &staging.path().join(number.to_string()))?;
            }
        }
        for dir in ["installed", "artifacts"] {
            let dir = self.store.dir.join(dir);
            if dir.exists() {
                sync_dir(&dir)?;
            }
        }
        for Garbage { kind, path, .. } in garbage {
            if !kind.is_installed() {
                remove(path)?;
            }
        }
        Ok(())
    }
}

fn is_digest(hex: &str) -> bool {
    format!("sha256:{hex}").parse::<Digest>().is_ok()
}

/// The sizes of all files at or below `path`, together.
fn size_bytes(path: &Path) -> Result<u64, StoreError> {
    let there = path.symlink_metadata().map_err(io_error("read", path))?;
    if !there.is_dir() {
        return Ok(there.len());
    }
    entries(path)?.iter().try_fold(0, |sum, path| Ok(sum + size_bytes(path)?))
}
