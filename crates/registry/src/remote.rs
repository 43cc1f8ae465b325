//! In: a reference, options. Out: the module that it names, as a [`Source`]. Never here: a protocol.

use crate::reference::Reference;
use crate::repository::{Kind, Repository};
use crate::{Options, RegistryError, download, referrers};
use isomer_contract::limits::DOCUMENT_SIZE_BYTES_MAX;
use isomer_contract::manifest::Blob;
use isomer_layout::{FoundSignatures, Requested, Source, SourceError};
use std::fmt;
use std::fs::File;
use tokio::runtime::{Builder, Runtime};

/// A module in a registry.
///
/// Its methods block, and may be called by many threads; a call from an asynchronous task is a panic of tokio's. The
/// client is asynchronous inside: several blobs are sent at once, and each request has a timeout. There is no
/// asynchronous interface.
pub struct Remote {
    pub(crate) repository: Repository,
    pub(crate) runtime: Runtime,
}

impl Remote {
    /// Prepares connections to the registry; nothing is sent yet.
    ///
    /// # Errors
    /// When a file that `options` or docker's configuration names cannot be used, or [`Options::plain_http`] is set for
    /// another machine.
    pub fn connect(reference: &Reference, options: &Options) -> Result<Remote, RegistryError> {
        let repository = Repository::new(reference, options)?;
        // Connections live on the worker; the caller's thread waits.
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|error| RegistryError::Setup(error.to_string()))?;
        Ok(Remote { repository, runtime })
    }

    /// The reference that it was connected with.
    pub fn reference(&self) -> &Reference {
        &self.repository.reference
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reference().fmt(f)
    }
}

impl Source for Remote {
    /// `isomer push` gives each module a repository whose last component is the module's name.
    fn requested(&self) -> Requested<'_> {
        let repository = self.reference().repository();
        let last = repository.rsplit_once('/').map_or(repository, |(_, name)| name);
        Requested { module: self.reference().digest().is_none().then_some(last), tag: self.reference().tag() }
    }

    fn index(&self) -> Result<Vec<u8>, SourceError> {
        Ok(self.runtime.block_on(self.repository.index())?)
    }

    fn manifest(&self, blob: Blob) -> Result<Vec<u8>, SourceError> {
        Ok(self.runtime.block_on(self.repository.fetch(Kind::Manifest, blob, DOCUMENT_SIZE_BYTES_MAX))?)
    }

    fn document(&self, blob: Blob) -> Result<Vec<u8>, SourceError> {
        Ok(self.runtime.block_on(self.repository.fetch(Kind::Blob, blob, DOCUMENT_SIZE_BYTES_MAX))?)
    }

    fn layer(&self, blob: Blob, file: &mut File, on_bytes: &(dyn Fn(u64) + Sync)) -> Result<(), SourceError> {
        Ok(self.runtime.block_on(download::layer(&self.repository, blob, file, on_bytes))?)
    }

    fn signatures(&self, index: Blob) -> Result<FoundSignatures, SourceError> {
        Ok(self.runtime.block_on(referrers::signatures(&self.repository, index.digest))?)
    }
}
