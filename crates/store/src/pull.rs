//! In: a source, what is trusted, this machine. Out: the module installed, as the variant for this machine. Never here: a
//! layer requested before the index that names it is trusted.

use crate::directory::Directory;
use crate::documents::{Record, TrustBasis};
use crate::error::{io_error, unless_damaged};
use crate::files::{Judged, is_directory, json};
use crate::hashed::Witness;
use crate::transfer::{Fetched, Progress};
use crate::{Locked, Staging, Store, StoreError, artifact_name};
use isomer_contract::limits::{DOCUMENT_SIZE_BYTES_MAX, SIGNATURES_MAX};
use isomer_contract::manifest::Blob;
use isomer_contract::{Demand, Digest, Host, one_line};
use isomer_layout::{
    FoundSignatures, Layout, LayoutError, Manifest, Signature, Source, SparseLayout, blob_name, config_of,
};
use isomer_runtime::{Chosen, Request, Signers, Trust, TrustedModule, trust};
use isomer_trust::Timestamp;
use std::path::{Path, PathBuf};

/// The document in an installed layout that records how it was installed.
pub(crate) const RECORD: &str = "install.json";

/// The temporary name of a layout that is not finished.
const STAGED_LAYOUT: &str = "layout";

/// How often an installation starts again after another process removed what it relies on.
const ATTEMPTS_MAX: usize = 3;

/// What is pulled.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// What is trusted. The store's own counters are added to its counters.
    pub trust: &'a Trust,
    /// For which machine: the best variant that runs there is installed.
    pub host: &'a Host,
    /// What that variant must be, beside that it runs there.
    pub demand: &'a Demand,
    /// For which target instead, whether or not it runs on the host.
    pub target: Option<&'a str>,
    /// Whether it becomes the active version, in the same step.
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
    /// On which basis it was trusted.
    pub trust_basis: TrustBasis,
    /// How many bytes the layer had that was fetched; 0 when the artifact was installed already.
    pub transferred_bytes: u64,
    /// Whether this variant of it was not installed before.
    pub new: bool,
    /// The tag that it was pulled by, if that is not a version: `stable` for example.
    pub resolved: Option<String>,
}

impl Store {
    /// Installs a module from `source`. What is installed already is not fetched again.
    ///
    /// # Errors
    /// When it is not trusted, is not what its index declares, does not run here, or cannot be written. Nothing is
    /// installed then, and the store is unchanged.
    pub fn pull(
        &self,
        source: &dyn Source,
        wanted: &Wanted<'_>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Pulled, StoreError> {
        let index = source.index()?;
        let at = PathBuf::from(source.to_string());
        let sparse = offered(source, &index, &at)?;
        let FoundSignatures { readable, unreadable } = source.signatures(sparse.index)?;
        let signatures = self.with_installed(sparse.index.digest, readable)?;
        if signatures.is_empty() && !unreadable.is_empty() {
            let error = StoreError::UnreadableSignatures { from: source.to_string(), unreadable };
            match wanted.trust {
                Trust::Signed(_) => return Err(error),
                _ => tracing::warn!("{}", one_line(&error)),
            }
        }
        let sparse = sparse.with_signatures(&signatures);
        let staging = {
            let locked = self.lock()?;
            locked.sweep()?;
            locked.stage()?
        };
        let dir = staging.dir.make_directory(STAGED_LAYOUT)?;
        for (name, bytes) in &sparse.files {
            dir.write_new(name, bytes)?;
        }
        let layout = layout_in(&dir)?;
        let trusted = self.trusted(&layout, &sparse.reference, wanted.trust)?;
        let chosen = match wanted.target {
            Some(target) => trusted.variant_for(target)?,
            None => trusted.choose(wanted.host, &Request::from(wanted.demand.clone()))?,
        };
        let manifest = fetch_manifest(source, &layout, &chosen, &dir, &at)?;
        let record = self.record(source, &trusted, wanted.trust)?;
        dir.write_new(RECORD, &json(&record))?;
        dir.sync_tree()?;

        for _ in 0..ATTEMPTS_MAX {
            let fetched = self.fetch_artifact(source, &manifest, &staging, progress)?;
            let locked = self.lock()?;
            // Another pull may have raised the counter since.
            let trusted = self.trusted(&layout, &sparse.reference, wanted.trust)?;
            let active = match wanted.activate {
                true => locked.prepare_active(&staging, &sparse.name, sparse.index.digest)?,
                false => None,
            };
            // What needs free space comes before the renames.
            for name in ["artifacts", "installed"] {
                self.part_to_write(name)?;
            }
            locked.raise_counter(&staging, &trusted, wanted.trust)?;
            if !locked.place_artifact(&fetched, &staging, manifest.config.artifact.digest)? {
                continue;
            }
            let new = locked.place_layout(&dir, &staging, sparse.index.digest, &manifest, &record)?;
            if let Some(active) = active {
                locked.place_active(active, &staging, &sparse.name)?;
            }
            return Ok(Pulled {
                module: sparse.name,
                reference: sparse.reference,
                index: sparse.index.digest,
                target: manifest.config.target,
                artifact: manifest.config.artifact,
                trust_basis: record.trust_basis,
                transferred_bytes: fetched.transferred_bytes,
                new,
                resolved: source.requested().alias().map(str::to_owned),
            });
        }
        Err(StoreError::Removed { reference: sparse.reference })
    }

