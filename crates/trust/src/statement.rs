//! In: what a release is and how it was made. Out: an in-toto statement, and back. Never here: a key, a clock.
//!
//! An [in-toto Statement v1](https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md) whose subjects are
//! the release's module indexes, with a [SLSA provenance v1](https://slsa.dev/spec/v1.0/provenance) predicate. It holds
//! no time unless the caller gives one, so that equal builds make equal statements.

mod error;

pub use error::StatementError;

use crate::strict_json;
use isomer_contract::limits::COUNTER_MAX;
use isomer_contract::name::{ModuleName, ReleaseName, Version};
use isomer_contract::{Digest, canonical_json, shorten};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// `_type` of a statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// `predicateType` of SLSA provenance.
pub const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";
/// `buildType`: [`Statement`] defines what the parameters of a build by isomer mean.
pub const BUILD_TYPE: &str = "https://isomer.dev/build/v1";
/// The most module indexes that one statement names.
pub const SUBJECTS_MAX: usize = 4096;

/// What the signer of a release states about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The index of each module by its reference, `NAME:VERSION`.
    pub subjects: BTreeMap<String, Digest>,
    /// Which release it is.
    pub release: Release,
    /// How its modules were compiled.
    pub build: Build,
    /// The WebAssembly that was compiled, by the name of its file or module.
    pub inputs: BTreeMap<String, Digest>,
    /// What compiled it.
    pub builder: Builder,
    /// The end of the build, in RFC 3339, where the signer gives it.
    pub finished_on: Option<String>,
}

/// A release among the releases of the same name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "the name, version and counter of a release")]
pub struct Release {
    /// Its name.
    pub name: ReleaseName,
    /// Its version, for people.
    pub version: Version,
    /// Larger in each release than in all before, which protects servers from rollback. 0 in releases without that
    /// protection.
    pub counter: u64,
}

/// How modules were compiled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "the parameters of a build")]
pub struct Build {
    /// The digest of each profile by its name.
    pub targets: BTreeMap<String, Digest>,
    /// The passes over the modules before code generation.
    pub passes: Vec<String>,
    /// The exact version of wasmtime.
    pub engine: String,
    /// The version of isomer.
    pub isomer: String,
    /// What the signer did not compile, and signs all the same.
    #[serde(default, skip_serializing_if = "NotCompiled::is_empty")]
    pub not_compiled: NotCompiled,
}

/// What the signer of a release did not compile, each by the module's reference, `NAME:VERSION`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "what was not compiled by the signer")]
pub struct NotCompiled {
    /// The modules of which the signer has no record, signed as their contents were: the signer trusts those who made them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub contents: BTreeSet<String>,
    /// The addresses of the remotes that made artifacts of a module.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub remotes: BTreeMap<String, BTreeSet<String>>,
}

impl NotCompiled {
    /// Whether the signer compiled all of it.
    pub fn is_empty(&self) -> bool {
        self.contents.is_empty() && self.remotes.is_empty()
    }
}

/// What ran the build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a builder")]
pub struct Builder {
    /// A URI that identifies it.
    pub id: String,
    /// The versions of its parts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub version: BTreeMap<String, String>,
}

/// The fields that every version of the specification has; `predicate` is read when the types are known.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an in-toto statement")]
struct StatementJson<P> {
    #[serde(rename = "_type")]
    statement_type: String,
    subject: Vec<ResourceJson>,
    predicate_type: String,
    predicate: P,
}

/// A ResourceDescriptor of in-toto; isomer writes name and digest.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a resource descriptor")]
struct ResourceJson {
    name: String,
    digest: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "SLSA provenance")]
struct PredicateJson<B> {
    build_definition: B,
    run_details: RunDetailsJson,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a build definition")]
struct BuildDefinitionJson {
    build_type: String,
    external_parameters: ExternalParametersJson,
    internal_parameters: Build,
    resolved_dependencies: Vec<ResourceJson>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "external parameters")]
struct ExternalParametersJson {
    release: Release,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "run details")]
struct RunDetailsJson {
    builder: BuilderJson,
    #[serde(default)]
    metadata: MetadataJson,
}

/// SLSA's field for the machines that a builder relies on: for its readers, and not read back.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a builder")]
struct BuilderJson {
    #[serde(flatten)]
    builder: Builder,
    #[serde(default, skip_deserializing, skip_serializing_if = "Vec::is_empty")]
    builder_dependencies: Vec<UriJson>,
}

#[derive(Serialize)]
struct UriJson {
    uri: String,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "metadata of a build")]
struct MetadataJson {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    finished_on: Option<String>,
}

