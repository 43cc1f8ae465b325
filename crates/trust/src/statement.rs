//! In: what a release is and how it was made. Out: an in-toto statement, and back. Never here: a key, a clock.
//!
//! An [in-toto Statement v1](https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md) whose subjects are
//! the release's module indexes, with a [SLSA provenance v1](https://slsa.dev/spec/v1.0/provenance) predicate. It holds
//! no time unless the caller gives one, so that equal builds make equal statements.

use crate::strict_json::{self, JsonError};
use isomer_contract::limits::COUNTER_MAX;
use isomer_contract::name::{ModuleName, NameError, ReleaseName, Version};
use isomer_contract::{Digest, Hinted, canonical_json, shorten};
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
    /// The modules of which the signer has no record, signed as their contents were: the signer trusts whoever made them.
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

/// Why signed bytes are not a statement about a release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// Not JSON, or of another shape; names that no release can have included.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A statement of another kind.
    #[error("expected the {field} `{expected}`, found `{found}`")]
    OtherType {
        /// The field.
        field: &'static str,
        /// Its value.
        found: String,
        /// The value that is expected.
        expected: &'static str,
    },
    /// It has no subject, or more than any release has.
    #[error("expected 1 to {SUBJECTS_MAX} subjects, found {found}")]
    SubjectCount {
        /// How many there are.
        found: usize,
    },
    /// A subject that is not a module of a version.
    #[error("invalid subject `{name}`: expected NAME:VERSION{}", .error.as_ref().map_or_else(String::new, |error| format!(" ({error})")))]
    Subject {
        /// Its name.
        name: String,
        /// What is wrong with a part of it.
        error: Option<NameError>,
    },
    /// A counter that not every reader of JSON keeps exact.
    #[error("expected a counter of at most {COUNTER_MAX}, found {found}")]
    Counter {
        /// The counter.
        found: u64,
    },
    /// Two subjects, or two inputs, with the same name.
    #[error("it names the {what} `{name}` twice")]
    Duplicate {
        /// Of what.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A subject or input without the digest that isomer computes.
    #[error("expected a sha256 digest of 64 lower-case hexadecimal digits for the {what} `{name}`, found {found}")]
    Digest {
        /// Of what.
        what: &'static str,
        /// Its name.
        name: String,
        /// The digest, or those that it has instead.
        found: String,
    },
}

impl Hinted for StatementError {
    fn hint(&self) -> Option<String> {
        match self {
            StatementError::OtherType { .. } => Some("it was made by another tool, or by a later isomer".to_owned()),
            _ => None,
        }
    }
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

/// SLSA's place for the machines that a builder relies on: for its readers, and not read back.
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
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn release(name: &str, counter: u64) -> Release {
        let version = "1.4.0".parse().expect("it is a version");
        Release { name: name.parse().expect("it is a name"), version, counter }
    }

    /// A statement about one module.
    pub(crate) fn statement(reference: &str, index: Digest, counter: u64) -> Statement {
        Statement {
            subjects: [(reference.to_owned(), index)].into(),
            release: release("acme-plugins", counter),
            build: Build {
                targets: [("x86-64-v3".to_owned(), Digest::of(b"profile"))].into(),
                passes: vec!["hide-constants".to_owned()],
                engine: "48.0.8".to_owned(),
                isomer: "0.1.0".to_owned(),
                not_compiled: NotCompiled::default(),
            },
            inputs: [("resize.wasm".to_owned(), Digest::of(b"wasm"))].into(),
            builder: Builder { id: "https://farm.example/isomer".to_owned(), version: BTreeMap::new() },
            finished_on: None,
        }
    }

    fn json() -> Value {
        let text = statement("resize:1.4.0", Digest::of(b"index"), 7).to_json();
        serde_json::from_str(&text).expect("it was just written")
    }

