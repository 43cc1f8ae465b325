//! In: what a person calls a module. Out: the installed module, and a variant of it, verified. Never here: a change to the
//! store, its lock.

use super::documents::{Active, Record};
use super::error::{Instead, StoreError, unless_damaged};
use super::files::{entries, io_error, read};
use super::pull::{RECORD, record_of};
use super::{Store, artifact_name};
use crate::protected::{self, Opened, Owners, Weakness};
use isomer_contract::manifest::{Blob, VariantConfig};
use isomer_contract::name::ModuleName;
use isomer_contract::{Digest, Variant};
use isomer_layout::{Layout, LayoutError, Manifest, Module, ModuleEntry, SparseLayout, nearest_module};
use isomer_runtime::{
    Chosen, Expected, FetchError, MappedFile, SealError, SealedBytes, Trust, TrustedModule, VerifiedArtifact,
    VerifyError, trust, verify,
};
use isomer_trust::Timestamp;
use std::fmt;
use std::fs::File;
use std::io::ErrorKind;
use std::path::PathBuf;

/// A module in a store.
#[derive(Debug)]
pub struct Installed {
    store: Store,
    layout: Layout,
    module: Module,
    record: Record,
    pulled_at: Timestamp,
    active: bool,
}

/// An installed index, and what is wrong with it.
pub type Damaged = (Digest, StoreError);

/// The name of an installed module, its name and version, and its index.
type Named = (String, String, Digest);

impl Store {
    /// The module called `name`: `NAME` is its active version, `NAME:VERSION` and `NAME@sha256:…` any that is installed,
    /// and so is its index's digest alone.
    ///
    /// # Errors
    /// When it is not there, several are called so, or it is damaged.
    pub fn find(&self, name: &str) -> Result<Installed, StoreError> {
        if name.parse::<ModuleName>().is_ok() {
            // A damaged one that was removed is none.
            let active = self.active(name)?;
            if let Some(active) = &active
                && self.is_installed(active.index)?
            {
                let installed = self.installed_as(active.index, true)?;
                self.check_is_of(name, &installed.module.name)?;
                return Ok(installed);
            }
            let (installed, damaged) = self.references()?;
            let of_name = |(module, _, _): &&Named| module == name;
            let installed: Vec<_> =
                installed.iter().filter(of_name).map(|(_, reference, _)| reference.clone()).collect();
            if !installed.is_empty() {
                warn_of(&damaged);
                let instead = self.instead(name, active.as_ref())?;
                let module = name.to_owned();
                return Err(StoreError::NotActive { module, dir: self.dir.clone(), installed, instead });
            }
        }
        self.find_any(name)
    }

    /// What makes a version of `module` active where `active`, the last that was, is gone.
    fn instead(&self, module: &str, active: Option<&Active>) -> Result<Option<Instead>, StoreError> {
        let (all, _) = self.installed()?;
        let of_module = || all.iter().filter(|it| it.module.name == module);
        let earlier = active.map(|active| &active.earlier[..]).unwrap_or_default();
        if of_module().any(|it| earlier.contains(&it.module.digest)) {
            return Ok(Some(Instead::RollBack(module.to_owned())));
        }
        Ok(of_module().last().map(|it| Instead::Activate(it.module.reference.clone())))
    }

    /// That what makes an index the active one of `module` does not name that of another.
    pub(super) fn check_is_of(&self, module: &str, found: &str) -> Result<(), StoreError> {
        if found == module {
            return Ok(());
        }
        let reason = format!("it names an index of `{found}`, expected one of `{module}`");
        Err(StoreError::Malformed { file: self.active_path(module), reason })
    }

    fn is_installed(&self, index: Digest) -> Result<bool, StoreError> {
        let path = self.installed_path(index);
        path.try_exists().map_err(io_error("read", &path))
    }

