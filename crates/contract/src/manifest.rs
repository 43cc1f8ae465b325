//! The documents of a release that are isomer's own: media types, annotation keys, the config of a variant, and the
//! annotations of each variant in an index. The OCI documents around them are `isomer-layout`'s.

use crate::name::TargetName;
use crate::settings::Value;
use crate::{Arch, Digest, Kind, Needs, Requirements, Variant};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::num::ParseIntError;
use target_lexicon::Triple;

/// `artifactType` of a manifest that holds a compiled variant.
pub const ARTIFACT_TYPE: &str = "application/vnd.isomer.cwasm.v1";
/// Media type of a variant's config, [`VariantConfig`].
pub const CONFIG_MEDIA_TYPE: &str = "application/vnd.isomer.cwasm.config.v1+json";
/// Media type of an uncompressed `.cwasm` layer.
pub const LAYER_MEDIA_TYPE: &str = "application/vnd.isomer.cwasm.v1";
/// Media type of a `.cwasm` layer compressed with zstd.
pub const LAYER_ZSTD_MEDIA_TYPE: &str = "application/vnd.isomer.cwasm.v1+zstd";

/// Media type of the config of a Wasm artifact, as the CNCF's Wasm OCI artifact layout defines it.
pub const WASM_CONFIG_MEDIA_TYPE: &str = "application/vnd.wasm.config.v0+json";
/// Media type of a Wasm layer, from the same layout.
pub const WASM_LAYER_MEDIA_TYPE: &str = "application/wasm";

/// Annotation of a variant's descriptor: the profile that it was compiled for.
pub const ANNOTATION_TARGET: &str = "dev.isomer.target";
/// Annotation of a variant's descriptor: all profiles that it serves, separated by commas.
pub const ANNOTATION_SERVES: &str = "dev.isomer.serves";
/// Annotation of a variant's descriptor: the exact engine, `wasmtime 48.0.8`.
pub const ANNOTATION_ENGINE: &str = "dev.isomer.engine";
/// Annotation of a variant's descriptor: its [`Requirements`] as canonical JSON.
pub const ANNOTATION_REQUIREMENTS: &str = "dev.isomer.requirements";
/// Annotation of a variant's descriptor: the digest of its requirements.
pub const ANNOTATION_COMPAT: &str = "dev.isomer.compat";
/// Annotation of a variant's descriptor: the settings that only the code generator saw, as canonical JSON, where they
/// differ from wasmtime's defaults; absent if none does.
pub const ANNOTATION_CODE_GENERATION: &str = "dev.isomer.code-generation";
/// Annotation of a variant's descriptor: the highest priority of the profiles that it serves; absent if that is 0.
pub const ANNOTATION_PRIORITY: &str = "dev.isomer.priority";
/// Annotation of a module's index: the name that `isomer-run` knows it by.
pub const ANNOTATION_MODULE: &str = "dev.isomer.module";

/// Media type of a signature, a sigstore bundle, and the `artifactType` of the manifest that holds it.
pub const BUNDLE_MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// The version of these documents. A reader refuses a newer one.
pub const SCHEMA: u32 = 1;

/// A blob and its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Blob {
    /// The digest of its bytes.
    pub digest: Digest,
    /// How many there are.
    pub size_bytes: u64,
}

impl Blob {
    /// The blob that `bytes` make.
    pub fn of(bytes: &[u8]) -> Blob {
        Blob { digest: Digest::of(bytes), size_bytes: bytes.len() as u64 }
    }
}

/// A profile that a variant serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Served {
    /// The profile's name.
    pub target: String,
    /// The profile's digest: that of every setting in it.
    pub profile: Digest,
    /// The digest of the job that compiled, or would have compiled, the module for it.
    pub job: Digest,
    /// Whether it was not compiled: its code was predicted to equal this variant's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub predicted: bool,
    /// The profile's priority.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: i32,
}

fn is_zero(priority: &i32) -> bool {
    *priority == 0
}

