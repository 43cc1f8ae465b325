//! In: how many earlier versions of each module to keep. Out: what else was there, removed. Never here: an active version
//! removed, one that was pulled after it, or what another process is using or has live.

use crate::directory::Directory;
use crate::documents::Active;
use crate::error::unless_damaged;
use crate::files::is_directory;
use crate::{Check, Installed, Locked, Store, StoreError, hashed, is_in_use};
use isomer_contract::{Digest, one_line};
use isomer_layout::Module;
use serde_json::Value;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// What is to be removed from a store, beside what interrupted commands left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collection {
    /// How many versions of each module stay beside the active one.
    pub keep: usize,
    /// Whether damaged modules are removed, active or not: none of them can run. Every byte of each artifact is hashed for that.
    pub damaged: bool,
    /// Whether nothing is removed after all.
    pub dry_run: bool,
}

/// Something that a store no longer needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Garbage {
    /// What it is.
    pub kind: GarbageKind,
    /// Its path.
    pub path: PathBuf,
    /// The sum of its files' sizes.
    pub size_bytes: u64,
}

/// The kind of something that a store no longer needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GarbageKind {
    /// A module, installed in a version that is neither active nor to be kept.
    Module {
        /// Its name and version.
        reference: String,
        /// The digest of its index.
        index: Digest,
    },
    /// An installed module of which something is malformed, has a wrong digest, or is missing.
    Damaged {
        /// The digest of its index.
        index: Digest,
    },
    /// An artifact that no installed module names.
    Artifact,
    /// An unfinished file of a process that has ended.
    Unfinished,
}

/// Some garbage, as the name of something in a directory of the store.
struct Item {
    garbage: Garbage,
    part: &'static str,
    name: OsString,
}

impl Store {
    /// Removes everything but, for each module, its active version, the `keep` latest before that, and what was pulled
    /// after it and may be activated yet; where no version is active, the `keep` latest, and one at least. What a running
    /// server has live stays as well ([`Installed::mark_live`]), also where it is damaged. What else is damaged stays, with all
    /// that it may need and the other versions of its module, unless it is to go.
    ///
    /// # Errors
    /// When what is to stay cannot be determined: nothing is removed then.
    pub fn collect(&self, collection: Collection) -> Result<Vec<Garbage>, StoreError> {
        let locked = self.lock()?;
        let (mut items, mut needed, mut freed) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        let check = if collection.damaged { Check::Bytes } else { Check::Sizes };
        let (all, mut damaged) = self.installed()?;
        for versions in all.chunk_by(|a, b| a.module().name == b.module().name) {
            let mut kept = self.kept(versions, collection.keep)?;
            for index in versions.iter().map(|it| it.module().digest) {
                if !kept.contains(&index) && self.is_live(index)? {
                    kept.insert(index);
                }
            }
            let (kept, others): (Vec<_>, Vec<_>) = versions.iter().partition(|it| kept.contains(&it.module().digest));
            let before = damaged.len();
            for installed in kept {
                match installed.check(check) {
                    Ok(variants) => needed.extend(variants.iter().map(|it| it.config.artifact.digest.hex())),
                    Err(error @ StoreError::Damaged { .. }) => damaged.push((installed.module().digest, error)),
                    Err(error) => return Err(error),
                }
            }
            for Module { reference, digest: index, .. } in others.into_iter().map(Installed::module) {
                let (reference, index) = (reference.clone(), *index);
                if damaged.len() > before && !collection.damaged {
                    // One of them may be what the module is rolled back to.
                    needed.extend(self.named(index)?);
                } else {
                    freed.extend(self.named(index)?);
                    items.push(self.item(GarbageKind::Module { reference, index }, "installed", index.hex())?);
                }
            }
        }
        // A damaged module that stays may need artifacts that can no longer be read from it.
        let all_known = damaged.is_empty() || collection.damaged;
        for (index, error) in damaged {
            if collection.damaged && unless_damaged(self.is_live(index))? == Some(true) {
                tracing::warn!("{}; it stays: a server answers requests with it", one_line(&error));
                needed.extend(self.named(index)?);
            } else if collection.damaged {
                items.push(self.item(GarbageKind::Damaged { index }, "installed", index.hex())?);
            } else {
                tracing::warn!("{}; it stays: pull it again, or collect what is damaged", one_line(&error));
                needed.extend(self.named(index)?);
            }
        }
        for name in self.names_in("artifacts")? {
            let named = name.to_str().and_then(|name| name.strip_suffix(".cwasm"));
            if named.is_some_and(|hex| is_digest(hex) && !needed.contains(hex) && (all_known || freed.contains(hex))) {
                items.push(self.item(GarbageKind::Artifact, "artifacts", name)?);
            }
        }
        for (part, name) in locked.unfinished()? {
            items.push(self.item(GarbageKind::Unfinished, part, name)?);
        }
        if !collection.dry_run {
            locked.remove(&items)?;
        }
        Ok(items.into_iter().map(|item| item.garbage).collect())
    }

