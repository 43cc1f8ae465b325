//! In: a trusted variant of an installed module. Out: its artifact, verified: mapped as installed, or copied and hashed.
//! Never here: a byte executed that this machine has not hashed.

use crate::directory::OpenFile;
use crate::hashed::{self, Witness};
use crate::weakness::Weakness;
use crate::{Installed, StoreError};
use isomer_contract::manifest::VariantConfig;
use isomer_runtime::{
    Chosen, Expected, FetchError, MappedFile, SealError, SealedBytes, VerifiedArtifact, VerifyError, verify,
};
use std::fmt;
use std::io;

/// An installed artifact, and how it was read.
#[derive(Debug)]
pub struct OpenedArtifact {
    /// The artifact.
    pub artifact: VerifiedArtifact,
    /// How it was read.
    pub load_path: LoadPath,
}

/// How an installed artifact was brought into memory that cannot change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadPath {
    /// Mapped from its installed file: this machine hashed that very file, and only root could have changed it since.
    /// Damage of the disk since then is not detected.
    Mapped {
        /// When it was hashed, in RFC 3339.
        hashed_at: String,
    },
    /// Copied into sealed memory and hashed there.
    Copied {
        /// Every reason.
        reasons: Vec<Weakness>,
        /// Whether it is recorded now, so that the next process can map it.
        recorded: bool,
    },
}

/// Follows "the artifact is".
impl fmt::Display for LoadPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadPath::Mapped { hashed_at } => write!(
                f,
                "mapped from the store, and its bytes are not read again: this machine hashed it at {hashed_at}; since then \
                 its file system, inode, size and time of change are the same, and only root can write it"
            ),
            LoadPath::Copied { reasons, recorded } => {
                write!(f, "copied into sealed memory and hashed there, because")?;
                reasons.iter().try_for_each(|weakness| write!(f, "\n  {weakness}"))?;
                if *recorded { write!(f, "\n  that is recorded now: the next process maps it") } else { Ok(()) }
            }
        }
    }
}

impl Installed {
    /// A variant of this module, verified: mapped from its installed file if this machine hashed that very file and only
    /// root could have changed it since; else copied and hashed.
    ///
    /// # Errors
    /// When it is missing, or not what was installed.
    pub fn open(&self, chosen: &Chosen<'_>) -> Result<OpenedArtifact, StoreError> {
        let config = chosen.manifest(&self.layout)?.config;
        let opened = self.open_artifact(&config)?;
        match hashed::record_of(&opened, config.artifact.digest) {
            Ok(record) => {
                let load_path = LoadPath::Mapped { hashed_at: record.at().to_owned() };
                Ok(OpenedArtifact { artifact: map(opened, &config)?, load_path })
            }
            Err(mut reasons) => {
                let (artifact, recorded) = copy(&opened, &config, &mut reasons)?;
                Ok(OpenedArtifact { artifact, load_path: LoadPath::Copied { reasons, recorded } })
            }
        }
    }

    /// As [`Installed::open`], and every byte is hashed wherever it is.
    ///
    /// # Errors
    /// As [`Installed::open`].
    pub fn verify(&self, chosen: &Chosen<'_>) -> Result<VerifiedArtifact, StoreError> {
        let config = chosen.manifest(&self.layout)?.config;
        let opened = self.open_artifact(&config)?;
        copy(&opened, &config, &mut Vec::new()).map(|(artifact, _)| artifact)
    }

    pub(crate) fn open_artifact(&self, config: &VariantConfig) -> Result<OpenFile, StoreError> {
        let digest = config.artifact.digest;
        let failed = |path, source| StoreError::Open { target: config.target.clone(), path, source };
        match self.store.open_artifact(digest) {
            Ok(Some(opened)) => Ok(opened),
            Ok(None) => Err(failed(self.store.artifact_path(digest), io::Error::from_raw_os_error(libc::ENOENT))),
            Err(StoreError::Io { path, source, .. }) => Err(failed(path, source)),
            Err(StoreError::Malformed { file, reason }) => Err(failed(file, io::Error::other(reason))),
            Err(error) => Err(error),
        }
    }
}

/// Copies the artifact, hashes the copy, and records that where records count. Whether it is recorded; if a process
/// prevents that, `reasons` has one more.
fn copy(
    opened: &OpenFile,
    config: &VariantConfig,
    reasons: &mut Vec<Weakness>,
) -> Result<(VerifiedArtifact, bool), StoreError> {
    let witness = Witness::of(opened, reasons);
    let bytes = SealedBytes::copy(&opened.file, config.artifact.size_bytes).map_err(|error| sealing(config, error))?;
    let artifact = verify(bytes, Expected::Variant(config)).map_err(|error| verifying(config, error))?;
    let recorded = witness.is_some_and(|witness| witness.record(opened, config.artifact.digest));
    Ok((artifact, recorded))
}

#[allow(unsafe_code)]
fn map(opened: OpenFile, config: &VariantConfig) -> Result<VerifiedArtifact, StoreError> {
    let size_bytes = u64::try_from(opened.stat.st_size).unwrap_or(0);
    // SAFETY: the caller has this machine's record that root hashed this file as `config.artifact.digest`. No process had
    // it open for writing then, only root can open it for writing, and its time of change shows that nothing wrote since.
    unsafe {
        let mapped =
            MappedFile::new(opened.file, size_bytes).map_err(|error| sealing(config, SealError::Map(error)))?;
        VerifiedArtifact::assume_hashed(mapped, config).map_err(|error| verifying(config, error))
    }
}

fn sealing(config: &VariantConfig, source: SealError) -> StoreError {
    FetchError::Seal { target: config.target.clone(), source }.into()
}

fn verifying(config: &VariantConfig, source: VerifyError) -> StoreError {
    FetchError::Verify { target: config.target.clone(), source }.into()
}