    #[test]
    fn the_json_is_the_specifications() {
        let (index, profile, wasm) = (Digest::of(b"index").hex(), Digest::of(b"profile"), Digest::of(b"wasm").hex());
        let expected = serde_json::json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "resize:1.4.0", "digest": {"sha256": index}}],
            "predicateType": "https://slsa.dev/provenance/v1",
            "predicate": {
                "buildDefinition": {
                    "buildType": "https://isomer.dev/build/v1",
                    "externalParameters": {"release": {"name": "acme-plugins", "version": "1.4.0", "counter": 7}},
                    "internalParameters": {
                        "targets": {"x86-64-v3": profile.to_string()},
                        "passes": ["hide-constants"],
                        "engine": "48.0.8",
                        "isomer": "0.1.0",
                    },
                    "resolvedDependencies": [{"name": "resize.wasm", "digest": {"sha256": wasm}}],
                },
                "runDetails": {"builder": {"id": "https://farm.example/isomer"}, "metadata": {}},
            },
        });
        assert_eq!(json(), expected);
    }

    /// The statement's JSON with one value replaced, or added, by `change`.
    fn changed(change: impl FnOnce(&mut Value)) -> Result<Statement, StatementError> {
        let mut json = json();
        change(&mut json);
        Statement::from_json(json.to_string().as_bytes())
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let read = changed(|json| {
            json["other"] = Value::from(1);
            json["subject"][0]["digest"]["sha512"] = Value::from("00");
            json["subject"][0]["uri"] = Value::from("pkg:oci/resize");
            json["predicate"]["runDetails"]["byproducts"] = Value::from("x");
            json["predicate"]["runDetails"]["metadata"]["finishedOn"] = Value::from("2026-11-23T12:00:00Z");
        });
        let mut expected = statement("resize:1.4.0", Digest::of(b"index"), 7);
        expected.finished_on = Some("2026-11-23T12:00:00Z".to_owned());
        assert_eq!(read, Ok(expected));
    }

    #[test]
    fn each_refusal_names_what_was_found() {
        let set = |pointer: &'static str, value: Value| {
            let error = changed(|json| *json.pointer_mut(pointer).expect("the statement has it") = value);
            error.expect_err(pointer).to_string()
        };
        let release = "/predicate/buildDefinition/externalParameters/release";
        assert_eq!(
            set("/_type", "https://in-toto.io/Statement/v0.1".into()),
            "expected the _type `https://in-toto.io/Statement/v1`, found `https://in-toto.io/Statement/v0.1`"
        );
        assert_eq!(
            set("/predicateType", "https://spdx.dev/Document".into()),
            "expected the predicateType `https://slsa.dev/provenance/v1`, found `https://spdx.dev/Document`"
        );
        assert_eq!(
            set("/predicate/buildDefinition/buildType", "https://example.com/workflow/v1".into()),
            "expected the buildType `https://isomer.dev/build/v1`, found `https://example.com/workflow/v1`"
        );
        assert_eq!(
            set("/predicate/buildDefinition", 1.into()),
            "expected the buildType `https://isomer.dev/build/v1`, found ``"
        );
        assert_eq!(set("/subject", Value::Array(vec![])), "expected 1 to 4096 subjects, found 0");
        for (digest, found) in [
            (serde_json::json!({}), "no digest"),
            (serde_json::json!({"sha512": "00", "gitCommit": "11"}), "only gitCommit, sha512"),
            (serde_json::json!({"SHA256": "00"}), "only SHA256"),
            (serde_json::json!({"sha256": "E3"}), "the sha256 `E3`"),
            (
                serde_json::json!({"sha256": Digest::of(b"").to_string()}),
                "the sha256 `sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855`",
            ),
        ] {
            let expected = format!(
                "expected a sha256 digest of 64 lower-case hexadecimal digits for the subject `resize:1.4.0`, found {found}"
            );
            assert_eq!(set("/subject/0/digest", digest), expected);
        }
        for (name, found) in [
            ("resize", "expected NAME:VERSION"),
            (":1", "invalid module name ``"),
            ("../resize:1", "invalid module name `../resize`"),
            ("resize:", "invalid version ``"),
            ("resize:1\n", "invalid version `1\\n`"),
        ] {
            let error = set("/subject/0/name", name.into());
            assert!(error.starts_with("invalid subject") && error.contains(found), "{error}");
        }
        for (field, value) in
            [("name", "x".repeat(2 << 20)), ("name", "a\u{1b}[2J".to_owned()), ("version", String::new())]
        {
            let error = set(release, serde_json::json!({"name": "a", "version": "1", "counter": 1, field: value}));
            assert!(error.starts_with("invalid ") && error.len() < 1000, "{error}");
        }
        for counter in [serde_json::json!(-1), serde_json::json!(1.5), serde_json::json!("7"), serde_json::json!(1e30)]
        {
            let error = changed(|json| json.pointer_mut(release).expect("it has one")["counter"] = counter);
            assert!(matches!(error, Err(StatementError::Json(JsonError::Malformed(_)))), "{error:?}");
        }
        let counter = |counter: u64| {
            changed(|json| json.pointer_mut(release).expect("it has one")["counter"] = counter.into())
                .map(|it| it.release)
        };
        assert_eq!(counter(COUNTER_MAX).expect("it is the largest").counter, COUNTER_MAX);
        assert_eq!(counter(COUNTER_MAX + 1), Err(StatementError::Counter { found: COUNTER_MAX + 1 }));
        let twice = changed(|json| {
            let subject = json["subject"][0].clone();
            json["subject"].as_array_mut().expect("it is one").push(subject);
        });
        assert_eq!(twice.expect_err("twice").to_string(), "it names the subject `resize:1.4.0` twice");
        let text = json().to_string().replacen('{', r#"{"predicateType":"x","#, 1);
        let error = Statement::from_json(text.as_bytes()).expect_err("twice").to_string();
        assert_eq!(error, "the key `predicateType` occurs twice in one object");
    }

    pub(crate) fn any_statement() -> impl Strategy<Value = Statement> {
        let digest = || any::<[u8; 8]>().prop_map(|bytes| Digest::of(&bytes));
        let digests = move |least| prop::collection::btree_map(".*", digest(), least..4usize);
        let subjects = prop::collection::btree_map("[a-z0-9]{1,9}:[a-zA-Z0-9]{1,9}", digest(), 1..4usize);
        let release = ("[a-z]([a-z /]{0,9}[a-z])?", "[0-9]{1,3}(\\.[0-9]{1,3}){0,2}", 0..=COUNTER_MAX).prop_map(
            |(name, version, counter)| Release {
                name: name.parse().expect("it is a name"),
                version: version.parse().expect("it is a version"),
                counter,
            },
        );
        let texts = || prop::collection::btree_set(".*", 0..3);
        let not_compiled = (texts(), prop::collection::btree_map(".*", texts(), 0..3))
            .prop_map(|(contents, remotes)| NotCompiled { contents, remotes });
        let build = (digests(0), prop::collection::vec(".*", 0..3), ".*", ".*", not_compiled).prop_map(
            |(targets, passes, engine, isomer, not_compiled)| Build { targets, passes, engine, isomer, not_compiled },
        );
        let builder =
            (".*", prop::collection::btree_map(".*", ".*", 0..3)).prop_map(|(id, version)| Builder { id, version });
        (subjects, release, build, digests(0), builder, any::<Option<String>>()).prop_map(
            |(subjects, release, build, inputs, builder, finished_on)| Statement {
                subjects,
                release,
                build,
                inputs,
                builder,
                finished_on,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(statement in any_statement()) {
            let text = statement.to_json();
            let read = Statement::from_json(text.as_bytes());
            prop_assert_eq!(read.as_ref(), Ok(&statement));
            prop_assert_eq!(statement.to_json(), text);
        }

        #[test]
        fn any_bytes_give_a_statement_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Statement::from_json(&bytes);
        }
    }
}
