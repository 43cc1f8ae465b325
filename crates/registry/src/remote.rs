//! In: a reference, options. Out: the repository that it names, to read a module from. Never here: more of an answer
//! than its descriptor promised.

use crate::reference::Reference;
use crate::transport::{Request, Transport, header};
use crate::{Options, Problem, RegistryError, download, referrers};
use isomer_contract::Digest;
use isomer_contract::limits::DOCUMENT_SIZE_BYTES_MAX;
use isomer_contract::manifest::Blob;
use isomer_layout::{Signature, Source, SourceError};
use reqwest::Method;
use reqwest::header::ACCEPT;
use std::fmt;
use std::fs::File;
use std::io;
use tokio::runtime::{Builder, Runtime};

pub(crate) const INDEX_MEDIA_TYPE: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const MANIFEST_MEDIA_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const CONTENT_DIGEST: &str = "docker-content-digest";

/// One repository of a registry, and what the reference says is meant there.
///
/// Its methods block. They may be called by many threads, and not from an asynchronous task.
pub struct Remote {
    pub(crate) reference: Reference,
    pub(crate) transport: Transport,
    pub(crate) runtime: Runtime,
}

impl Remote {
    /// Prepares to speak to the registry; nothing is sent yet.
    ///
    /// # Errors
    /// When a file that `options` or docker's configuration names can't be used, or [`Options::plain_http`] is set for
    /// another machine.
    pub fn connect(reference: &Reference, options: &Options) -> Result<Remote, RegistryError> {
        let transport = Transport::new(reference, options)?;
        // Connections live on the worker; what waits for them is on the caller's thread.
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|error: io::Error| RegistryError::Setup(error.to_string()))?;
        Ok(Remote { reference: reference.clone(), transport, runtime })
    }

    /// What it was connected with.
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    async fn fetch_index(&self) -> Result<Vec<u8>, RegistryError> {
        let name = match (self.reference.digest(), self.reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.to_owned(),
            (None, None) => return Err(RegistryError::NoTag(self.reference.to_string())),
        };
        let doing = format!("get the index of `{}`", self.reference);
        let read = async || self.read_manifest(&name).await;
        let (bytes, said) = self.transport.retrying(&doing, read).await?;
        let found = Digest::of(&bytes);
        match self.reference.digest().or(said) {
            Some(expected) if expected != found => {
                Err(RegistryError::transfer(doing, Problem::Digest { found, expected }, 1))
            }
            _ => Ok(bytes),
        }
    }

    /// The manifest or index called `name`, and the digest that the registry says it has.
    pub(crate) async fn read_manifest(&self, name: &str) -> Result<(Vec<u8>, Option<Digest>), Problem> {
        let request = Request::new(Method::GET, self.transport.url(&format!("manifests/{name}")));
        let request = request.header(ACCEPT, format!("{INDEX_MEDIA_TYPE}, {MANIFEST_MEDIA_TYPE}"));
        let response = self.transport.send(&request).await?;
        let said = header(response.headers(), CONTENT_DIGEST).and_then(|it| it.parse().ok());
        Ok((self.transport.read(response, DOCUMENT_SIZE_BYTES_MAX).await?, said))
    }

    /// A document that something else named.
    pub(crate) async fn fetch(&self, kind: Kind, blob: Blob, limit_bytes: u64) -> Result<Vec<u8>, RegistryError> {
        let Blob { digest, size_bytes } = blob;
        let doing = format!("get {kind} {digest} of `{}`", self.reference);
        if size_bytes > limit_bytes {
            let problem = Problem::Claim { found_bytes: size_bytes, limit_bytes };
            return Err(RegistryError::transfer(doing, problem, 1));
        }
        let read = async || {
            let request = Request::new(Method::GET, self.transport.url(&format!("{}/{digest}", kind.path())));
            let request = request.header(ACCEPT, kind.accept());
            let response = self.transport.send(&request).await?;
            let bytes = self.transport.read(response, size_bytes).await?;
            let found_bytes = bytes.len() as u64;
            if found_bytes != size_bytes {
                return Err(Problem::Size { found_bytes, expected_bytes: size_bytes });
            }
            match Digest::of(&bytes) {
                found if found == digest => Ok(bytes),
                found => Err(Problem::Digest { found, expected: digest }),
            }
        };
        self.transport.retrying(&doing, read).await
    }
}

/// What registries keep apart.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Manifest,
    Blob,
}

impl Kind {
    pub(crate) fn path(self) -> &'static str {
        match self {
            Kind::Manifest => "manifests",
            Kind::Blob => "blobs",
        }
    }

    pub(crate) fn accept(self) -> String {
        match self {
            Kind::Manifest => format!("{MANIFEST_MEDIA_TYPE}, {INDEX_MEDIA_TYPE}"),
            Kind::Blob => "*/*".to_owned(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Manifest => "the manifest",
            Kind::Blob => "the blob",
        })
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reference.fmt(f)
    }
}

impl Source for Remote {
    /// `isomer push` gives each module a repository whose last name is the module's.
    fn module(&self) -> Option<&str> {
        let repository = self.reference.repository();
        match self.reference.digest() {
            None => Some(repository.rsplit_once('/').map_or(repository, |(_, name)| name)),
            Some(_) => None,
        }
    }

    fn index(&self) -> Result<Vec<u8>, SourceError> {
        Ok(self.runtime.block_on(self.fetch_index())?)
    }

    fn manifest(&self, blob: Blob) -> Result<Vec<u8>, SourceError> {
        Ok(self.runtime.block_on(self.fetch(Kind::Manifest, blob, DOCUMENT_SIZE_BYTES_MAX))?)
    }

    fn document(&self, blob: Blob) -> Result<Vec<u8>, SourceError> {
        Ok(self.runtime.block_on(self.fetch(Kind::Blob, blob, DOCUMENT_SIZE_BYTES_MAX))?)
    }

    fn layer(&self, blob: Blob, file: &mut File, on_bytes: &(dyn Fn(u64) + Sync)) -> Result<(), SourceError> {
        Ok(self.runtime.block_on(download::layer(self, blob, file, on_bytes))?)
    }

    fn signatures(&self, index: Blob) -> Result<Vec<Signature>, SourceError> {
        Ok(self.runtime.block_on(referrers::signatures(self, index.digest))?)
    }
}