    /// As [`Store::find`], and a name without a version is that of the only one there is, active or not.
    pub(super) fn find_any(&self, name: &str) -> Result<Installed, StoreError> {
        let (all, mut damaged) = self.references()?;
        let (called, digest) = match name.rsplit_once('@') {
            Some((called, digest)) => (Some(called), digest.parse::<Digest>().ok()),
            None => (None, name.parse::<Digest>().ok()),
        };
        let matches = |(module, reference, index): &&Named| match (called, digest) {
            (Some(called), Some(digest)) => (called == module || called == reference) && *index == digest,
            (None, Some(digest)) => *index == digest,
            _ => reference == name || module == name,
        };
        let found: Vec<_> = all.iter().filter(matches).collect();
        if found.is_empty() {
            let meant = damaged.iter().position(|(index, _)| {
                let said = self.said_of(*index);
                digest == Some(*index) || said.is_some_and(|it| matches(&&(it.name, it.reference, *index)))
            });
            if let Some(meant) = meant {
                return Err(damaged.swap_remove(meant).1);
            }
        }
        warn_of(&damaged);
        match found[..] {
            [(module, _, index)] => {
                // What says so may be damaged: that is nothing against a version that is named.
                let active = unless_damaged(self.active(module))?.flatten();
                self.installed_as(*index, active.is_some_and(|active| active.index == *index))
            }
            [] => {
                let names = all.iter().map(|(module, reference, _)| (module.as_str(), reference.as_str()));
                // It may be what is damaged, and no other one then.
                let nearest = if damaged.is_empty() { nearest_module(name, names).map(str::to_owned) } else { None };
                let installed = all.iter().map(|(_, reference, _)| reference.clone()).collect();
                let what = name.escape_debug().to_string();
                Err(StoreError::NotInstalled { what, dir: self.dir.clone(), nearest, installed })
            }
            _ => {
                let versions: Vec<_> = found.iter().map(|(_, reference, _)| reference).collect();
                let alike = versions.iter().any(|it| versions.iter().filter(|other| it == *other).count() > 1);
                let choice = |(module, reference, index): &&Named| {
                    if alike { format!("{module}@{index}") } else { reference.clone() }
                };
                let choices = found.iter().map(choice).collect();
                Err(StoreError::Ambiguous { what: name.to_owned(), choices })
            }
        }
    }

    /// Everything that is installed, by name and then by the time of its pull; and what is wrong with each index that is
    /// damaged.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn installed(&self) -> Result<(Vec<Installed>, Vec<Damaged>), StoreError> {
        let (mut whole, mut damaged) = (Vec::new(), Vec::new());
        for index in self.indexes()? {
            match self.installed_now(index) {
                Ok(installed) => whole.push(installed),
                Err(error @ StoreError::Damaged { .. }) => damaged.push((index, error)),
                Err(error) => return Err(error),
            }
        }
        whole.sort_by(|a: &Installed, b| (&a.module.name, a.pulled_at).cmp(&(&b.module.name, b.pulled_at)));
        Ok((whole, damaged))
    }

    fn installed_now(&self, index: Digest) -> Result<Installed, StoreError> {
        let mut installed = self.installed_as(index, false)?;
        installed.active = match self.active(&installed.module.name) {
            Ok(active) => active.is_some_and(|active| active.index == index),
            // That says nothing against what is installed.
            Err(error) if error.is_damage() => {
                tracing::warn!("nobody knows whether {} is active: {error}", installed.module.reference);
                false
            }
            Err(error) => return Err(error),
        };
        Ok(installed)
    }

    pub(super) fn active(&self, module: &str) -> Result<Option<Active>, StoreError> {
        read(&self.active_path(module))
    }

    pub(super) fn indexes(&self) -> Result<Vec<Digest>, StoreError> {
        let paths = entries(&self.dir.join("installed"))?;
        let digest = |path: &PathBuf| format!("sha256:{}", path.file_name()?.to_str()?).parse().ok();
        Ok(paths.iter().filter_map(digest).collect())
    }

    /// The name, reference and index of all that is installed, and what is damaged: that is in nobody else's way.
    fn references(&self) -> Result<(Vec<Named>, Vec<Damaged>), StoreError> {
        let (mut references, mut damaged) = (Vec::new(), Vec::new());
        for index in self.indexes()? {
            let layout = Layout::open(&self.installed_path(index)).map_err(StoreError::Layout);
            match layout.and_then(|layout| entry_of(&layout, index).cloned()) {
                Ok(entry) => references.push((entry.name, entry.reference, index)),
                Err(error) if error.is_damage() => damaged.push((index, error.damages(index))),
                Err(error) => return Err(error),
            }
        }
        references.sort();
        Ok((references, damaged))
    }

    /// What a damaged index says of itself, where its own document can still be read.
    fn said_of(&self, index: Digest) -> Option<SparseLayout> {
        let path = self.installed_path(index).join("blobs").join("sha256").join(index.hex());
        let document: serde_json::Value = read(&path).ok()??;
        SparseLayout::of(document.to_string().as_bytes(), &path).ok()
    }

    pub(super) fn installed_as(&self, index: Digest, active: bool) -> Result<Installed, StoreError> {
        self.read_installed(index, active).map_err(|error| error.damages(index))
    }

    fn read_installed(&self, index: Digest, active: bool) -> Result<Installed, StoreError> {
        let dir = self.installed_path(index);
        if dir.is_symlink() {
            let reason = "it is a symbolic link, expected a directory".to_owned();
            return Err(StoreError::Malformed { file: dir, reason });
        }
        let layout = Layout::open(&dir)?;
        let module = layout.module(&entry_of(&layout, index)?.reference)?;
        let record = record_of(&dir)?;
        let pulled_at = record.at.parse().map_err(|error| StoreError::Malformed {
            file: dir.join(RECORD),
            reason: format!("its time does not parse: {error}"),
        })?;
        Ok(Installed { store: self.clone(), layout, module, record, pulled_at, active })
    }
}

