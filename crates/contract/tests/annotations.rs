//! What an index says of a variant, and what a release from before a field existed says by leaving it out.

use isomer_contract::manifest::{
    ANNOTATION_CODE_GENERATION, ANNOTATION_PRIORITY, Blob, ManifestError, SCHEMA, Served, VariantConfig,
};
use isomer_contract::profile::{ProfileText, find_shipped};
use isomer_contract::{Cost, Digest, Kind, Needs, Profile, Requirements, Variant, canonical_json};

/// The config of a variant for a profile of this text, which serves another of `priority`, too.
fn config(text: &str, priority: i32) -> VariantConfig {
    let text = ProfileText { name: "p".to_owned(), path: "p.toml".to_owned(), text: text.to_owned() };
    let profile = Profile::resolve(&text, &find_shipped).expect("a profile");
    let requirements = Requirements::of_profile(&profile, Kind::Module);
    let served = |target: &str, priority| Served {
        target: target.to_owned(),
        profile: profile.digest(),
        job: Digest::of(target.as_bytes()),
        predicted: false,
        priority,
    };
    VariantConfig {
        schema: SCHEMA,
        module: "m".to_owned(),
        wasm: Blob::of(b"wasm"),
        artifact: Blob::of(b"artifact"),
        code: Digest::of(b"code"),
        target: "p".to_owned(),
        triple: profile.triple.to_string(),
        serves: vec![served("o", priority), served("p", profile.priority)],
        passes: Vec::new(),
        engine: "48.0.8".to_owned(),
        isomer: "0.1.0".to_owned(),
        compat: requirements.compat(),
        requirements,
        code_generation: profile.code_generation(),
        needs: Needs::default(),
    }
}

fn variant(config: &VariantConfig) -> Variant {
    Variant::from_annotations(Digest::of(b"manifest"), &config.annotations()).expect("it was written")
}

#[test]
fn an_index_has_the_priority_and_the_costs() {
    let config = config("inherits = 'x86-64-v3'\npriority = -3\n[codegen]\nnan-canonicalization = true", -7);
    let found = variant(&config);
    assert_eq!((found.priority, found.costs()), (-3, vec![Cost::NanCanonicalization]), "the higher of both");
    assert_eq!(found.code_generation, config.code_generation);
    assert_eq!(VariantConfig::from_json(canonical_json(&config).as_bytes()), Ok(config));
}

/// Releases from before these existed hold neither, and later ones none that says nothing.
#[test]
fn what_is_absent_is_zero_and_nothing() {
    let plain = config("inherits = 'x86-64-v3'", 0);
    for key in [ANNOTATION_PRIORITY, ANNOTATION_CODE_GENERATION] {
        assert!(!plain.annotations().contains_key(key), "{key}");
    }
    let found = variant(&plain);
    assert_eq!((found.priority, found.costs(), found.code_generation.len()), (0, Vec::new(), 0));
    let json = canonical_json(&plain);
    assert!(!json.contains("priority") && !json.contains("code-generation"), "{json}");
    assert_eq!(VariantConfig::from_json(json.as_bytes()), Ok(plain));
}

#[test]
fn what_does_not_parse_is_refused_by_its_key() {
    for (key, value) in [
        (ANNOTATION_PRIORITY, "1.5"),
        (ANNOTATION_PRIORITY, ""),
        (ANNOTATION_CODE_GENERATION, "{"),
        (ANNOTATION_CODE_GENERATION, "{\"opt-level\":[]}"),
    ] {
        let mut annotations = config("inherits = 'x86-64-v3'", 0).annotations();
        annotations.insert(key.to_owned(), value.to_owned());
        let error = Variant::from_annotations(Digest::of(b"manifest"), &annotations).expect_err(value);
        assert!(matches!(error, ManifestError::Malformed { key: found, .. } if found == key), "{error}");
    }
}
