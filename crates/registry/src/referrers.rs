//! In: the digest of an index. Out: the signatures that refer to it. Never here: whether they are valid; a number of
//! requests that the list decides.
//!
//! OCI 1.1 registries list what refers to a manifest (`/referrers/DIGEST`); for older ones clients keep that list
//! themselves, as an index under the tag `sha256-HEX`. Any writer of the repository may add to either, so a
//! referrer that is damaged or cannot be fetched is passed over, and at most [`CANDIDATES_MAX`] of them are requested.

use crate::exchange::header;
use crate::repository::{Kind, Repository};
use crate::transport::Request;
use crate::{Problem, RegistryError};
use isomer_contract::limits::{DOCUMENT_SIZE_BYTES_MAX, SIGNATURES_MAX};
use isomer_contract::manifest::{BUNDLE_MEDIA_TYPE, Blob};
use isomer_contract::{Digest, shorten};
use isomer_layout::{FoundSignatures, Signature};
use oci_spec::image::{Descriptor, ImageManifest, MediaType};
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, LINK};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

/// The largest manifest of a signature; isomer's have less than 1 KiB.
const MANIFEST_SIZE_BYTES_MAX: u64 = 64 << 10;
/// Referrers of other kinds may be on these pages too.
const PAGES_MAX: usize = 16;
/// How many manifests of referrers are requested at most, valid or not.
const CANDIDATES_MAX: usize = 2 * SIGNATURES_MAX;

/// How many of them may be missing because the registry fails, before that is an error.
const FAILURES_MAX: usize = 3;
/// How long all of them together may take.
const TIME_MAX: Duration = Duration::from_secs(300);

/// The signatures that refer to the index with this digest, at most [`SIGNATURES_MAX`].
pub(crate) async fn signatures(repository: &Repository, index: Digest) -> Result<FoundSignatures, RegistryError> {
    let name = repository.reference.with_digest(index).to_string();
    let doing = format!("get the signatures of `{name}`");
    let transport = &repository.transport;
    let listed = match transport.retrying(&doing, async || listed_by_registry(repository, index).await).await? {
        Some(listed) => listed,
        None => transport.retrying(&doing, async || listed_by_clients(repository, index).await).await?,
    };
    let candidates = candidates(&listed);
    let begun = Instant::now();
    let (mut signatures, mut unreadable, mut failures, mut requested) = (Vec::new(), Vec::new(), 0, 0);
    for descriptor in candidates.iter().take(CANDIDATES_MAX) {
        if signatures.len() == SIGNATURES_MAX || begun.elapsed() > TIME_MAX {
            break;
        }
        requested += 1;
        match signature(repository, descriptor, index).await {
            Ok(found) => signatures.extend(found),
            Err(RegistryError::Transfer { problem, .. }) if is_about_one(&problem) && failures < FAILURES_MAX => {
                failures += usize::from(problem.is_transient());
                unreadable.push(format!("{}: {problem}", descriptor.digest()));
            }
            Err(error) => return Err(error),
        }
    }
    if let Some(first) = unreadable.first().filter(|_| !signatures.is_empty()) {
        let number = unreadable.len();
        tracing::warn!("{number} of {requested} signatures of `{name}` cannot be read; the first is {first}");
    }
    if requested < candidates.len() {
        let number = candidates.len();
        tracing::warn!("`{name}` has {number} referrers that may be signatures; only the first {requested} are read");
    }
    Ok(FoundSignatures { readable: signatures, unreadable })
}

/// What may be a signature, each once: first what declares to be one, then what declares nothing.
fn candidates(listed: &[Descriptor]) -> Vec<&Descriptor> {
    let mut seen = BTreeSet::new();
    let (mut declared, mut unknown) = (Vec::new(), Vec::new());
    for descriptor in listed {
        let small = descriptor.size() <= MANIFEST_SIZE_BYTES_MAX;
        if *descriptor.media_type() != MediaType::ImageManifest
            || !small
            || !seen.insert(descriptor.digest().to_string())
        {
            continue;
        }
        match descriptor.artifact_type() {
            Some(kind) if kind.as_ref() == BUNDLE_MEDIA_TYPE => declared.push(descriptor),
            Some(_) => {}
            None => unknown.push(descriptor),
        }
    }
    declared.extend(unknown);
    declared
}

/// One signature with its documents; none when the manifest is of something else.
async fn signature(
    repository: &Repository,
    descriptor: &Descriptor,
    index: Digest,
) -> Result<Option<Signature>, RegistryError> {
    let digest = descriptor.digest();
    let error = |problem| RegistryError::transfer(format!("get the signature {digest}"), problem, 1);
    let manifest = blob_of(descriptor).map_err(error)?;
    let bytes = repository.fetch(Kind::Manifest, manifest, MANIFEST_SIZE_BYTES_MAX).await?;
    let Some((config, bundle)) = parts(&bytes, index).map_err(error)? else { return Ok(None) };
    let config = repository.fetch(Kind::Blob, config, DOCUMENT_SIZE_BYTES_MAX).await?;
    let bundle = repository.fetch(Kind::Blob, bundle, DOCUMENT_SIZE_BYTES_MAX).await?;
    Ok(Some(Signature { manifest: bytes, config, bundle }))
}