/// The config blob of a variant's manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct VariantConfig {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The module's name in the release.
    pub module: String,
    /// The WebAssembly that was compiled.
    pub wasm: Blob,
    /// The `.cwasm` as it is mapped: uncompressed, as `diff_ids` are for image layers.
    pub artifact: Blob,
    /// The digest of all its sections but the one that states its requirements: equal for equal code.
    pub code: Digest,
    /// The profile that it was compiled for.
    pub target: String,
    /// That profile's triple.
    pub triple: String,
    /// Every profile that it serves, sorted by name.
    pub serves: Vec<Served>,
    /// What the module went through before code was generated, in that order.
    pub passes: Vec<String>,
    /// The exact version of wasmtime.
    pub engine: String,
    /// The version of isomer.
    pub isomer: String,
    /// What a server must have.
    pub requirements: Requirements,
    /// The settings that only the code generator saw, by key, where they differ from wasmtime's defaults.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub code_generation: BTreeMap<String, Value>,
    /// The digest of `requirements`.
    pub compat: Digest,
    /// What the module needs beside instructions.
    pub needs: Needs,
}

/// Why a variant's description in an index or config is not valid.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// An annotation is missing.
    #[error("the annotation `{0}` is missing")]
    Missing(&'static str),
    /// An annotation does not parse.
    #[error("the annotation `{key}` does not parse: {reason}")]
    Malformed {
        /// Its key.
        key: &'static str,
        /// The parser's message.
        reason: String,
    },
    /// Written by a later isomer.
    #[error("written in format {found}; this isomer reads up to {SCHEMA}")]
    Newer {
        /// The format's version.
        found: u32,
    },
}

impl VariantConfig {
    /// The annotations of this variant's descriptor in an index.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        let serves: Vec<_> = self.serves.iter().map(|served| served.target.as_str()).collect();
        // Absent where they say nothing, as in releases from before these two existed.
        let code_generation = (!self.code_generation.is_empty())
            .then(|| (ANNOTATION_CODE_GENERATION, crate::canonical_json(&self.code_generation)));
        let priority = self.priority();
        let priority = (priority != 0).then(|| (ANNOTATION_PRIORITY, priority.to_string()));
        [
            (ANNOTATION_TARGET, self.target.clone()),
            (ANNOTATION_SERVES, serves.join(",")),
            (ANNOTATION_ENGINE, format!("wasmtime {}", self.engine)),
            (ANNOTATION_REQUIREMENTS, crate::canonical_json(&self.requirements)),
            (ANNOTATION_COMPAT, self.compat.to_string()),
        ]
        .into_iter()
        .chain(code_generation)
        .chain(priority)
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
    }

    /// The highest priority of the profiles that it serves.
    pub fn priority(&self) -> i32 {
        self.serves.iter().map(|served| served.priority).max().unwrap_or_default()
    }

    /// Reads a config blob.
    ///
    /// # Errors
    /// [`ManifestError::Newer`] when a later isomer wrote it, [`ManifestError::Malformed`] when it is not such JSON.
    pub fn from_json(bytes: &[u8]) -> Result<VariantConfig, ManifestError> {
        #[derive(Deserialize)]
        struct Schema {
            schema: u32,
        }
        let malformed =
            |error: serde_json::Error| ManifestError::Malformed { key: "config", reason: error.to_string() };
        let Schema { schema } = serde_json::from_slice(bytes).map_err(malformed)?;
        if schema > SCHEMA {
            return Err(ManifestError::Newer { found: schema });
        }
        serde_json::from_slice(bytes).map_err(malformed)
    }
}