    /// The offered signatures, and those of the installed index that are not among them. An installed index that is
    /// damaged has none: it is about to be replaced.
    fn with_installed(&self, index: Digest, offered: Vec<Signature>) -> Result<Vec<Signature>, StoreError> {
        let layout = unless_damaged(self.layout_of(index))?;
        let read = |layout: Layout| layout.signature_documents(index).map_err(StoreError::Layout);
        let installed = unless_damaged(layout.map(read).transpose())?.flatten();
        let mut all = offered.clone();
        all.extend(installed.unwrap_or_default().into_iter().filter(|signature| !offered.contains(signature)));
        Ok(if all.len() <= SIGNATURES_MAX { all } else { offered })
    }

    /// Evaluates the module in `layout` against what is trusted and the counters that this store remembers.
    fn trusted(&self, layout: &Layout, reference: &str, trusted: &Trust) -> Result<TrustedModule, StoreError> {
        let module = layout.module(reference)?;
        Ok(match trusted {
            Trust::Signed(signers) => {
                let mut counters = self.counters()?;
                counters.merge(&signers.counters);
                trust(layout, module, &Trust::Signed(Box::new(Signers { counters, ..(**signers).clone() })))?
            }
            other => trust(layout, module, other)?,
        })
    }

    /// The record of the installation. It keeps the signers of the same index if that is pulled again without signatures.
    fn record(&self, source: &dyn Source, trusted: &TrustedModule, on: &Trust) -> Result<Record, StoreError> {
        let mut record = Record {
            from: source.to_string(),
            at: Timestamp::now().to_string(),
            trust_basis: match (trusted.signed_by(), on) {
                (Some(signed), _) => TrustBasis::Keys(signed.by.clone()),
                (None, Trust::Digest(_)) => TrustBasis::Digest,
                (None, _) => TrustBasis::Unsigned,
            },
            release: trusted.signed_by().map(|signed| signed.release.clone()),
            key_ids: trusted.signed_by().map(|signed| signed.keys.clone()).unwrap_or_default(),
        };
        let index = trusted.module().digest;
        // A record that another user could have written is not taken over.
        if let Some(Judged { value: before, foreign: None }) = unless_damaged(self.record_of(index))?
            && before.trust_basis.weight() > record.trust_basis.weight()
        {
            (record.trust_basis, record.release, record.key_ids) = (before.trust_basis, before.release, before.key_ids);
        }
        Ok(record)
    }

    /// The record of how an index was installed.
    pub(crate) fn record_of(&self, index: Digest) -> Result<Judged<Record>, StoreError> {
        let dir = self.installed_dir(index)?;
        let missing = || io_error("read", &dir.path_of(RECORD))(std::io::Error::from_raw_os_error(libc::ENOENT));
        dir.read(RECORD)?.ok_or_else(missing)
    }

    /// Why the installed `index` is replaced as a whole, not added to; none if it is whole.
    fn why_replaced(&self, index: Digest) -> Result<Option<String>, StoreError> {
        let checked = self.installed_as(index, false).and_then(|installed| {
            installed.documents()?;
            Ok(installed.installed_by().cloned())
        });
        match checked {
            Ok(weakness) => Ok(weakness.map(|weakness| weakness.to_string())),
            Err(error) if error.is_damage() => Ok(Some(one_line(&error))),
            Err(error) => Err(error),
        }
    }
}

/// The module that `source` offers with its `index`, checked to be the requested one.
fn offered(source: &dyn Source, index: &[u8], at: &Path) -> Result<SparseLayout, StoreError> {
    let from = || source.to_string();
    if config_of(index, at).is_ok() {
        return Err(StoreError::NoIndex { from: from() });
    }
    let sparse = SparseLayout::of(index, at)?;
    let requested = source.requested();
    let version = sparse.reference.rsplit_once(':').map_or("", |(_, version)| version);
    match (requested.module, requested.version()) {
        (Some(expected), _) if expected != sparse.name => {
            Err(StoreError::OtherModule { from: from(), found: sparse.name, expected: expected.to_owned() })
        }
        (_, Some(expected)) if expected != version => {
            let (found, expected) = (version.to_owned(), expected.to_owned());
            Err(StoreError::OtherVersion { from: from(), found, expected })
        }
        _ => Ok(sparse),
    }
}

