//! In: an `index.json`. Out: the signatures that it lists. Never here: the content of a signature, or its signer.
//!
//! A signature is an [OCI 1.1 referrer](https://github.com/opencontainers/image-spec/blob/main/manifest.md): a manifest
//! whose `subject` is a module's index and whose only layer is a sigstore bundle. In `index.json` it has no tag. Its
//! descriptor there has an `artifactType`; tools that copy a layout may drop that, and then the manifest is read.

use crate::LayoutError;
use crate::blob::Root;
use crate::document::ANNOTATION_REF_NAME;
use crate::parse::{blob_of, media_type, only_layer, parse_manifest};
use isomer_contract::Digest;
use isomer_contract::manifest::{BUNDLE_MEDIA_TYPE, Blob};
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType};
use std::collections::BTreeSet;
use std::path::Path;

/// The largest manifest of a signature; isomer's have less than 1 KiB.
const MANIFEST_SIZE_BYTES_MAX: u64 = 64 << 10;

/// A signature in a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Referrer {
    pub(crate) manifest: Blob,
    pub(crate) config: Blob,
    pub(crate) bundle: Blob,
    /// The index that it signs.
    pub(crate) subject: Blob,
}

impl Referrer {
    /// The digests of all that belongs to it.
    pub(crate) fn digests(&self) -> [Digest; 3] {
        [self.manifest.digest, self.config.digest, self.bundle.digest]
    }
}

/// The signatures that `index` lists, each once, or why they cannot be read. The bundles are not read.
pub(crate) fn referrers(root: &Root, index: &ImageIndex) -> Vec<Result<Referrer, LayoutError>> {
    let mut seen = BTreeSet::new();
    let listed = index.manifests().iter().filter(|descriptor| may_be_signature(descriptor));
    let once = listed.filter(|descriptor| seen.insert(descriptor.digest().to_string()));
    once.filter_map(|descriptor| read(root, descriptor).transpose()).collect()
}

/// None for a manifest that is not a signature.
fn read(root: &Root, descriptor: &Descriptor) -> Result<Option<Referrer>, LayoutError> {
    let says_so = descriptor.artifact_type().is_some();
    let file = root.path().join("index.json");
    let document = blob_of(&file, descriptor).and_then(|manifest| {
        let bytes = root.read_blob(manifest, MANIFEST_SIZE_BYTES_MAX, &file)?;
        let path = root.blob_path(manifest.digest);
        let document = parse_manifest(&path, &bytes)?;
        Ok((path, manifest, document))
    });
    match document {
        Ok((path, manifest, document)) if says_so || is_bundle(document.artifact_type().as_ref()) => {
            referrer(&path, manifest, &document)
        }
        Ok(_) => Ok(None),
        // Other tools may list manifests of other kinds, or missing ones.
        Err(LayoutError::MissingBlob { .. } | LayoutError::Malformed { .. } | LayoutError::DigestAlgorithm { .. })
            if !says_so =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn may_be_signature(descriptor: &Descriptor) -> bool {
    let tagged = descriptor.annotations().as_ref().is_some_and(|it| it.contains_key(ANNOTATION_REF_NAME));
    let kind = descriptor.artifact_type().as_ref();
    // An image's descriptor has its platform.
    let other = kind.is_some() && !is_bundle(kind) || kind.is_none() && descriptor.platform().is_some();
    let small = kind.is_some() || descriptor.size() <= MANIFEST_SIZE_BYTES_MAX;
    *descriptor.media_type() == MediaType::ImageManifest && !tagged && !other && small
}

fn is_bundle(kind: Option<&MediaType>) -> bool {
    kind.is_some_and(|kind| kind.as_ref() == BUNDLE_MEDIA_TYPE)
}

/// None for a bundle without a subject, which the specification allows.
fn referrer(file: &Path, manifest: Blob, document: &ImageManifest) -> Result<Option<Referrer>, LayoutError> {
    let Some(subject) = document.subject() else { return Ok(None) };
    let layer = only_layer(file, document)?;
    media_type(file, "layer's mediaType", layer.media_type().as_ref(), &[BUNDLE_MEDIA_TYPE])?;
    let config = blob_of(file, document.config())?;
    let (bundle, subject) = (blob_of(file, layer)?, blob_of(file, subject)?);
    Ok(Some(Referrer { manifest, config, bundle, subject }))
}