impl Statement {
    /// Reads a statement. Fields that isomer does not know are ignored, as in-toto requires.
    ///
    /// # Errors
    /// When it is malformed, or about something else than a build by isomer.
    pub fn from_json(bytes: &[u8]) -> Result<Statement, StatementError> {
        let json: StatementJson<Value> = strict_json::read(bytes, crate::dsse::ENVELOPE_SIZE_BYTES_MAX)?;
        expect("_type", &json.statement_type, STATEMENT_TYPE)?;
        expect("predicateType", &json.predicate_type, PREDICATE_TYPE)?;
        if json.subject.is_empty() || json.subject.len() > SUBJECTS_MAX {
            return Err(StatementError::SubjectCount { found: json.subject.len() });
        }
        let predicate: PredicateJson<Value> = strict_json::from_value(json.predicate)?;
        let build_type = predicate.build_definition.get("buildType").and_then(Value::as_str).unwrap_or_default();
        expect("buildType", build_type, BUILD_TYPE)?;
        let definition: BuildDefinitionJson = strict_json::from_value(predicate.build_definition)?;
        let counter = definition.external_parameters.release.counter;
        if counter > COUNTER_MAX {
            return Err(StatementError::Counter { found: counter });
        }
        let subjects = digests("subject", json.subject)?;
        subjects.keys().try_for_each(|name| check_subject(name))?;
        Ok(Statement {
            subjects,
            release: definition.external_parameters.release,
            build: definition.internal_parameters,
            inputs: digests("input", definition.resolved_dependencies)?,
            builder: predicate.run_details.builder.builder,
            finished_on: predicate.run_details.metadata.finished_on,
        })
    }

    /// Its canonical JSON: the payload of an envelope.
    pub fn to_json(&self) -> String {
        let build_definition = BuildDefinitionJson {
            build_type: BUILD_TYPE.to_owned(),
            external_parameters: ExternalParametersJson { release: self.release.clone() },
            internal_parameters: self.build.clone(),
            resolved_dependencies: resources(&self.inputs),
        };
        let metadata = MetadataJson { finished_on: self.finished_on.clone() };
        let remotes: BTreeSet<_> = self.build.not_compiled.remotes.values().flatten().collect();
        let builder_dependencies = remotes.into_iter().map(|uri| UriJson { uri: uri.clone() }).collect();
        let builder = BuilderJson { builder: self.builder.clone(), builder_dependencies };
        let run_details = RunDetailsJson { builder, metadata };
        canonical_json(&StatementJson {
            statement_type: STATEMENT_TYPE.to_owned(),
            subject: resources(&self.subjects),
            predicate_type: PREDICATE_TYPE.to_owned(),
            predicate: PredicateJson { build_definition, run_details },
        })
    }
}

fn expect(field: &'static str, found: &str, expected: &'static str) -> Result<(), StatementError> {
    if found == expected {
        return Ok(());
    }
    Err(StatementError::OtherType { field, found: shorten(found), expected })
}

/// That `name` is the reference of a module.
fn check_subject(name: &str) -> Result<(), StatementError> {
    let error = |error| StatementError::Subject { name: shorten(name), error };
    let (module, version) = name.rsplit_once(':').ok_or_else(|| error(None))?;
    module.parse::<ModuleName>().map_err(|cause| error(Some(cause)))?;
    version.parse::<Version>().map_err(|cause| error(Some(cause)))?;
    Ok(())
}

fn resources(digests: &BTreeMap<String, Digest>) -> Vec<ResourceJson> {
    let resource = |(name, digest): (&String, &Digest)| ResourceJson {
        name: name.clone(),
        digest: [("sha256".to_owned(), digest.hex())].into(),
    };
    digests.iter().map(resource).collect()
}

/// Only SHA-256 counts; other digests beside it are ignored.
fn digests(what: &'static str, resources: Vec<ResourceJson>) -> Result<BTreeMap<String, Digest>, StatementError> {
    let mut digests = BTreeMap::new();
    for ResourceJson { name, digest } in resources {
        let sha256 = digest.get("sha256");
        let parsed = sha256.and_then(|hex| format!("sha256:{hex}").parse().ok());
        let parsed = parsed.ok_or_else(|| StatementError::Digest {
            what,
            name: shorten(&name),
            found: match sha256 {
                Some(hex) => format!("the sha256 `{}`", shorten(hex)),
                None if digest.is_empty() => "no digest".to_owned(),
                None => format!(
                    "only {}",
                    shorten(
                        &digest.keys().cloned().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ")
                    )
                ),
            },
        })?;
        let shown = shorten(&name);
        if digests.insert(name, parsed).is_some() {
            return Err(StatementError::Duplicate { what, name: shown });
        }
    }
    Ok(digests)
}

#[cfg(test)]
pub(crate) mod tests;
