//! In: the bytes of an OCI document and its path. Out: the document, or what was found and expected in it. Never here: a
//! file opened, what the document means.

use crate::LayoutError;
use isomer_contract::manifest::Blob;
use isomer_contract::shorten;
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType};
use serde::de::DeserializeOwned;
use std::path::Path;

pub(crate) fn media_type(file: &Path, what: &'static str, found: &str, expected: &[&str]) -> Result<(), LayoutError> {
    if expected.contains(&found) {
        return Ok(());
    }
    let expected = expected.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(" or ");
    Err(LayoutError::MediaType { file: file.to_owned(), what, found: shorten(found), expected })
}

pub(crate) fn only_layer<'a>(file: &Path, manifest: &'a ImageManifest) -> Result<&'a Descriptor, LayoutError> {
    match &manifest.layers()[..] {
        [layer] => Ok(layer),
        layers => {
            let reason = format!("it has {} layers, expected one", layers.len());
            Err(LayoutError::Malformed { file: file.to_owned(), reason })
        }
    }
}

pub(crate) fn blob_of(file: &Path, descriptor: &Descriptor) -> Result<Blob, LayoutError> {
    let text = descriptor.digest().as_ref();
    let error = |_| LayoutError::DigestAlgorithm { file: file.to_owned(), found: shorten(text) };
    Ok(Blob { digest: text.parse().map_err(error)?, size_bytes: descriptor.size() })
}

pub(crate) fn parse_index(file: &Path, bytes: &[u8]) -> Result<ImageIndex, LayoutError> {
    let index: ImageIndex = parse(file, bytes)?;
    let media = index.media_type().as_ref();
    check_kind(file, index.schema_version(), media, &MediaType::ImageIndex)?;
    Ok(index)
}

pub(crate) fn parse_manifest(file: &Path, bytes: &[u8]) -> Result<ImageManifest, LayoutError> {
    let manifest: ImageManifest = parse(file, bytes)?;
    let media = manifest.media_type().as_ref();
    check_kind(file, manifest.schema_version(), media, &MediaType::ImageManifest)?;
    Ok(manifest)
}

/// Checks that a document is of the kind in its descriptor. One without a `mediaType` is.
fn check_kind(file: &Path, schema: u32, found: Option<&MediaType>, expected: &MediaType) -> Result<(), LayoutError> {
    if schema != 2 {
        let reason = format!("its schemaVersion is {schema}, expected 2");
        return Err(LayoutError::Malformed { file: file.to_owned(), reason });
    }
    media_type(file, "mediaType", found.unwrap_or(expected).as_ref(), &[expected.as_ref()])
}

pub(crate) fn parse<T: DeserializeOwned>(file: &Path, bytes: &[u8]) -> Result<T, LayoutError> {
    serde_json::from_slice(bytes)
        .map_err(|error| LayoutError::Malformed { file: file.to_owned(), reason: shorten(&error.to_string()) })
}
