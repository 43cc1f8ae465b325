//! The form of a statement, each refusal, and statements for the tests of other modules.

use super::*;
use crate::strict_json::JsonError;
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
    for (field, value) in [("name", "x".repeat(2 << 20)), ("name", "a\u{1b}[2J".to_owned()), ("version", String::new())]
    {
        let error = set(release, serde_json::json!({"name": "a", "version": "1", "counter": 1, field: value}));
        assert!(error.starts_with("invalid ") && error.len() < 1000, "{error}");
    }
    for counter in [serde_json::json!(-1), serde_json::json!(1.5), serde_json::json!("7"), serde_json::json!(1e30)] {
        let error = changed(|json| json.pointer_mut(release).expect("it has one")["counter"] = counter);
        assert!(matches!(error, Err(StatementError::Json(JsonError::Malformed(_)))), "{error:?}");
    }
    let counter = |counter: u64| {
        changed(|json| json.pointer_mut(release).expect("it has one")["counter"] = counter.into()).map(|it| it.release)
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