impl Variant {
    /// Reads what [`VariantConfig::annotations`] wrote.
    ///
    /// # Errors
    /// [`ManifestError::Missing`] without one of the annotations that every variant has, [`ManifestError::Malformed`]
    /// when one does not parse.
    pub fn from_annotations(
        manifest: Digest,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Variant, ManifestError> {
        let get = |key: &'static str| annotations.get(key).ok_or(ManifestError::Missing(key));
        let requirements = serde_json::from_str(get(ANNOTATION_REQUIREMENTS)?)
            .map_err(|error| ManifestError::Malformed { key: ANNOTATION_REQUIREMENTS, reason: error.to_string() })?;
        let engine = get(ANNOTATION_ENGINE)?;
        let version = engine.strip_prefix("wasmtime ").filter(|version| semver::Version::parse(version).is_ok());
        let engine = version.ok_or_else(|| ManifestError::Malformed {
            key: ANNOTATION_ENGINE,
            reason: format!("`{engine}` names no version of wasmtime"),
        })?;
        let target = |key, text: &str| match text.parse::<TargetName>() {
            Ok(name) => Ok(name.into()),
            Err(error) => Err(ManifestError::Malformed { key, reason: error.to_string() }),
        };
        let code_generation = match annotations.get(ANNOTATION_CODE_GENERATION) {
            Some(text) => serde_json::from_str(text).map_err(|error| ManifestError::Malformed {
                key: ANNOTATION_CODE_GENERATION,
                reason: error.to_string(),
            })?,
            None => BTreeMap::new(),
        };
        let priority = match annotations.get(ANNOTATION_PRIORITY) {
            Some(text) => text.parse().map_err(|error: ParseIntError| ManifestError::Malformed {
                key: ANNOTATION_PRIORITY,
                reason: error.to_string(),
            })?,
            None => 0,
        };
        let serves = get(ANNOTATION_SERVES)?.split(',').map(|text| target(ANNOTATION_SERVES, text));
        Ok(Variant {
            target: target(ANNOTATION_TARGET, get(ANNOTATION_TARGET)?)?,
            serves: serves.collect::<Result<_, _>>()?,
            engine: engine.to_owned(),
            requirements,
            code_generation,
            priority,
            manifest,
        })
    }
}

/// An OCI platform: the `platform` of a manifest in an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// Go's name of the architecture.
    pub architecture: String,
    /// Go's name of the operating system.
    pub os: String,
    /// The level of the architecture, where its convention knows one.
    pub variant: Option<String>,
}

/// The platform of the plain Wasm in an index.
pub fn wasm_platform(kind: Kind) -> Platform {
    let os = match kind {
        Kind::Module => "wasip1",
        Kind::Component => "wasip2",
    };
    Platform { architecture: "wasm".to_owned(), os: os.to_owned(), variant: None }
}

/// The platform of `triple` and the extensions in `requirements`. Its variant is the highest level that the extensions
/// reach; the annotations have the exact set.
pub fn platform(triple: &Triple, requirements: &Requirements) -> Platform {
    use target_lexicon::OperatingSystem;
    let architecture = match requirements.arch {
        Arch::X86_64 => "amd64",
        Arch::Aarch64 => "arm64",
        Arch::Riscv64 => "riscv64",
        Arch::S390x => "s390x",
        Arch::Pulley64 => "pulley64",
        Arch::Pulley64be => "pulley64be",
    };
    let os = match triple.operating_system {
        OperatingSystem::Darwin(_) | OperatingSystem::MacOSX(_) => "darwin".to_owned(),
        other => other.to_string(),
    };
    Platform { architecture: architecture.to_owned(), os, variant: level(requirements) }
}

/// The levels of each architecture, highest first, by extensions that only they have.
///
/// amd64: psABI levels, as containerd and Go's GOAMD64 name them. arm64: Go's GOARM64; riscv64: Go's GORISCV64.
fn level(requirements: &Requirements) -> Option<String> {
    let levels: &[(&str, &[&str])] = match requirements.arch {
        Arch::X86_64 => &[
            ("v4", &["avx512f", "avx512dq", "avx512vl"]),
            ("v3", &["avx2", "bmi1", "bmi2", "fma", "lzcnt"]),
            ("v2", &["sse4.2", "popcnt", "cmpxchg16b"]),
            ("v1", &[]),
        ],
        Arch::Aarch64 => &[("v8.1", &["lse"]), ("v8", &[])],
        Arch::Riscv64 => {
            &[("rva23u64", &["v", "zvbb", "zicond", "zcb"]), ("rva22u64", &["zba", "zbb", "zbs"]), ("rva20u64", &[])]
        }
        Arch::S390x | Arch::Pulley64 | Arch::Pulley64be => &[],
    };
    let reached = |needed: &&[&str]| needed.iter().all(|name| requirements.isa.contains(*name));
    levels.iter().find(|(_, needed)| reached(needed)).map(|(level, _)| (*level).to_owned())
}