/// What an installed layout says of the index that it is there for.
fn entry_of(layout: &Layout, index: Digest) -> Result<&ModuleEntry, StoreError> {
    let named = layout.modules().iter().find(|entry| entry.digest == index);
    named.ok_or_else(|| StoreError::Malformed {
        file: layout.dir().join("index.json"),
        reason: format!("it does not name the index {index}"),
    })
}

fn warn_of(damaged: &[Damaged]) {
    for (_, error) in damaged {
        tracing::warn!("{error}");
    }
}

impl Installed {
    /// The module, with all variants that its index names.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// How it came here.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// When it was pulled last.
    pub(super) fn pulled_at(&self) -> Timestamp {
        self.pulled_at
    }

    /// Whether its name alone means this version.
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// The manifests of the variants that are here.
    ///
    /// # Errors
    /// When one is damaged.
    pub fn variants(&self) -> Result<Vec<Manifest>, StoreError> {
        let manifests = self.here().and_then(|here| here.iter().map(|it| self.layout.manifest(it)).collect());
        let damaged = |error: StoreError| error.damages(self.module.digest);
        let manifests: Vec<_> = manifests.map_err(|error| damaged(StoreError::Layout(error)))?;
        if manifests.is_empty() {
            let file = self.layout.dir().join("blobs").join("sha256");
            return Err(damaged(StoreError::Malformed {
                file,
                reason: "it has the manifest of no variant".to_owned(),
            }));
        }
        Ok(manifests)
    }

    /// The variants whose manifests are here.
    fn here(&self) -> Result<Vec<&Variant>, LayoutError> {
        let mut here = Vec::new();
        for variant in &self.module.variants {
            if self.layout.has_manifest(variant)? {
                here.push(variant);
            }
        }
        Ok(here)
    }

    /// As [`Installed::variants`], and its signatures are here, too.
    pub(super) fn documents(&self) -> Result<Vec<Manifest>, StoreError> {
        let variants = self.variants()?;
        let signatures = self.layout.signature_documents(self.module.digest);
        signatures.map_err(|error| StoreError::Layout(error).damages(self.module.digest))?;
        Ok(variants)
    }

    /// The manifests of the variants that are here, if all is here that any of them needs to run. Of an artifact the kind
    /// and size are looked at: whoever runs it looks at its bytes.
    ///
    /// # Errors
    /// When something is damaged, or nobody can tell.
    pub fn whole(&self) -> Result<Vec<Manifest>, StoreError> {
        let variants = self.documents()?;
        for variant in &variants {
            self.check_artifact(variant).map_err(|error| error.damages(self.module.digest))?;
        }
        Ok(variants)
    }