    /// The indexes to keep of the versions of one module.
    fn kept(&self, versions: &[Installed], keep: usize) -> Result<BTreeSet<Digest>, StoreError> {
        let mut by_time: Vec<_> = versions.iter().map(|it| (it.pulled_at(), it.module().digest)).collect();
        by_time.sort_by(|a, b| b.cmp(a));
        let installed = |index: &Digest| by_time.iter().any(|(_, it)| it == index);
        let active = match versions.first() {
            Some(first) => self.trusted_active(&first.module().name)?.filter(|active| installed(&active.index)),
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
        let Some(blobs) = unless_damaged(self.blobs_of(index))?.flatten() else { return Ok(Vec::new()) };
        let mut named = Vec::new();
        for name in blobs.names()? {
            let Some(name) = name.to_str() else { continue };
            let document = unless_damaged(blobs.read::<Value>(name))?.flatten();
            let artifact =
                document.as_ref().and_then(|it| it.value["artifact"]["digest"].as_str()?.strip_prefix("sha256:"));
            named.extend(artifact.map(str::to_owned));
        }
        Ok(named)
    }

    fn item(&self, kind: GarbageKind, part: &'static str, name: impl Into<OsString>) -> Result<Item, StoreError> {
        let name = name.into();
        let path = self.dir().join(part).join(&name);
        let size_bytes = match self.root.directory(part)? {
            Some(part) => size_bytes(&part, &name)?,
            None => 0,
        };
        Ok(Item { garbage: Garbage { kind, path, size_bytes }, part, name })
    }
}

impl Locked<'_> {
    /// The unfinished files of processes that have ended: temporary directories, and layers that were being fetched.
    fn unfinished(&self) -> Result<Vec<(&'static str, OsString)>, StoreError> {
        let mut unfinished: Vec<_> = self.abandoned()?.into_iter().map(|name| ("tmp", name)).collect();
        let Some(partial) = self.store.root.directory("partial")? else { return Ok(unfinished) };
        for name in partial.names()? {
            // A process that opened it a moment ago notices its removal and creates it again.
            if !is_in_use(&partial, &name)? {
                unfinished.push(("partial", name));
            }
        }
        Ok(unfinished)
    }

    /// A module is removed by one rename, before the artifacts that it names.
    fn remove(&self, items: &[Item]) -> Result<(), StoreError> {
        let staging = self.stage()?;
        for (number, Item { part, name, .. }) in items.iter().enumerate().filter(|(_, it)| it.part == "installed") {
            self.store.part_to_write(part)?.rename(name, &staging.dir, number.to_string())?;
        }
        for part in ["installed", "artifacts"] {
            if let Some(part) = self.store.root.directory(part)? {
                part.sync()?;
            }
        }
        for Item { part, name, .. } in items.iter().filter(|it| it.part != "installed") {
            self.store.part_to_write(part)?.remove(name)?;
        }
        hashed::forget_missing();
        Ok(())
    }
}

fn is_digest(hex: &str) -> bool {
    format!("sha256:{hex}").parse::<Digest>().is_ok()
}

/// The sizes of all files at or below `name` in `dir`, together.
fn size_bytes(dir: &Directory, name: &OsStr) -> Result<u64, StoreError> {
    let Some(stat) = dir.stat(name)? else { return Ok(0) };
    if !is_directory(&stat) {
        return Ok(u64::try_from(stat.st_size).unwrap_or(0));
    }
    let Some(below) = dir.directory(name)? else { return Ok(0) };
    below.names()?.iter().try_fold(0, |sum, name| Ok(sum + size_bytes(&below, name)?))
}
