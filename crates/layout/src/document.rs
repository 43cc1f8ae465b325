//! The OCI documents of a release. In: configs, layers, names. Out: their canonical JSON. Never here: a file, a clock.
//!
//! No descriptor has an `artifactType`, though the specification allows it: skopeo 1.9, which Debian 12 ships, drops it
//! when it copies an index, and so changes the index's digest. Manifests have theirs; in an index, annotations and
//! platform distinguish them. `index.json` has no digest, so the descriptors of signatures there do have one.

use crate::layer::Layer;
use crate::wasm::Wasm;
use isomer_contract::limits::COUNTER_MAX;
use isomer_contract::manifest::{
    ANNOTATION_MODULE, ARTIFACT_TYPE, BUNDLE_MEDIA_TYPE, Blob, CONFIG_MEDIA_TYPE, Platform, VariantConfig,
    WASM_CONFIG_MEDIA_TYPE, WASM_LAYER_MEDIA_TYPE, platform, wasm_platform,
};
use isomer_contract::name::{ModuleName, ReleaseName, Version};
use isomer_contract::{Digest, canonical_json};
use oci_spec::image::{
    Arch, Descriptor, ImageIndex, ImageIndexBuilder, ImageManifestBuilder, MediaType, Os, PlatformBuilder,
    SCHEMA_VERSION,
};
use serde::Serialize;
use std::collections::HashMap;
use std::fmt;
use target_lexicon::Triple;

/// The only version of the image layout so far.
pub(crate) const LAYOUT_VERSION: &str = "1.0.0";
/// The content of `oci-layout`.
pub(crate) const LAYOUT_FILE: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
/// The tag of a descriptor in `index.json`, by the OCI image specification.
pub(crate) const ANNOTATION_REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The prefix of isomer's own annotations.
pub(crate) const ANNOTATION_PREFIX: &str = "dev.isomer.";
pub(crate) const ANNOTATION_TITLE: &str = "org.opencontainers.image.title";
pub(crate) const ANNOTATION_VERSION: &str = "org.opencontainers.image.version";
/// Annotation of the `index.json` that isomer wrote: the format of the release.
pub(crate) const ANNOTATION_RELEASE: &str = "dev.isomer.release";

/// Annotation of the `index.json` that isomer wrote: the release's counter.
const ANNOTATION_COUNTER: &str = "dev.isomer.counter";
/// Annotation of the `index.json` that isomer wrote: which part of a release it is, when it is not the whole.
const ANNOTATION_PART: &str = "dev.isomer.part";
/// The empty config, by the OCI image specification.
pub(crate) const EMPTY_CONFIG: &str = "{}";

/// A release among those of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The release's name.
    pub name: ReleaseName,
    /// Its version, which is that of every module in it.
    pub version: Version,
    /// Larger in each release than in all before, at most [`COUNTER_MAX`]; 0 for a release that is not counted.
    pub counter: u64,
    /// Which part of the release it is, when it is not the whole.
    pub part: Option<Part>,
}

/// One of several directories that make a release together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which one, from 1.
    pub number: u32,
    /// How many there are.
    pub count: u32,
    /// The digest of the whole plan: equal for all parts.
    pub plan: Digest,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} {}", self.number, self.count, self.plan)
    }
}

impl Part {
    /// Reads what [`Part`]'s `Display` writes.
    fn parse(text: &str) -> Option<Part> {
        let (fraction, plan) = text.split_once(' ')?;
        let (number, count) = fraction.split_once('/')?;
        let part = Part { number: number.parse().ok()?, count: count.parse().ok()?, plan: plan.parse().ok()? };
        (1..=part.count).contains(&part.number).then_some(part)
    }
}

/// The config of a plain Wasm artifact, as the CNCF's Wasm OCI artifact layout has it.
///
/// Its `created` is required by existing readers (the Bytecode Alliance's `oci-wasm`), hence the epoch.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WasmConfig<'a> {
    created: &'static str,
    architecture: &'a str,
    os: &'a str,
    layer_digests: [Digest; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<WasmComponent<'a>>,
}