/// Whether a problem is about one document. A registry that does not answer at all, or not to this user, is not passed
/// over.
fn is_about_one(problem: &Problem) -> bool {
    match problem {
        Problem::Status { status, .. } => !matches!(status.as_u16(), 401 | 403),
        Problem::Cut { .. }
        | Problem::Slow { .. }
        | Problem::TooLarge { .. }
        | Problem::Claim { .. }
        | Problem::Size { .. }
        | Problem::Digest { .. }
        | Problem::Redirect(_)
        | Problem::Malformed(_) => true,
        _ => false,
    }
}

/// The config and the bundle that a referrer's manifest names; none when it is no signature of `index`.
fn parts(bytes: &[u8], index: Digest) -> Result<Option<(Blob, Blob)>, Problem> {
    // What refers to the index and is no signature may be anything.
    let Ok(manifest) = serde_json::from_slice::<ImageManifest>(bytes) else { return Ok(None) };
    let kind = manifest.artifact_type().as_ref().map(MediaType::as_ref);
    let subject = manifest.subject().as_ref().map(|it| it.digest().to_string());
    if kind != Some(BUNDLE_MEDIA_TYPE) || subject != Some(index.to_string()) {
        return Ok(None);
    }
    let [layer] = &manifest.layers()[..] else {
        let found = manifest.layers().len();
        return Err(Problem::Malformed(format!("its manifest has {found} layers, expected one")));
    };
    if layer.media_type().as_ref() != BUNDLE_MEDIA_TYPE {
        let found = shorten(layer.media_type().as_ref());
        return Err(Problem::Malformed(format!("its layer is `{found}`, expected `{BUNDLE_MEDIA_TYPE}`")));
    }
    Ok(Some((blob_of(manifest.config())?, blob_of(layer)?)))
}

/// The registry's own list, or none when it keeps none. Pages beyond [`PAGES_MAX`] are not read.
pub(crate) async fn listed_by_registry(
    repository: &Repository,
    index: Digest,
) -> Result<Option<Vec<Descriptor>>, Problem> {
    let mut url = repository.transport.url(&format!("referrers/{index}"));
    url.query_pairs_mut().append_pair("artifactType", BUNDLE_MEDIA_TYPE);
    let mut listed = Vec::new();
    for _ in 0..PAGES_MAX {
        let response = match repository.transport.send(&Request::new(Method::GET, url.clone())).await {
            // The specification says 404; some registries from before it answer otherwise.
            Err(problem) if matches!(problem.status(), Some(400 | 404 | 405)) => return Ok(None),
            result => result?,
        };
        let kind = header(response.headers(), CONTENT_TYPE.as_str()).unwrap_or_default();
        if kind.split(';').next().map(str::trim) != Some(MediaType::ImageIndex.as_ref()) {
            return Ok(None);
        }
        let next = header(response.headers(), LINK.as_str()).and_then(next_page).map(str::to_owned);
        let from = response.url().clone();
        let bytes = repository.transport.read(response, DOCUMENT_SIZE_BYTES_MAX).await?;
        listed.extend(descriptors(&bytes)?);
        match next {
            Some(next) if listed.len() <= CANDIDATES_MAX => url = repository.transport.location(&from, &next)?,
            _ => break,
        }
    }
    Ok(Some(listed))
}

/// The target of a `Link` header for the next page.
fn next_page(link: &str) -> Option<&str> {
    let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    parameters.split(';').any(|it| matches!(it.trim(), "rel=\"next\"" | "rel=next")).then_some(target)
}

/// What clients listed under the tag of their own list.
async fn listed_by_clients(repository: &Repository, index: Digest) -> Result<Vec<Descriptor>, Problem> {
    let bytes = match repository.read_manifest(&fallback_tag(index)).await {
        Err(problem) if problem.status() == Some(404) => return Ok(Vec::new()),
        result => result?.0,
    };
    descriptors(&bytes)
}

/// What an index lists. An entry that is not a valid descriptor is passed over.
fn descriptors(index: &[u8]) -> Result<Vec<Descriptor>, Problem> {
    #[derive(Deserialize)]
    struct Index {
        manifests: Vec<Value>,
    }
    let index: Index = serde_json::from_slice(index).map_err(|error| malformed(&error))?;
    Ok(index.manifests.into_iter().filter_map(|entry| serde_json::from_value(entry).ok()).collect())
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
