//! In: the digest of an index. Out: the signatures that refer to it. Never here: whether they are right.
//!
//! OCI 1.1 registries list what refers to a manifest (`/referrers/DIGEST`); for older ones clients keep that list
//! themselves, as an index under the tag `sha256-HEX`.

use crate::remote::{Kind, Remote};
use crate::transport::{Request, header};
use crate::{Problem, RegistryError};
use isomer_contract::limits::{DOCUMENT_SIZE_BYTES_MAX, SIGNATURES_MAX};
use isomer_contract::manifest::{BUNDLE_MEDIA_TYPE, Blob};
use isomer_contract::{Digest, shorten};
use isomer_layout::Signature;
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType};
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, LINK};
use std::collections::BTreeSet;

/// The largest manifest of a signature; isomer's have less than 1 KiB.
const MANIFEST_SIZE_BYTES_MAX: u64 = 64 << 10;
/// Referrers of other kinds may be on these pages too.
const PAGES_MAX: usize = 16;
/// Referrers that do not say what they are have to be fetched to know it.
const UNKNOWN_MAX: usize = 64;

/// The signatures that refer to the index with this digest.
pub(crate) async fn signatures(remote: &Remote, index: Digest) -> Result<Vec<Signature>, RegistryError> {
    let doing = format!("get the signatures of `{}`", remote.reference.with_digest(index));
    let error = |problem| RegistryError::transfer(&doing, problem, 1);
    let listed = match remote.transport.retrying(&doing, async || listed_by_registry(remote, index).await).await? {
        Some(listed) => listed,
        None => remote.transport.retrying(&doing, async || listed_by_clients(remote, index).await).await?,
    };
    let mut seen = BTreeSet::new();
    let (mut said_so, mut unknown) = (Vec::new(), Vec::new());
    for descriptor in listed {
        let is_manifest = *descriptor.media_type() == MediaType::ImageManifest;
        if !is_manifest || !seen.insert(descriptor.digest().to_string()) {
            continue;
        }
        match descriptor.artifact_type() {
            Some(kind) if kind.as_ref() == BUNDLE_MEDIA_TYPE => said_so.push(descriptor),
            Some(_) => {}
            None if descriptor.size() <= MANIFEST_SIZE_BYTES_MAX => unknown.push(descriptor),
            None => {}
        }
    }
    unknown.truncate(UNKNOWN_MAX);
    let mut signatures = Vec::new();
    for descriptor in said_so.iter().chain(&unknown) {
        if signatures.len() >= SIGNATURES_MAX {
            return Err(error(Problem::TooManySignatures(said_so.len().max(SIGNATURES_MAX + 1))));
        }
        let manifest = blob_of(descriptor).map_err(&error)?;
        let bytes = match remote.fetch(Kind::Manifest, manifest, MANIFEST_SIZE_BYTES_MAX).await {
            // A list may outlive what it names, and one good signature is enough.
            Err(RegistryError::Transfer { problem, .. }) if problem.status() == Some(404) => {
                tracing::warn!("the signature {} that `{}` lists is not there", manifest.digest, remote.reference());
                continue;
            }
            bytes => bytes?,
        };
        if let Some((config, bundle)) = parts(&bytes, index).map_err(&error)? {
            let config = remote.fetch(Kind::Blob, config, DOCUMENT_SIZE_BYTES_MAX).await?;
            let bundle = remote.fetch(Kind::Blob, bundle, DOCUMENT_SIZE_BYTES_MAX).await?;
            signatures.push(Signature { manifest: bytes, config, bundle });
        }
    }
    Ok(signatures)
}

