//! Where the parts of a module come from, when they are not in a layout yet. In: what names them. Out: their bytes.
//!
//! A registry, a layout and an archive of one are all a [`Source`]: whoever installs a module asks for the index, then
//! for what the host needs of it, and never learns which of them it was.

use isomer_contract::Hinted;
use isomer_contract::manifest::Blob;
use std::error::Error;
use std::fmt;
use std::fs::File;

/// Why a part of a module is not to be had.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    /// What is wrong: the part, what was found, what was expected.
    pub message: String,
    /// What would mend it.
    pub hint: Option<String>,
    /// Why, where something else says so.
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl Hinted for SourceError {
    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

/// A manifest that refers to a module's index, and what it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The referrer's manifest, as it is.
    pub manifest: Vec<u8>,
    /// Its config: the empty JSON object.
    pub config: Vec<u8>,
    /// The bundle.
    pub bundle: Vec<u8>,
}

/// One module as something else offers it.
///
/// All bytes are checked against the digest that they were asked by before anybody gets them, all sizes are bounded,
/// and a failed transfer was tried again before it is an error.
pub trait Source: fmt::Display + Send + Sync {
    /// The name of the module that is asked for, where the place it comes from tells: whoever offers another one there
    /// shall not choose what is installed. None where the digest of the index is asked for, or any module is wanted.
    fn module(&self) -> Option<&str>;

    /// The module's image index, at most [`DOCUMENT_SIZE_BYTES_MAX`] of it.
    ///
    /// [`DOCUMENT_SIZE_BYTES_MAX`]: isomer_contract::limits::DOCUMENT_SIZE_BYTES_MAX
    fn index(&self) -> Result<Vec<u8>, SourceError>;

    /// A manifest that the index names.
    fn manifest(&self, blob: Blob) -> Result<Vec<u8>, SourceError>;

    /// A small blob, a config for example.
    fn document(&self, blob: Blob) -> Result<Vec<u8>, SourceError>;

    /// Fetches a blob into `file`, which may hold the first part of it from an earlier attempt: what is there is kept
    /// where the other side can go on from it. Afterwards the file holds the blob, checked from its first byte on.
    /// `on_bytes` hears of every byte once, those that were there already included.
    fn layer(&self, blob: Blob, file: &mut File, on_bytes: &(dyn Fn(u64) + Sync)) -> Result<(), SourceError>;

    /// The signatures that refer to the index with this digest, at most [`SIGNATURES_MAX`].
    ///
    /// [`SIGNATURES_MAX`]: isomer_contract::limits::SIGNATURES_MAX
    fn signatures(&self, index: Blob) -> Result<Vec<Signature>, SourceError>;
}
