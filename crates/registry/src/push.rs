//! In: a module of a layout, a repository. Out: the module there, under its tag. Never here: a tag that names something
//! of which a part is missing.
//!
//! Blobs come first, then the manifests that name them, then the signatures, then the plain WebAssembly's tag, and the
//! module's own tag last: who sees it finds everything behind it, also when the push breaks off or another one runs.

use crate::referrers::{fallback_tag, listed_by_registry, malformed};
use crate::remote::{INDEX_MEDIA_TYPE, Kind, MANIFEST_MEDIA_TYPE, Remote};
use crate::transport::{Outgoing, Request, header};
use crate::upload::{Content, exists, upload};
use crate::{Problem, Reference, RegistryError};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use isomer_contract::Digest;
use isomer_contract::manifest::{BUNDLE_MEDIA_TYPE, Blob};
use isomer_layout::{Count, Document, Layout, Parts, Signature};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Body, Method};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

/// How many blobs are sent at once.
const UPLOADS_MAX: usize = 4;

/// A module that is in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Where, with the digest of its index.
    pub reference: Reference,
    /// Where its plain WebAssembly is alone, if it has any.
    pub wasm: Option<Reference>,
    /// Blobs and manifests that were sent.
    pub sent: Count,
    /// Those that were there already.
    pub present: Count,
    /// How many signatures refer to it there, of those in the layout.
    pub signatures: usize,
}

/// How far a push is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many bytes are to be there at the end.
    Planned(u64),
    /// So many more of them are there.
    Done(u64),
}

/// Puts the module called `module` into `remote`, under the tag of its reference, and its plain WebAssembly under
/// `TAG-wasm`. What is there already is not sent again. `on_step` is called by several threads.
///
/// # Errors
/// When the layout is damaged, or the registry refuses. The tag is as it was then.
pub fn push(
    layout: &Layout,
    module: &str,
    remote: &Remote,
    on_step: &(dyn Fn(Step) + Sync),
) -> Result<Pushed, RegistryError> {
    let Some(tag) = remote.reference.tag() else { return Err(RegistryError::NoTag(remote.reference.to_string())) };
    let wasm_tag = remote.reference.with_tag(&format!("{tag}-wasm"))?;
    let parts = layout.parts(module)?;
    let push = Push { layout, remote, on_step };
    remote.runtime.block_on(push.all(&parts, tag, &wasm_tag))
}

struct Push<'a> {
    layout: &'a Layout,
    remote: &'a Remote,
    on_step: &'a (dyn Fn(Step) + Sync),
}

/// What became of one part.
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

        let mut outcomes = self.blobs(blobs.into_values().collect()).await?;
        outcomes.extend(self.manifests(manifests, &signatures, parts.index.blob.digest).await?);
        let index = self.remote.reference.with_digest(parts.index.blob.digest);
        let wasm = match &parts.wasm {
            Some(wasm) => {
                let name = wasm_tag.tag().unwrap_or_default();
                self.tag(wasm, name).await?;
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

    async fn blobs(&self, blobs: Vec<(Blob, Content<'_>)>) -> Result<Vec<Outcome>, RegistryError> {
        let on_bytes = |size_bytes| (self.on_step)(Step::Done(size_bytes));
        let uploads = blobs
            .iter()
            .map(async |(blob, content)| Ok((*blob, upload(self.remote, *blob, content, &on_bytes).await?)));
        stream::iter(uploads).buffer_unordered(UPLOADS_MAX).try_collect().await
    }

    async fn manifests(
        &self,
        manifests: Vec<&Document>,
        signatures: &[Document],
        index: Digest,
    ) -> Result<Vec<Outcome>, RegistryError> {
        let puts = manifests.into_iter().map(async |manifest| {
            let sent = self.put(manifest, &manifest.blob.digest.to_string()).await?;
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
        Ok((document.blob, self.put(document, tag).await? != Put::Present))
    }

    /// Puts a manifest or index under `name`, its digest or a tag, unless it is there.
    async fn put(&self, document: &Document, name: &str) -> Result<Put, RegistryError> {
        let doing = match self.remote.reference.with_tag(name) {
            Ok(tagged) => format!("push `{tagged}`"),
            Err(_) => format!("push the manifest {name} to `{}`", self.remote.reference),
        };
        let digest = document.blob.digest.to_string();
        let attempt = async || {
            if exists(self.remote, Kind::Manifest, name).await?.is_some_and(|found| found == digest) {
                return Ok(Put::Present);
            }
            self.send(document, name).await
        };
        self.remote.transport.retrying(&doing, attempt).await
    }

    async fn send(&self, document: &Document, name: &str) -> Result<Put, Problem> {
        let sent_bytes = AtomicU64::new(0);
        let make = || Body::from(document.bytes.clone());
        let url = self.remote.transport.url(&format!("manifests/{name}"));
        let request = Request::new(Method::PUT, url).header(CONTENT_TYPE, document.media_type.as_str());
        let request = Request { body: Some(Outgoing { make: &make, sent_bytes: &sent_bytes }), ..request };
        let response = self.remote.transport.send(&request).await?;
        let listed = header(response.headers(), "oci-subject").is_some();
        Ok(if listed { Put::SentAndListed } else { Put::Sent })
    }

    /// Sees to it that the signatures are found: by the registry's own list, or in the one that clients keep for it.
    ///
    /// Two clients that write that list at the same moment may overwrite each other; the specification has no remedy,
    /// and pushing again mends it.
    async fn list(&self, signatures: &[Document], index: Digest) -> Result<(), RegistryError> {
        let doing = format!("list the signatures of `{}`", self.remote.reference.with_digest(index));
        let transport = &self.remote.transport;
        if transport.retrying(&doing, async || listed_by_registry(self.remote, index).await).await?.is_some() {
            return Ok(());
        }
        let tag = fallback_tag(index);
        let attempt = async || {
            let mut list: Value = match self.remote.read_manifest(&tag).await {
                Ok((bytes, _)) => serde_json::from_slice(&bytes).map_err(|error| malformed(&error))?,
                Err(problem) if problem.status() == Some(404) => {
                    json!({"schemaVersion": 2, "mediaType": INDEX_MEDIA_TYPE, "manifests": []})
                }
                Err(problem) => return Err(problem),
            };
            let Some(listed) = list.get_mut("manifests").and_then(Value::as_array_mut) else {
                return Err(Problem::Malformed(format!("what is tagged `{tag}` is no list of referrers")));
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

/// What became of a manifest.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Put {
    /// It was there.
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