/// The config and the bundle that a referrer's manifest names; none when it is no signature of `index`.
fn parts(bytes: &[u8], index: Digest) -> Result<Option<(Blob, Blob)>, Problem> {
    // What refers to the index and is none of ours may be anything.
    let Ok(manifest) = serde_json::from_slice::<ImageManifest>(bytes) else { return Ok(None) };
    let kind = manifest.artifact_type().as_ref().map(MediaType::as_ref);
    let subject = manifest.subject().as_ref().map(|it| it.digest().to_string());
    if kind != Some(BUNDLE_MEDIA_TYPE) || subject != Some(index.to_string()) {
        return Ok(None);
    }
    let [layer] = &manifest.layers()[..] else {
        let found = manifest.layers().len();
        return Err(Problem::Malformed(format!("the manifest of one has {found} layers, expected one")));
    };
    if layer.media_type().as_ref() != BUNDLE_MEDIA_TYPE {
        let found = shorten(layer.media_type().as_ref());
        return Err(Problem::Malformed(format!("the layer of one is `{found}`, expected `{BUNDLE_MEDIA_TYPE}`")));
    }
    Ok(Some((blob_of(manifest.config())?, blob_of(layer)?)))
}

/// What the registry's own list holds, or none when it keeps none.
pub(crate) async fn listed_by_registry(remote: &Remote, index: Digest) -> Result<Option<Vec<Descriptor>>, Problem> {
    let mut url = remote.transport.url(&format!("referrers/{index}"));
    url.query_pairs_mut().append_pair("artifactType", BUNDLE_MEDIA_TYPE);
    let mut listed = Vec::new();
    for _ in 0..PAGES_MAX {
        let response = match remote.transport.send(&Request::new(Method::GET, url.clone())).await {
            // 404 is what the specification says; some older ones do not know the path otherwise.
            Err(problem) if matches!(problem.status(), Some(400 | 404 | 405)) => return Ok(None),
            result => result?,
        };
        let kind = header(response.headers(), CONTENT_TYPE.as_str()).unwrap_or_default();
        if kind.split(';').next().map(str::trim) != Some(MediaType::ImageIndex.as_ref()) {
            return Ok(None);
        }
        let next = header(response.headers(), LINK.as_str()).and_then(next_page).map(str::to_owned);
        let from = response.url().clone();
        let bytes = remote.transport.read(response, DOCUMENT_SIZE_BYTES_MAX).await?;
        let page: ImageIndex = serde_json::from_slice(&bytes).map_err(|error| malformed(&error))?;
        listed.extend(page.manifests().iter().cloned());
        match next {
            Some(next) => url = remote.transport.location(&from, &next)?,
            None => return Ok(Some(listed)),
        }
    }
    Err(Problem::TooManySignatures(listed.len()))
}

/// The target of a `Link` header for the next page.
fn next_page(link: &str) -> Option<&str> {
    let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    parameters.split(';').any(|it| matches!(it.trim(), "rel=\"next\"" | "rel=next")).then_some(target)
}

/// What clients listed under the tag that stands for the list.
async fn listed_by_clients(remote: &Remote, index: Digest) -> Result<Vec<Descriptor>, Problem> {
    let bytes = match remote.read_manifest(&fallback_tag(index)).await {
        Err(problem) if problem.status() == Some(404) => return Ok(Vec::new()),
        result => result?.0,
    };
    let list: ImageIndex = serde_json::from_slice(&bytes).map_err(|error| malformed(&error))?;
    Ok(list.manifests().clone())
}

/// The tag of the list that clients keep, by the OCI distribution specification.
pub(crate) fn fallback_tag(index: Digest) -> String {
    format!("sha256-{}", index.hex())
}

fn blob_of(descriptor: &Descriptor) -> Result<Blob, Problem> {
    let digest = descriptor.digest().to_string();
    let digest = digest.parse().map_err(|error: isomer_contract::DigestError| Problem::Malformed(error.to_string()))?;
    Ok(Blob { digest, size_bytes: descriptor.size() })
}

pub(crate) fn malformed(error: &serde_json::Error) -> Problem {
    Problem::Malformed(shorten(&error.to_string()))
}