/// Fetches the manifest of `chosen` and its config into the layout in `dir`, and reads them there.
fn fetch_manifest(
    source: &dyn Source,
    layout: &Layout,
    chosen: &Chosen<'_>,
    dir: &Directory,
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
    dir.write_new(blob_name(blob), &manifest)?;
    let config = within(config_of(&manifest, at)?)?;
    dir.write_new(blob_name(config), &source.document(config)?)?;
    Ok(chosen.manifest(layout)?)
}

/// The layout in a directory that is open.
pub(crate) fn layout_in(dir: &Directory) -> Result<Layout, StoreError> {
    Ok(Layout::open_directory(dir.descriptor()?, dir.path())?)
}

impl Locked<'_> {
    /// Renames the artifact to its final name. False when it was installed and another process has removed it since.
    fn place_artifact(&self, fetched: &Fetched, staging: &Staging, artifact: Digest) -> Result<bool, StoreError> {
        let (dir, name) = (self.store.part_to_write("artifacts")?, artifact_name(artifact));
        let Some(staged) = fetched.staged else { return Ok(dir.stat(&name)?.is_some()) };
        // A rename replaces a file or link, but not a directory.
        if dir.stat(&name)?.is_some_and(|there| is_directory(&there)) {
            dir.rename(&name, &staging.dir, "replaced-artifact")?;
        }
        staging.dir.rename(&name, &dir, &name)?;
        dir.sync()?;
        // It was hashed while it was written.
        if let Some(opened) = dir.file(&name)?
            && (opened.stat.st_dev, opened.stat.st_ino) == (staged.st_dev, staged.st_ino)
            && let Some(witness) = Witness::of(&opened, &mut Vec::new())
        {
            witness.record(&opened, artifact);
        }
        Ok(true)
    }

    /// Remembers the counter of a signed release before it is installed, so that no older one is accepted later. If an
    /// operator allowed an older release, its counter is the new minimum: otherwise a counter that was raised too far by
    /// mistake would exclude every later release.
    fn raise_counter(&self, staging: &Staging, trusted: &TrustedModule, on: &Trust) -> Result<(), StoreError> {
        let (Some(signed), Trust::Signed(signers)) = (trusted.signed_by(), on) else { return Ok(()) };
        let Ok(module) = trusted.module().name.parse() else { return Ok(()) };
        let before = self.store.counters()?;
        let mut counters = before.clone();
        for key in &signed.keys {
            let seen = before.least(*key, &trusted.module().name, signed.release.name.as_str());
            debug_assert!(
                signers.allow_rollback || seen <= Some(signed.release.counter),
                "it was evaluated under the lock"
            );
            counters.set(*key, &module, &signed.release.name, signed.release.counter);
        }
        if counters == before { Ok(()) } else { self.put_counters(staging, &counters) }
    }

    /// Renames the layout in `from` to its final name, or adds its files to the installed one. Whether the variant of
    /// `manifest` is new there.
    fn place_layout(
        &self,
        from: &Directory,
        staging: &Staging,
        index: Digest,
        manifest: &Manifest,
        record: &Record,
    ) -> Result<bool, StoreError> {
        let (installed, name) = (self.store.part_to_write("installed")?, index.hex());
        if installed.stat(&name)?.is_some()
            && let Some(why) = self.store.why_replaced(index)?
        {
            tracing::warn!("what was installed is replaced: {why}");
            installed.rename(&name, &staging.dir, "damaged")?;
        }
        let Some(to) = installed.directory(&name)? else {
            staging.dir.rename(STAGED_LAYOUT, &installed, &name)?;
            installed.sync()?;
            return Ok(true);
        };
        let (from_blobs, to_blobs) = (blobs_in(from)?, blobs_in(&to)?);
        let new = to_blobs.stat(manifest.digest.hex())?.is_none();
        // A document comes after those that it names: the config before the manifest, all blobs before `index.json`.
        let mut names = from_blobs.names()?;
        names.sort_by_key(|name| *name == *manifest.digest.hex());
        for name in names {
            from_blobs.rename(&name, &to_blobs, &name)?;
        }
        to_blobs.sync()?;
        for name in ["index.json", RECORD] {
            from.rename(name, &to, name)?;
        }
        to.sync()?;
        tracing::debug!("{} is installed; trust basis: {}", to.path().display(), record.trust_basis);
        Ok(new)
    }
}

/// The directory of the blobs of a layout.
fn blobs_in(layout: &Directory) -> Result<Directory, StoreError> {
    layout.make_directory("blobs")?.make_directory("sha256")
}
