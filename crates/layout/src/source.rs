//! Where a module is installed from. In: a descriptor. Out: the bytes.
//!
//! A registry, a layout and an archive of one are all a [`Source`]: an installation reads the index, then the parts that
//! the host needs, and does not depend on which of them it is.

use crate::Requested;
use isomer_contract::Hinted;
use isomer_contract::manifest::Blob;
use std::error::Error;
use std::fmt;
use std::fs::File;

/// Why a part of a module cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    /// What is wrong: the part, what was found, what was expected.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The cause, if there is one.
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl Hinted for SourceError {
    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

/// A manifest that refers to a module's index, with its blobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The referrer's manifest, byte for byte.
    pub manifest: Vec<u8>,
    /// Its config: the empty JSON object.
    pub config: Vec<u8>,
    /// The bundle.
    pub bundle: Vec<u8>,
}

/// The signatures of an index, as far as they can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundSignatures {
    /// Those that can be read.
    pub readable: Vec<Signature>,
    /// For each of the others, which it is and why it cannot be read.
    pub unreadable: Vec<String>,
}

/// One module in a registry, a layout or an archive.
///
/// All bytes are compared with the digest in their descriptor before they are returned, all sizes are bounded, and a failed
/// transfer was retried before it is an error.
pub trait Source: fmt::Display + Send + Sync {
    /// The module and version that are requested: any other is refused.
    fn requested(&self) -> Requested<'_>;

    /// The module's image index, at most [`DOCUMENT_SIZE_BYTES_MAX`] of it.
    ///
    /// [`DOCUMENT_SIZE_BYTES_MAX`]: isomer_contract::limits::DOCUMENT_SIZE_BYTES_MAX
    ///
    /// # Errors
    /// When it cannot be fetched, or is larger.
    fn index(&self) -> Result<Vec<u8>, SourceError>;

    /// A manifest that the index names.
    ///
    /// # Errors
    /// When it cannot be fetched, or is not that blob.
    fn manifest(&self, blob: Blob) -> Result<Vec<u8>, SourceError>;

    /// A small blob, a config for example.
    ///
    /// # Errors
    /// As [`Source::manifest`].
    fn document(&self, blob: Blob) -> Result<Vec<u8>, SourceError>;

    /// Fetches a blob into `file`, which may hold the first part of it from an earlier attempt: a source that can resume
    /// keeps that. Afterwards the file holds the blob, checked from its first byte on. `on_bytes` is called with the
    /// number of new bytes, those of the earlier attempt included.
    ///
    /// # Errors
    /// As [`Source::manifest`]; the bytes that were fetched stay in `file`. Also when `file` cannot be written.
    fn layer(&self, blob: Blob, file: &mut File, on_bytes: &(dyn Fn(u64) + Sync)) -> Result<(), SourceError>;

    /// The signatures that refer to the index with this digest, at most [`SIGNATURES_MAX`]. One that is damaged or cannot
    /// be fetched is no error: another one may suffice.
    ///
    /// [`SIGNATURES_MAX`]: isomer_contract::limits::SIGNATURES_MAX
    ///
    /// # Errors
    /// When the source cannot be asked for them at all.
    fn signatures(&self, index: Blob) -> Result<FoundSignatures, SourceError>;
}
