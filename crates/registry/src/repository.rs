//! In: a reference, options. Out: documents of the repository that it names. Never here: more of an answer than its
//! descriptor promised; a byte that was not compared with the digest that named it.

use crate::exchange::header;
use crate::reference::Reference;
use crate::transport::{Request, Transport};
use crate::{Options, Problem, RegistryError};
use isomer_contract::Digest;
use isomer_contract::limits::DOCUMENT_SIZE_BYTES_MAX;
use isomer_contract::manifest::Blob;
use reqwest::Method;
use reqwest::header::ACCEPT;
use std::fmt;

pub(crate) const INDEX_MEDIA_TYPE: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const MANIFEST_MEDIA_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONTENT_DIGEST: &str = "docker-content-digest";

/// One repository of a registry, and the tag or digest of the reference that named it.
pub(crate) struct Repository {
    pub(crate) reference: Reference,
    pub(crate) transport: Transport,
}

impl Repository {
    pub(crate) fn new(reference: &Reference, options: &Options) -> Result<Repository, RegistryError> {
        Ok(Repository { reference: reference.clone(), transport: Transport::new(reference, options)? })
    }

    /// The index or manifest that the reference names.
    pub(crate) async fn index(&self) -> Result<Vec<u8>, RegistryError> {
        let name = match (self.reference.digest(), self.reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.to_owned(),
            (None, None) => return Err(RegistryError::NoTag(self.reference.to_string())),
        };
        let doing = format!("get the index of `{}`", self.reference);
        let read = async || self.read_manifest(&name).await;
        let (bytes, declared) = self.transport.retrying(&doing, read).await?;
        let found = Digest::of(&bytes);
        match self.reference.digest().or(declared) {
            Some(expected) if expected != found => {
                Err(RegistryError::transfer(doing, Problem::Digest { found, expected }, 1))
            }
            _ => Ok(bytes),
        }
    }

    /// The manifest or index called `name`, and the digest that the registry declares for it.
    pub(crate) async fn read_manifest(&self, name: &str) -> Result<(Vec<u8>, Option<Digest>), Problem> {
        let request = Request::new(Method::GET, self.transport.url(&format!("manifests/{name}")));
        let request = request.header(ACCEPT, format!("{INDEX_MEDIA_TYPE}, {MANIFEST_MEDIA_TYPE}"));
        let response = self.transport.send(&request).await?;
        let declared = header(response.headers(), CONTENT_DIGEST).and_then(|it| it.parse().ok());
        Ok((self.transport.read(response, DOCUMENT_SIZE_BYTES_MAX).await?, declared))
    }

    /// A document that another one names.
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

    /// Whether the repository has it: the digest that it declares, empty where it declares none.
    pub(crate) async fn exists(&self, kind: Kind, name: &str) -> Result<Option<String>, Problem> {
        let url = self.transport.url(&format!("{}/{name}", kind.path()));
        let request = |method| Request::new(method, url.clone()).header(ACCEPT, kind.accept());
        let answer = match self.transport.send(&request(Method::HEAD)).await {
            // A refusal of HEAD has no body, in which a registry says why; and some refuse no more than that method.
            Err(problem) if problem.is_refusal() => self.transport.send(&request(Method::GET)).await,
            answer => answer,
        };
        match answer {
            Ok(response) => Ok(Some(header(response.headers(), CONTENT_DIGEST).unwrap_or_default().to_owned())),
            Err(problem) if problem.status() == Some(404) => Ok(None),
            Err(problem) => Err(problem),
        }
    }
}

/// What registries keep apart.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Manifest,
    Blob,
}

impl Kind {
    fn path(self) -> &'static str {
        match self {
            Kind::Manifest => "manifests",
            Kind::Blob => "blobs",
        }
    }

    fn accept(self) -> String {
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