    fn check_artifact(&self, variant: &Manifest) -> Result<(), StoreError> {
        let Blob { digest, size_bytes: expected_bytes } = variant.config.artifact;
        let file = self.store.artifact_path(digest);
        let named_by = || self.layout.dir().join("blobs").join("sha256").join(variant.digest.hex());
        let there = match file.symlink_metadata() {
            Ok(there) => there,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(LayoutError::MissingBlob { file, named_by: named_by() }.into());
            }
            Err(error) => return Err(io_error("read", &file)(error)),
        };
        let found_bytes = there.len();
        if !there.is_file() {
            let found = if there.is_dir() { "a directory" } else { "a symbolic link, device, socket or pipe" };
            return Err(LayoutError::FileType { file, found, expected: "a regular file" }.into());
        }
        if found_bytes != expected_bytes {
            return Err(LayoutError::Size { file, found_bytes, expected_bytes, named_by: named_by() }.into());
        }
        Ok(())
    }

    /// The module with the variants that are here, if it is trusted: on the word on which it was installed, or on
    /// `on`, for which its signatures are looked at again. The store's counters do not matter here: what is installed
    /// may be run again after something newer, and a policy's `[minimum-counter]` says otherwise.
    ///
    /// # Errors
    /// When it is not, or when its installation is no word, because others can write the store.
    pub fn trust(&self, on: Option<&Trust>) -> Result<TrustedModule, StoreError> {
        let as_installed = Trust::Digest(self.module.digest);
        if on.is_none() {
            self.store.check_believed(&self.module.name, self.module.digest)?;
        }
        let trusted = trust(&self.layout, self.module.clone(), on.unwrap_or(&as_installed))?;
        let here = self.here().map_err(|error| StoreError::Layout(error).damages(self.module.digest))?;
        Ok(trusted.only(|variant| here.contains(&variant)))
    }

    /// A variant of this module, verified: mapped where it is when nobody could have changed it, else copied and hashed.
    /// Who asks for more than the word on which it was installed believes root alone about where bytes are stored.
    ///
    /// # Errors
    /// When it is gone, or not what was installed.
    pub fn open(&self, chosen: &Chosen<'_>, on: Option<&Trust>) -> Result<OpenedArtifact, StoreError> {
        let config = chosen.manifest(&self.layout)?.config;
        let owners = if on.is_some() { Owners::Root } else { Owners::AnyOther };
        let mapped = self.open_file(&config, owners)?.map();
        match mapped.map_err(|error| sealing(&config, SealError::Map(error)))? {
            Ok(mapped) => Ok(OpenedArtifact { artifact: verify_mapped(mapped, &config)?, load_path: LoadPath::Mapped }),
            Err(Opened { file, weaknesses, .. }) => {
                Ok(OpenedArtifact { artifact: copy(file, &config)?, load_path: LoadPath::Copied(weaknesses) })
            }
        }
    }

    /// As [`Installed::open`], and every byte is hashed wherever it is.
    ///
    /// # Errors
    /// As [`Installed::open`].
    pub fn check(&self, chosen: &Chosen<'_>) -> Result<VerifiedArtifact, StoreError> {
        let config = chosen.manifest(&self.layout)?.config;
        copy(self.open_file(&config, Owners::Root)?.file, &config)
    }

    fn open_file(&self, config: &VariantConfig, owners: Owners) -> Result<Opened, StoreError> {
        let name = artifact_name(config.artifact.digest);
        protected::open(&self.store.dir, &["artifacts", &name], owners).map_err(|(path, source)| StoreError::Open {
            target: config.target.clone(),
            path,
            source,
        })
    }
}

/// Copies what is in `file`, and hashes it there.
fn copy(file: File, config: &VariantConfig) -> Result<VerifiedArtifact, StoreError> {
    let bytes = SealedBytes::copy(file, config.artifact.size_bytes).map_err(|error| sealing(config, error))?;
    verify(bytes, Expected::Variant(config)).map_err(|error| verifying(config, error))
}

#[allow(unsafe_code)]
fn verify_mapped(mapped: MappedFile, config: &VariantConfig) -> Result<VerifiedArtifact, StoreError> {
    // SAFETY: the file has the name of this digest: it was hashed when it was written, and no weakness was found, so
    // that nobody but those who are believed can have changed or replaced it since.
    unsafe { VerifiedArtifact::assume_hashed(mapped, config) }.map_err(|error| verifying(config, error))
}

fn sealing(config: &VariantConfig, source: SealError) -> StoreError {
    FetchError::Seal { target: config.target.clone(), source }.into()
}

fn verifying(config: &VariantConfig, source: VerifyError) -> StoreError {
    FetchError::Verify { target: config.target.clone(), source }.into()
}

/// An installed artifact, and how it was read.
#[derive(Debug)]
pub struct OpenedArtifact {
    /// The artifact.
    pub artifact: VerifiedArtifact,
    /// How it was read.
    pub load_path: LoadPath,
}

/// How an installed artifact came to be in memory that cannot change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadPath {
    /// Mapped where it is installed: it was hashed then, and nobody can have changed it since.
    Mapped,
    /// Copied into sealed memory and hashed there: somebody could change it. Every reason.
    Copied(Vec<Weakness>),
}

/// Follows "the artifact is".
impl fmt::Display for LoadPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadPath::Mapped => f.write_str("mapped from the store, where nobody can change it since it was hashed"),
            LoadPath::Copied(weaknesses) => {
                write!(f, "copied into sealed memory and hashed there, because it could be changed in the store:")?;
                weaknesses.iter().try_for_each(|weakness| write!(f, "\n  {weakness}"))
            }
        }
    }
}