#[derive(Serialize)]
struct WasmComponent<'a> {
    exports: &'a [String],
    imports: &'a [String],
}

/// The config blob of the plain Wasm.
pub(crate) fn wasm_config(wasm: &Wasm) -> String {
    let Platform { architecture, os, variant: _ } = wasm_platform(wasm.kind());
    let component = wasm.component().map(|names| WasmComponent { exports: &names.exports, imports: &names.imports });
    canonical_json(&WasmConfig {
        created: "1970-01-01T00:00:00Z",
        architecture: &architecture,
        os: &os,
        layer_digests: [wasm.blob().digest],
        component,
    })
}

/// The manifest of the plain Wasm. By the layout's definition its config's media type serves as the `artifactType`.
pub(crate) fn wasm_manifest(name: &ModuleName, config: Blob, wasm: &Wasm) -> String {
    let config = descriptor(MediaType::from(WASM_CONFIG_MEDIA_TYPE), config);
    let layer = titled(descriptor(MediaType::from(WASM_LAYER_MEDIA_TYPE), wasm.blob()), format!("{name}.wasm"));
    canonical_json(&manifest_builder(config, layer).build().expect("every required field is set"))
}

/// The descriptor of the plain Wasm's manifest in an index.
pub(crate) fn wasm_descriptor(manifest: Blob, wasm: &Wasm) -> Descriptor {
    let mut descriptor = descriptor(MediaType::ImageManifest, manifest);
    descriptor.set_platform(Some(oci_platform(wasm_platform(wasm.kind()))));
    descriptor
}

/// The manifest of a variant.
pub(crate) fn variant_manifest(config: &VariantConfig, config_blob: Blob, layer: Layer) -> String {
    let config_descriptor = descriptor(MediaType::from(CONFIG_MEDIA_TYPE), config_blob);
    let extension = match layer.compression {
        crate::Compression::None => "cwasm",
        crate::Compression::Zstd => "cwasm.zst",
    };
    let title = format!("{}.{}.{extension}", config.module, config.target);
    let layer = titled(descriptor(MediaType::from(layer.compression.media_type()), layer.blob), title);
    let manifest = manifest_builder(config_descriptor, layer).artifact_type(MediaType::from(ARTIFACT_TYPE));
    canonical_json(&manifest.build().expect("every required field is set"))
}

/// The descriptor of a variant's manifest in an index.
pub(crate) fn variant_descriptor(manifest: Blob, config: &VariantConfig, triple: &Triple) -> Descriptor {
    let mut descriptor = descriptor(MediaType::ImageManifest, manifest);
    descriptor.set_platform(Some(oci_platform(platform(triple, &config.requirements))));
    descriptor.set_annotations(Some(config.annotations().into_iter().collect()));
    descriptor
}

/// The image index of a module.
pub(crate) fn module_index(name: &ModuleName, version: &Version, manifests: Vec<Descriptor>) -> String {
    let (name, version) = (name.as_str(), version.as_str());
    let annotations = [(ANNOTATION_TITLE, name), (ANNOTATION_VERSION, version), (ANNOTATION_MODULE, name)];
    canonical_json(&index(manifests, &annotations))
}

/// `descriptor` as `index.json` lists it.
pub(crate) fn tagged(mut descriptor: Descriptor, reference: &str, module: Option<&str>) -> Descriptor {
    let tag = [(ANNOTATION_REF_NAME, reference)];
    let annotations = tag.into_iter().chain(module.map(|name| (ANNOTATION_MODULE, name)));
    descriptor.set_annotations(Some(owned(annotations)));
    descriptor
}

/// A descriptor of a module's image index.
pub(crate) fn module_descriptor(index: Blob) -> Descriptor {
    descriptor(MediaType::ImageIndex, index)
}

