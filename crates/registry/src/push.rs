//! In: a module of a layout, a repository. Out: the module there, under its tag. Never here: a tag that names something
//! of which a part is missing; a version's tag that names other content than before.
//!
//! Blobs come first, then the manifests that name them, then the signatures, then the plain WebAssembly's tag, and the
//! module's own tag last: a client that sees the tag finds everything behind it, also when the push breaks off or
//! another one runs.
//!
//! Whether a tag exists is asked before anything is sent, and again when the tag is put. The protocol has no conditional
//! request, so of two pushes at the same moment the later one wins, unless the registry keeps tags immutable itself.

use crate::exchange::header;
use crate::referrers::{fallback_tag, listed_by_registry, malformed};
use crate::repository::{INDEX_MEDIA_TYPE, Kind, MANIFEST_MEDIA_TYPE, Repository};
use crate::transport::{Outgoing, Request};
use crate::upload::{Content, upload};
use crate::{Problem, Reference, RegistryError, Remote};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use isomer_contract::manifest::{BUNDLE_MEDIA_TYPE, Blob};
use isomer_contract::{Digest, shorten};
use isomer_layout::{Count, Document, Layout, Parts, Signature, is_version_tag};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Body, Method};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

/// How many blobs are sent at once.
const UPLOADS_MAX: usize = 4;

/// How a module is pushed.
#[derive(Clone, Copy)]
pub struct PushOptions<'a> {
    /// Whether the tag of a version may name other content afterwards than it did. Servers that pull the version again
    /// get that content; others keep what they have.
    pub move_version_tag: bool,
    /// Called by several threads with what was done.
    pub on_step: &'a (dyn Fn(Step) + Sync),
}

/// A module that is in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Its reference, with the digest of its index.
    pub reference: Reference,
    /// The reference of its plain WebAssembly alone, if it has any.
    pub wasm: Option<Reference>,
    /// Blobs and manifests that were sent.
    pub sent: Count,
    /// Those that the registry had already.
    pub present: Count,
    /// How many signatures refer to it there, of those in the layout.
    pub signatures: usize,
}

/// The progress of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The size of all parts in bytes.
    Planned(u64),
    /// So many more of them are in the registry.
    Done(u64),
}

/// Puts the module called `module` into `remote`, under the tag of its reference, and its plain WebAssembly under
/// `TAG-wasm`. What the registry has already is not sent again.
///
/// A tag that names a version, [`is_version_tag`], must be the version that the module declares. It is put once: where
/// it names other content, of this module or of another, that is an error, unless `options` allow it.
///
/// # Errors
/// When the layout is damaged, the tag is taken, or the registry refuses. The tag is unchanged then.
pub fn push(
    layout: &Layout,
    module: &str,
    remote: &Remote,
    options: &PushOptions<'_>,
) -> Result<Pushed, RegistryError> {
    let reference = remote.reference();
    let Some(tag) = reference.tag() else { return Err(RegistryError::NoTag(reference.to_string())) };
    let wasm_tag = reference.with_tag(&format!("{tag}-wasm"))?;
    let declared = layout.module(module)?.reference;
    let version = declared.rsplit_once(':').map(|(_, version)| version);
    if let Some(version) = version.filter(|version| is_version_tag(tag) && *version != tag) {
        return Err(RegistryError::OtherVersion { reference: reference.to_string(), version: version.to_owned() });
    }
    let parts = layout.parts(module)?;
    let fixed = is_version_tag(tag) && !options.move_version_tag;
    let push = Push { layout, repository: &remote.repository, on_step: options.on_step, fixed };
    remote.runtime.block_on(push.all(&parts, tag, &wasm_tag))
}

struct Push<'a> {
    layout: &'a Layout,
    repository: &'a Repository,
    on_step: &'a (dyn Fn(Step) + Sync),
    /// Whether the tags must not name other content afterwards.
    fixed: bool,
}

/// A part, and whether it was sent.
type Outcome = (Blob, bool);

