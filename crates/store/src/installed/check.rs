//! In: an installed module. Out: the manifests of its variants, if everything that they need to run is installed. Never
//! here: an artifact accepted by its name.

use super::Installed;
use crate::StoreError;
use crate::files::is_directory;
use isomer_contract::Variant;
use isomer_contract::manifest::Blob;
use isomer_layout::{LayoutError, Manifest};
use rustix::fs::FileType;

/// How closely an installed version is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Every byte of its documents, and the type and size of its artifacts, whose bytes are checked when they are loaded.
    Sizes,
    /// Every byte.
    Bytes,
}

impl Installed {
    /// The manifests of the installed variants.
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

    /// The variants whose manifests are installed.
    pub(super) fn here(&self) -> Result<Vec<&Variant>, LayoutError> {
        let mut here = Vec::new();
        for variant in &self.module.variants {
            if self.layout.has_manifest(variant)? {
                here.push(variant);
            }
        }
        Ok(here)
    }

    /// As [`Installed::variants`]; its signatures are checked, too.
    pub(crate) fn documents(&self) -> Result<Vec<Manifest>, StoreError> {
        let variants = self.variants()?;
        let signatures = self.layout.signature_documents(self.module.digest);
        signatures.map_err(|error| StoreError::Layout(error).damages(self.module.digest))?;
        Ok(variants)
    }

    /// As [`Installed::check`] of the sizes.
    ///
    /// # Errors
    /// As that.
    pub fn whole(&self) -> Result<Vec<Manifest>, StoreError> {
        self.check(Check::Sizes)
    }

    /// The manifests of the installed variants, if everything that they need to run is installed.
    ///
    /// # Errors
    /// When something is damaged, or cannot be read.
    pub fn check(&self, check: Check) -> Result<Vec<Manifest>, StoreError> {
        let variants = self.documents()?;
        for variant in &variants {
            let checked = self.check_artifact(variant).and_then(|()| match check {
                Check::Sizes => Ok(()),
                Check::Bytes => self.check_bytes(variant),
            });
            checked.map_err(|error| error.damages(self.module.digest))?;
        }
        Ok(variants)
    }

    fn check_artifact(&self, variant: &Manifest) -> Result<(), StoreError> {
        let Blob { digest, size_bytes: expected_bytes } = variant.config.artifact;
        let file = self.store.artifact_path(digest);
        let named_by = || self.layout.dir().join("blobs").join("sha256").join(variant.digest.hex());
        let there = match self.store.root.directory("artifacts")? {
            Some(artifacts) => artifacts.stat(crate::artifact_name(digest))?,
            None => None,
        };
        let Some(there) = there else { return Err(LayoutError::MissingBlob { file, named_by: named_by() }.into()) };
        if FileType::from_raw_mode(there.st_mode) != FileType::RegularFile {
            let found = if is_directory(&there) { "a directory" } else { "a symbolic link, device, socket or pipe" };
            return Err(LayoutError::FileType { file, found, expected: "a regular file" }.into());
        }
        let found_bytes = u64::try_from(there.st_size).unwrap_or(0);
        if found_bytes != expected_bytes {
            return Err(LayoutError::Size { file, found_bytes, expected_bytes, named_by: named_by() }.into());
        }
        Ok(())
    }

    fn check_bytes(&self, variant: &Manifest) -> Result<(), StoreError> {
        let expected = variant.config.artifact.digest;
        let opened = self.open_artifact(&variant.config)?;
        let found = self.store.hash_artifact(&opened, expected)?;
        if found != expected {
            return Err(LayoutError::Digest { file: self.store.artifact_path(expected), found, expected }.into());
        }
        Ok(())
    }
}