/// The manifest of a signature, an OCI 1.1 referrer of the index `subject`.
pub(crate) fn signature_manifest(config: Blob, bundle: Blob, subject: Blob) -> String {
    let config = descriptor(MediaType::EmptyJSON, config);
    let layer = descriptor(MediaType::from(BUNDLE_MEDIA_TYPE), bundle);
    let manifest = manifest_builder(config, layer).artifact_type(MediaType::from(BUNDLE_MEDIA_TYPE));
    canonical_json(&manifest.subject(module_descriptor(subject)).build().expect("every required field is set"))
}

/// The descriptor of a signature's manifest in `index.json`.
pub(crate) fn signature_descriptor(manifest: Blob) -> Descriptor {
    let mut descriptor = descriptor(MediaType::ImageManifest, manifest);
    descriptor.set_artifact_type(Some(MediaType::from(BUNDLE_MEDIA_TYPE)));
    descriptor
}

/// `index.json`.
pub(crate) fn release_index(release: &Identity, manifests: Vec<Descriptor>) -> String {
    let Identity { name, version, counter, part } = release;
    let (counter, part) = (counter.to_string(), part.map(|part| part.to_string()));
    let mut annotations = vec![
        (ANNOTATION_RELEASE, "1"),
        (ANNOTATION_TITLE, name.as_str()),
        (ANNOTATION_VERSION, version.as_str()),
        (ANNOTATION_COUNTER, counter.as_str()),
    ];
    annotations.extend(part.as_ref().map(|part| (ANNOTATION_PART, part.as_str())));
    canonical_json(&index(manifests, &annotations))
}

/// The identity in an `index.json` that [`release_index`] wrote.
pub(crate) fn identity(index: &ImageIndex) -> Option<Identity> {
    let annotations = index.annotations().as_ref().filter(|_| is_release_index(index))?;
    // A part that cannot be read is not a whole release.
    let part = match annotations.get(ANNOTATION_PART) {
        None => None,
        Some(text) => Some(Part::parse(text)?),
    };
    Some(Identity {
        part,
        name: annotations.get(ANNOTATION_TITLE)?.parse().ok()?,
        version: annotations.get(ANNOTATION_VERSION)?.parse().ok()?,
        counter: annotations.get(ANNOTATION_COUNTER)?.parse().ok().filter(|counter| *counter <= COUNTER_MAX)?,
    })
}

/// Whether [`release_index`] wrote the `index.json`.
pub(crate) fn is_release_index(index: &ImageIndex) -> bool {
    index.annotations().as_ref().is_some_and(|annotations| annotations.contains_key(ANNOTATION_RELEASE))
}

fn index(manifests: Vec<Descriptor>, annotations: &[(&str, &str)]) -> ImageIndex {
    ImageIndexBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageIndex)
        .manifests(manifests)
        .annotations(owned(annotations.iter().copied()))
        .build()
        .expect("every required field is set")
}

fn manifest_builder(config: Descriptor, layer: Descriptor) -> ImageManifestBuilder {
    let builder = ImageManifestBuilder::default().schema_version(SCHEMA_VERSION).media_type(MediaType::ImageManifest);
    builder.config(config).layers(vec![layer])
}

fn descriptor(media_type: MediaType, blob: Blob) -> Descriptor {
    let digest: oci_spec::image::Digest = blob.digest.to_string().parse().expect("a sha256 digest is an OCI digest");
    Descriptor::new(media_type, blob.size_bytes, digest)
}

/// Clients that pull files, as `oras pull` does, save a layer under its title.
fn titled(mut descriptor: Descriptor, title: String) -> Descriptor {
    descriptor.set_annotations(Some(owned([(ANNOTATION_TITLE, title.as_str())])));
    descriptor
}

fn oci_platform(Platform { architecture, os, variant }: Platform) -> oci_spec::image::Platform {
    let builder = PlatformBuilder::default().architecture(Arch::from(architecture.as_str())).os(Os::from(os.as_str()));
    let builder = match variant {
        Some(variant) => builder.variant(variant),
        None => builder,
    };
    builder.build().expect("every required field is set")
}

fn owned<'a>(annotations: impl IntoIterator<Item = (&'a str, &'a str)>) -> HashMap<String, String> {
    annotations.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
