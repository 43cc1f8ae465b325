//! In: the descriptors of `index.json` and of a module's index, and a variant's config. Out: the modules and variants that
//! they describe, if they agree. Never here: a file.

use super::ModuleEntry;
use crate::LayoutError;
use crate::document::ANNOTATION_REF_NAME;
use crate::parse::blob_of;
use isomer_contract::manifest::{
    ANNOTATION_CODE_GENERATION, ANNOTATION_COMPAT, ANNOTATION_ENGINE, ANNOTATION_MODULE, ANNOTATION_PRIORITY,
    ANNOTATION_REQUIREMENTS, ANNOTATION_SERVES, ANNOTATION_TARGET, Blob, ManifestError, VariantConfig,
};
use isomer_contract::name::{ModuleName, NameError};
use isomer_contract::{Digest, Variant, canonical_json, major, shorten};
use oci_spec::image::{Descriptor, ImageIndex, MediaType};
use std::collections::BTreeMap;
use std::path::Path;

/// The image indexes in `index.json` that have a name. Other entries are ignored.
pub(super) fn module_entries(file: &Path, index: &ImageIndex) -> Result<Vec<ModuleEntry>, LayoutError> {
    let mut modules: Vec<ModuleEntry> = Vec::new();
    for descriptor in index.manifests().iter().filter(|it| *it.media_type() == MediaType::ImageIndex) {
        let annotation = |key| descriptor.annotations().as_ref().and_then(|annotations| annotations.get(key));
        let Some(reference) = annotation(ANNOTATION_REF_NAME) else { continue };
        let malformed = |reason| LayoutError::Malformed { file: file.to_owned(), reason };
        // The characters of a reference in the image layout's specification, and those of a registry's.
        if reference.is_empty() || !reference.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:@+/".contains(&b)) {
            return Err(malformed(format!("invalid reference `{}`", shorten(reference))));
        }
        // Other tools copy the descriptor without our annotation, and under a reference of their own.
        let name = match annotation(ANNOTATION_MODULE) {
            Some(name) => {
                name.parse().map_err(|error: NameError| malformed(error.to_string())).map(ModuleName::into)?
            }
            None => reference.rsplit_once(':').map_or(reference.as_str(), |(name, _)| name).to_owned(),
        };
        let Blob { digest, size_bytes } = blob_of(file, descriptor)?;
        let entry = ModuleEntry { name, reference: reference.clone(), digest, size_bytes };
        match modules.iter().find(|other| other.reference == entry.reference) {
            None => modules.push(entry),
            Some(other) if *other == entry => {}
            Some(_) => {
                return Err(LayoutError::Duplicate { file: file.to_owned(), what: format!("`{reference}`") });
            }
        }
    }
    Ok(modules)
}

/// A variant, as its descriptor in the module's index describes it.
pub(super) fn variant_of(index: &Path, manifest: Digest, descriptor: &Descriptor) -> Result<Variant, LayoutError> {
    let keys = [
        ANNOTATION_TARGET,
        ANNOTATION_SERVES,
        ANNOTATION_ENGINE,
        ANNOTATION_REQUIREMENTS,
        ANNOTATION_COMPAT,
        ANNOTATION_CODE_GENERATION,
        ANNOTATION_PRIORITY,
    ];
    let annotations: BTreeMap<String, String> =
        descriptor.annotations().clone().unwrap_or_default().into_iter().collect();
    for (key, value) in &annotations {
        // They are shown to people; in JSON a control character is written with a backslash.
        if keys.contains(&key.as_str()) && value.chars().any(|c| c.is_control() || c == '\\') {
            let reason = format!("the annotation `{key}` has a control character or backslash in it");
            return Err(LayoutError::Malformed { file: index.to_owned(), reason });
        }
    }
    let error = |source| LayoutError::Variant { file: index.to_owned(), source: shorten_error(source) };
    let variant = Variant::from_annotations(manifest, &annotations).map_err(error)?;
    let compat = annotations.get(ANNOTATION_COMPAT).ok_or_else(|| error(ManifestError::Missing(ANNOTATION_COMPAT)))?;
    disagreement(index, ANNOTATION_COMPAT, compat, &variant.requirements.compat().to_string())?;
    Ok(variant)
}

/// Checks that the config agrees with the index, from which the variant was chosen.
pub(super) fn check_config(file: &Path, config: &VariantConfig, variant: &Variant) -> Result<(), LayoutError> {
    let requirements = (canonical_json(&config.requirements), canonical_json(&variant.requirements));
    disagreement(file, "requirements", &requirements.0, &requirements.1)?;
    disagreement(file, "compat digest", &config.compat.to_string(), &variant.requirements.compat().to_string())?;
    disagreement(file, "target", &config.target, &variant.target)?;
    disagreement(file, "engine", &config.engine, &variant.engine)?;
    disagreement(file, "engine's major version", major(&config.engine), &config.requirements.engine)?;
    let code_generation = (canonical_json(&config.code_generation), canonical_json(&variant.code_generation));
    disagreement(file, "settings of the code generator", &code_generation.0, &code_generation.1)?;
    disagreement(file, "priority", &config.priority().to_string(), &variant.priority.to_string())?;
    let serves: Vec<_> = config.serves.iter().map(|served| served.target.as_str()).collect();
    disagreement(file, "list of profiles served", &serves.join(","), &variant.serves.join(","))
}

pub(super) fn disagreement(file: &Path, what: &'static str, found: &str, expected: &str) -> Result<(), LayoutError> {
    if found == expected {
        return Ok(());
    }
    let (found, expected) = (differing(found, expected), differing(expected, found));
    Err(LayoutError::Disagreement { file: file.to_owned(), what, found, expected })
}

/// `text` from a little before its first difference from `other`: requirements differ in a word among thousands.
fn differing(text: &str, other: &str) -> String {
    let same = text.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    let start = (0..=same.saturating_sub(40)).rev().find(|start| text.is_char_boundary(*start)).unwrap_or(0);
    let dots = if start == 0 { "" } else { "…" };
    format!("`{dots}{}`", shorten(&text[start..]))
}

pub(super) fn shorten_error(error: ManifestError) -> ManifestError {
    match error {
        ManifestError::Malformed { key, reason } => ManifestError::Malformed { key, reason: shorten(&reason) },
        other => other,
    }
}