impl Push<'_> {
    async fn all(&self, parts: &Parts, tag: &str, wasm_tag: &Reference) -> Result<Pushed, RegistryError> {
        let mut blobs: BTreeMap<Digest, (Blob, Content<'_>)> = BTreeMap::new();
        blobs.extend(parts.blobs.iter().map(|blob| (blob.digest, (*blob, Content::File(self.layout)))));
        for bytes in parts.signatures.iter().flat_map(|it| [&it.config, &it.bundle]) {
            let blob = Blob::of(bytes);
            blobs.insert(blob.digest, (blob, Content::Bytes(bytes)));
        }
        let signatures: Vec<Document> = parts.signatures.iter().map(document).collect();
        let manifests: Vec<&Document> = parts.manifests.iter().chain(&signatures).collect();
        let planned = blobs
            .values()
            .map(|(blob, _)| blob.size_bytes)
            .chain(manifests.iter().copied().chain([&parts.index]).map(|it| it.blob.size_bytes));
        (self.on_step)(Step::Planned(planned.sum()));

        let wasm_name = wasm_tag.tag().unwrap_or_default();
        for (document, name) in parts.wasm.iter().map(|wasm| (wasm, wasm_name)).chain([(&parts.index, tag)]) {
            self.check_tag(document, name).await?;
        }
        let mut outcomes = self.blobs(blobs.into_values().collect()).await?;
        outcomes.extend(self.manifests(manifests, &signatures, parts.index.blob.digest).await?);
        let index = self.repository.reference.with_digest(parts.index.blob.digest);
        let wasm = match &parts.wasm {
            Some(wasm) => {
                self.tag(wasm, wasm_name).await?;
                Some(wasm_tag.with_digest(wasm.blob.digest))
            }
            None => None,
        };
        outcomes.push(self.tag(&parts.index, tag).await?);
        (self.on_step)(Step::Done(parts.index.blob.size_bytes));

        let count = |wanted: bool| {
            let of_these = outcomes.iter().filter(|(_, sent)| *sent == wanted);
            of_these.fold(Count::default(), |count, (blob, _)| Count {
                blobs: count.blobs + 1,
                size_bytes: count.size_bytes + blob.size_bytes,
            })
        };
        let (sent, present) = (count(true), count(false));
        Ok(Pushed { reference: index, wasm, sent, present, signatures: signatures.len() })
    }

    /// That the tag called `name` is free, or names `document` already, or may be moved.
    async fn check_tag(&self, document: &Document, name: &str) -> Result<(), RegistryError> {
        if !self.fixed {
            return Ok(());
        }
        let doing = self.doing(name);
        let found = async || self.repository.exists(Kind::Manifest, name).await;
        let found = self.repository.transport.retrying(&doing, found).await?;
        match self.why_taken(document, found.as_deref()) {
            Some(problem) => Err(RegistryError::transfer(doing, problem, 1)),
            None => Ok(()),
        }
    }

    /// Why a tag that names `found` may not name `document`.
    fn why_taken(&self, document: &Document, found: Option<&str>) -> Option<Problem> {
        let found = found.filter(|found| self.fixed && *found != document.blob.digest.to_string())?;
        Some(Problem::TagExists { found: shorten(found), refusal: None })
    }

    /// For messages: the document under this tag or digest.
    fn doing(&self, name: &str) -> String {
        match self.repository.reference.with_tag(name) {
            Ok(tagged) => format!("push `{tagged}`"),
            Err(_) => format!("push the manifest {name} to `{}`", self.repository.reference),
        }
    }

    async fn blobs(&self, blobs: Vec<(Blob, Content<'_>)>) -> Result<Vec<Outcome>, RegistryError> {
        let on_bytes = |size_bytes| (self.on_step)(Step::Done(size_bytes));
        let uploads = blobs
            .iter()
            .map(async |(blob, content)| Ok((*blob, upload(self.repository, *blob, content, &on_bytes).await?)));
        stream::iter(uploads).buffer_unordered(UPLOADS_MAX).try_collect().await
    }

    async fn manifests(
        &self,
        manifests: Vec<&Document>,
        signatures: &[Document],
        index: Digest,
    ) -> Result<Vec<Outcome>, RegistryError> {
        let puts = manifests.into_iter().map(async |manifest| {
            let sent = self.put(manifest).await?;
            (self.on_step)(Step::Done(manifest.blob.size_bytes));
            Ok::<_, RegistryError>((manifest.blob, sent))
        });
        let puts: Vec<(Blob, Put)> = stream::iter(puts).buffer_unordered(UPLOADS_MAX).try_collect().await?;
        let listed = |it: &Document| puts.iter().any(|(blob, put)| *blob == it.blob && *put == Put::SentAndListed);
        if !signatures.iter().all(listed) {
            self.list(signatures, index).await?;
        }
        Ok(puts.into_iter().map(|(blob, put)| (blob, put != Put::Present)).collect())
    }

    async fn tag(&self, document: &Document, tag: &str) -> Result<Outcome, RegistryError> {
        let attempt = async || {
            let found = self.repository.exists(Kind::Manifest, tag).await?;
            if found.as_ref().is_some_and(|found| *found == document.blob.digest.to_string()) {
                return Ok(false);
            }
            if let Some(problem) = self.why_taken(document, found.as_deref()) {
                return Err(problem);
            }
            self.send(document, tag).await.map(|_| true).map_err(|problem| immutable(problem, found))
        };
        let sent = self.repository.transport.retrying(&self.doing(tag), attempt).await?;
        Ok((document.blob, sent))
    }

    /// Puts a manifest under its digest, unless it is there.
    async fn put(&self, document: &Document) -> Result<Put, RegistryError> {
        let digest = document.blob.digest.to_string();
        let attempt = async || match self.repository.exists(Kind::Manifest, &digest).await? {
            Some(found) if found == digest => Ok(Put::Present),
            _ => self.send(document, &digest).await,
        };
        self.repository.transport.retrying(&self.doing(&digest), attempt).await
    }

    async fn send(&self, document: &Document, name: &str) -> Result<Put, Problem> {
        let sent_bytes = AtomicU64::new(0);
        let make = || Body::from(document.bytes.clone());
        let url = self.repository.transport.url(&format!("manifests/{name}"));
        let request = Request::new(Method::PUT, url).header(CONTENT_TYPE, document.media_type.as_str());
        let request = Request { body: Some(Outgoing { make: &make, sent_bytes: &sent_bytes }), ..request };
        let response = self.repository.transport.send(&request).await?;
        let listed = header(response.headers(), "oci-subject").is_some();
        Ok(if listed { Put::SentAndListed } else { Put::Sent })
    }

    /// Makes the signatures discoverable: by the registry's own list, or in the one that clients keep for it.
    ///
    /// Two clients that write that list at the same moment may overwrite each other; the specification has no remedy,
    /// and another push adds what is missing.
    async fn list(&self, signatures: &[Document], index: Digest) -> Result<(), RegistryError> {
        let doing = format!("list the signatures of `{}`", self.repository.reference.with_digest(index));
        let transport = &self.repository.transport;
        if transport.retrying(&doing, async || listed_by_registry(self.repository, index).await).await?.is_some() {
            return Ok(());
        }
        let tag = fallback_tag(index);
        let attempt = async || {
            let mut list: Value = match self.repository.read_manifest(&tag).await {
                Ok((bytes, _)) => serde_json::from_slice(&bytes).map_err(|error| malformed(&error))?,
                Err(problem) if problem.status() == Some(404) => {
                    json!({"schemaVersion": 2, "mediaType": INDEX_MEDIA_TYPE, "manifests": []})
                }
                Err(problem) => return Err(problem),
            };
            let Some(listed) = list.get_mut("manifests").and_then(Value::as_array_mut) else {
                return Err(Problem::Malformed(format!("`{tag}` is not a list of referrers")));
            };
            let before = listed.len();
            for signature in signatures {
                let digest = json!(signature.blob.digest.to_string());
                if listed.iter().all(|it| it.get("digest") != Some(&digest)) {
                    listed.push(json!({
                        "artifactType": BUNDLE_MEDIA_TYPE,
                        "digest": digest,
                        "mediaType": MANIFEST_MEDIA_TYPE,
                        "size": signature.blob.size_bytes,
                    }));
                }
            }
            if listed.len() == before {
                return Ok(());
            }
            let bytes = list.to_string().into_bytes();
            let media_type = INDEX_MEDIA_TYPE.to_owned();
            self.send(&Document { blob: Blob::of(&bytes), media_type, bytes }, &tag).await.map(|_| ())
        };
        transport.retrying(&doing, attempt).await
    }
}

/// That the registry refused to move a tag which names `found`, where its answer says that. The specification has no code
/// for it; registries with immutable tags answer 400 TAG_INVALID (Amazon's), 409, or 412 (Harbor).
fn immutable(problem: Problem, found: Option<String>) -> Problem {
    match (problem, found) {
        (Problem::Status { status, refusal, redirected_by: None, .. }, Some(found))
            if matches!(status.as_u16(), 409 | 412)
                || status.is_client_error()
                    && (refusal.has_code("TAG_INVALID") || refusal.words.to_lowercase().contains("immutab")) =>
        {
            Problem::TagExists { found: shorten(&found), refusal: Some(refusal) }
        }
        (problem, _) => problem,
    }
}

/// What was done with a manifest.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Put {
    /// The registry had it.
    Present,
    /// It was sent.
    Sent,
    /// It was sent, and the registry lists it for its subject.
    SentAndListed,
}

fn document(signature: &Signature) -> Document {
    let bytes = signature.manifest.clone();
    Document { blob: Blob::of(&bytes), media_type: MANIFEST_MEDIA_TYPE.to_owned(), bytes }
}
