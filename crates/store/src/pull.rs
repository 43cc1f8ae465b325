//! In: a source, what is trusted, this machine. Out: the module installed, as the variant for this machine. Never here: a
//! layer asked for before the index that reaches it is trusted.

use super::documents::{Counters, Record, Word};
use super::error::{StoreError, unless_damaged};
use super::files::{entries, io_error, json, make_dir, read, rename, sync_dir, sync_tree, write_new};
use super::transfer::{Fetched, Progress};
use super::{Locked, Staging, Store};
use isomer_contract::limits::{DOCUMENT_SIZE_BYTES_MAX, SIGNATURES_MAX};
use isomer_contract::manifest::Blob;
use isomer_contract::{Digest, Host};
use isomer_layout::{Layout, LayoutError, Manifest, Signature, Source, SparseLayout, blob_name, config_of};
use isomer_runtime::{Chosen, Signers, Trust, TrustedModule, trust};
use isomer_trust::Timestamp;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The document in an installed layout that says how it came there.
pub(super) const RECORD: &str = "install.json";

/// How often an installation begins again after what it counts on was removed meanwhile.
const ATTEMPTS_MAX: usize = 3;

/// What is pulled.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// On whose word. The store's own counters are added to what it says of those.
    pub trust: &'a Trust,
    /// For which machine: the best variant that runs there is installed.
    pub host: &'a Host,
    /// For which target instead, whether or not it runs on the host.
    pub target: Option<&'a str>,
    /// Whether it becomes the active one, in the same step.
    pub activate: bool,
}

/// What was installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// The module's name.
    pub module: String,
    /// Its name and version.
    pub reference: String,
    /// The digest of its index.
    pub index: Digest,
    /// The variant's target.
    pub target: String,
    /// The artifact.
    pub artifact: Blob,
    /// On whose word.
    pub word: Word,
    /// How many bytes the layer had that was fetched; 0 when the artifact was there.
    pub transferred_bytes: u64,
    /// Whether this variant of it was not installed before.
    pub new: bool,
}

impl Store {
    /// Installs a module from `source`. What is there already is not fetched again.
    ///
    /// # Errors
    /// When it is not trusted, not what it says, does not run here, or can't be written. Nothing is installed then, and
    /// what was stays as it was.
    pub fn pull(
        &self,
        source: &dyn Source,
        wanted: &Wanted<'_>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Pulled, StoreError> {
        let index = source.index()?;
        let at = PathBuf::from(source.to_string());
        let sparse = offered(source, &index, &at)?;
        let signatures = self.with_installed(sparse.index.digest, source.signatures(sparse.index)?)?;
        let sparse = sparse.with_signatures(&signatures);
        let staging = {
            let locked = self.lock()?;
            locked.sweep()?;
            locked.stage()?
        };
        let dir = staging.path().join("layout");
        for (name, bytes) in &sparse.files {
            write_new(&dir.join(name), bytes)?;
        }
        let layout = Layout::open(&dir)?;
        let trusted = self.trusted(&layout, &sparse.reference, wanted.trust)?;
        let chosen = match wanted.target {
            Some(target) => trusted.variant_for(target)?,
            None => trusted.choose(wanted.host, None)?,
        };
        let manifest = bring_manifest(source, &layout, &chosen, &dir, &at)?;
        let record = self.record(source, &trusted, wanted.trust)?;
        write_new(&dir.join(RECORD), &json(&record))?;
        sync_tree(&dir)?;

        for _ in 0..ATTEMPTS_MAX {
            let fetched = self.fetch_artifact(source, &manifest, &staging, progress)?;
            let locked = self.lock()?;
            // Another pull may have raised the counter since.
            let trusted = self.trusted(&layout, &sparse.reference, wanted.trust)?;
            let active = match wanted.activate {
                true => locked.prepare_active(&staging, &sparse.name, sparse.index.digest)?,
                false => None,
            };
            // What needs room comes before what only takes its name.
            for name in ["artifacts", "installed"] {
                make_dir(&self.dir.join(name))?;
            }
            locked.raise_counter(&staging, &trusted, wanted.trust)?;
            if !locked.place_artifact(&fetched, manifest.config.artifact)? {
                continue;
            }
            let new = locked.place_layout(&dir, &staging, sparse.index.digest, &manifest, &record)?;
            if let Some(active) = active {
                locked.place_active(&active, &sparse.name)?;
            }
            return Ok(Pulled {
                module: sparse.name,
                reference: sparse.reference,
                index: sparse.index.digest,
                target: manifest.config.target,
                artifact: manifest.config.artifact,
                word: record.word,
                transferred_bytes: fetched.transferred_bytes,
                new,
            });
        }
        Err(StoreError::Removed { reference: sparse.reference })
    }

    /// The signatures that are offered, and those that the installed index has beside them. Where that is damaged, it is
    /// about to be replaced.
    fn with_installed(&self, index: Digest, offered: Vec<Signature>) -> Result<Vec<Signature>, StoreError> {
        let layout = Layout::open(&self.installed_path(index));
        let installed =
            unless_damaged(layout.and_then(|it| it.signature_documents(index)).map_err(StoreError::Layout))?;
        let mut all = offered.clone();
        all.extend(installed.unwrap_or_default().into_iter().filter(|signature| !offered.contains(signature)));
        Ok(if all.len() <= SIGNATURES_MAX { all } else { offered })
    }

    /// Holds the module in `layout` against what is trusted and against the counters that this store has seen.
    fn trusted(&self, layout: &Layout, reference: &str, trusted: &Trust) -> Result<TrustedModule, StoreError> {
        let module = layout.module(reference)?;
        Ok(match trusted {
            Trust::Signed(signers) => {
                let mut last_counters = self.counters()?;
                // Whoever removed that file has not removed what is installed.
                for installed in self.indexes()? {
                    let record = unless_damaged(record_of(&self.installed_path(installed)))?;
                    if let Some(release) = record.and_then(|record| record.release) {
                        last_counters.entry(release.name).or_insert(release.counter);
                    }
                }
                for (name, counter) in &signers.last_counters {
                    let seen = last_counters.entry(name.clone()).or_insert(*counter);
                    *seen = (*seen).max(*counter);
                }
                trust(layout, module, &Trust::Signed(Box::new(Signers { last_counters, ..(**signers).clone() })))?
            }
            other => trust(layout, module, other)?,
        })
    }

    /// What is to be remembered of the installation: signatures stay on record when the same index comes without.
    fn record(&self, source: &dyn Source, trusted: &TrustedModule, on: &Trust) -> Result<Record, StoreError> {
        let mut record = Record {
            from: source.to_string(),
            at: Timestamp::now().to_string(),
            word: match (trusted.signed_by(), on) {
                (Some(signed), _) => Word::Keys(signed.by.clone()),
                (None, Trust::Digest(_)) => Word::Digest,
                (None, _) => Word::Unsigned,
            },
            release: trusted.signed_by().map(|signed| signed.release.clone()),
        };
        let index = trusted.module().digest;
        let before = unless_damaged(record_of(&self.installed_path(index)))?;
        if let Some(before) = before.filter(|before| before.word.weight() > record.word.weight())
            && unless_damaged(self.installed_by_others(index))? == Some(None)
        {
            (record.word, record.release) = (before.word, before.release);
        }
        Ok(record)
    }

    /// Why what is installed with `index` is to be replaced as a whole, not added to.
    fn why_replaced(&self, index: Digest) -> Result<Option<String>, StoreError> {
        if self.installed_path(index).symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            return Ok(None);
        }
        let checked = self.installed_by_others(index).and_then(|weakness| {
            let installed = self.installed_as(index, false)?;
            installed.documents().map(|_| weakness)
        });
        match checked {
            Ok(weakness) => Ok(weakness.map(|weakness| weakness.to_string())),
            Err(error) if error.is_damage() => Ok(Some(error.to_string())),
            Err(error) => Err(error),
        }
    }
}

/// The module that `source` offers with its `index`, which is the one that was asked for.
fn offered(source: &dyn Source, index: &[u8], at: &Path) -> Result<SparseLayout, StoreError> {
    let from = || source.to_string();
    if config_of(index, at).is_ok() {
        return Err(StoreError::NoIndex { from: from() });
    }
    let sparse = SparseLayout::of(index, at)?;
    match source.module() {
        Some(expected) if expected != sparse.name => {
            Err(StoreError::OtherModule { from: from(), found: sparse.name, expected: expected.to_owned() })
        }
        _ => Ok(sparse),
    }
}

/// Fetches the manifest of `chosen` and its config into the layout in `dir`, and reads them there.
fn bring_manifest(
    source: &dyn Source,
    layout: &Layout,
    chosen: &Chosen<'_>,
    dir: &Path,
    at: &Path,
) -> Result<Manifest, StoreError> {
    let blob = layout.manifest_blob(chosen.variant()).expect("the variant is of this layout");
    let within = |blob: Blob| {
        if blob.size_bytes <= DOCUMENT_SIZE_BYTES_MAX {
            return Ok(blob);
        }
        let (found_bytes, limit_bytes) = (blob.size_bytes, DOCUMENT_SIZE_BYTES_MAX);
        Err(LayoutError::TooLarge { file: at.join(blob_name(blob)), found_bytes, limit_bytes })
    };
    let manifest = source.manifest(within(blob)?)?;
    write_new(&dir.join(blob_name(blob)), &manifest)?;
    let config = within(config_of(&manifest, at)?)?;
    write_new(&dir.join(blob_name(config)), &source.document(config)?)?;
    Ok(chosen.manifest(layout)?)
}

impl Locked<'_> {
    /// Gives the artifact its name. False when it was said to be there and is gone.
    fn place_artifact(&self, fetched: &Fetched, artifact: Blob) -> Result<bool, StoreError> {
        let path = self.store.artifact_path(artifact.digest);
        let Some(file) = &fetched.file else { return Ok(path.exists()) };
        let dir = self.store.dir.join("artifacts");
        make_dir(&dir)?;
        // A file takes the place of a file or link, not that of a directory.
        if path.symlink_metadata().is_ok_and(|there| there.is_dir()) {
            rename(&path, &file.with_extension("replaced"))?;
        }
        rename(file, &path)?;
        sync_dir(&dir)?;
        Ok(true)
    }

    /// Remembers the counter of what is signed before it is installed, so that nothing older comes after it. Where an
    /// operator takes an older release, that is the one to go on from: else a counter that was raised too far by
    /// mistake would shut out every release to come.
    fn raise_counter(&self, staging: &Staging, trusted: &TrustedModule, on: &Trust) -> Result<(), StoreError> {
        let (Some(signed), Trust::Signed(signers)) = (trusted.signed_by(), on) else { return Ok(()) };
        let mut counters: Counters = self.store.counters()?;
        let seen = counters.get(&signed.release.name).copied();
        if seen == Some(signed.release.counter) || seen.is_none() && signed.release.counter == 0 {
            return Ok(());
        }
        debug_assert!(
            signers.allow_rollback || seen <= Some(signed.release.counter),
            "it was evaluated under the lock"
        );
        counters.insert(signed.release.name.clone(), signed.release.counter);
        self.replace(staging, &self.store.dir.join("counters.json"), &json(&counters))
    }

    /// Puts the layout in `from` in place, or adds what it has to the one that is there. Whether the variant of
    /// `manifest` was not there.
    fn place_layout(
        &self,
        from: &Path,
        staging: &Staging,
        index: Digest,
        manifest: &Manifest,
        record: &Record,
    ) -> Result<bool, StoreError> {
        let parent = self.store.dir.join("installed");
        make_dir(&parent)?;
        let to = self.store.installed_path(index);
        if let Some(why) = self.store.why_replaced(index)? {
            tracing::warn!("what was installed is replaced: {why}");
            rename(&to, &staging.path().join("damaged"))?;
        }
        if to.symlink_metadata().is_err() {
            rename(from, &to)?;
            sync_dir(&parent)?;
            return Ok(true);
        }
        let blobs = Path::new("blobs").join("sha256");
        let new = !to.join(&blobs).join(manifest.digest.hex()).exists();
        // What names comes after what it names: the config before the manifest, all blobs before `index.json`.
        let mut names: Vec<_> = entries(&from.join(&blobs))?;
        names.sort_by_key(|path| path.ends_with(manifest.digest.hex()));
        for path in names {
            let Some(name) = path.file_name() else { continue };
            rename(&path, &to.join(&blobs).join(name))?;
        }
        sync_dir(&to.join(&blobs))?;
        for name in ["index.json", RECORD] {
            rename(&from.join(name), &to.join(name))?;
        }
        sync_dir(&to)?;
        tracing::debug!("{} is installed on the word of {}", to.display(), record.word);
        Ok(new)
    }
}

/// The record of an installed layout.
pub(super) fn record_of(dir: &Path) -> Result<Record, StoreError> {
    let path = dir.join(RECORD);
    let missing = || io_error("read", &path)(std::io::Error::from_raw_os_error(libc::ENOENT));
    read(&path)?.ok_or_else(missing)
}
