//! Profiles, requirements, configs, annotations and host files that are nearly right: none makes its parser
//! panic, what is refused is refused with words, and what is read is written back the same.
//!
//! A few thousand each time. A million take minutes:
//! `ISOMER_FUZZ_RUNS=1000000 cargo test --release -p isomer-contract --test fuzz -- --nocapture`.

use isomer_contract::isa::Arch;
use isomer_contract::manifest::{Blob, SCHEMA, Served, VariantConfig};
use isomer_contract::profile::{ProfileText, find_shipped, shipped_names};
use isomer_contract::{
    Demand, Digest, Hinted, Host, Kind, Needs, Profile, Requirements, Variant, canonical_json, check, engine_config,
    isa, select,
};
use isomer_testing::fuzz::Fuzzer;
use std::collections::BTreeMap;

/// What these documents are made of, beside JSON.
const WORDS: &[&[u8]] = &[
    b"=",
    b"'",
    b"\n",
    b"true",
    b"18446744073709551616",
    b"4GiB",
    b"avx512f",
    b"isa = [",
    b"inherits = \"p\"",
    b"[wasm]\n",
    b"[optimize]\n",
    b"x86-64-v3",
];

fn profile(name: &str) -> Profile {
    Profile::shipped(name).expect("a shipped profile")
}

fn config(target: &str, kind: Kind) -> VariantConfig {
    let profile = profile(target);
    let requirements = Requirements::of_profile(&profile, kind);
    VariantConfig {
        schema: SCHEMA,
        module: "sort".to_owned(),
        wasm: Blob::of(b"wasm"),
        artifact: Blob::of(b"artifact"),
        code: Digest::of(b"code"),
        target: target.to_owned(),
        triple: profile.triple.to_string(),
        serves: vec![Served {
            target: target.to_owned(),
            profile: profile.digest(),
            job: Digest::of(b"job"),
            predicted: false,
            priority: 0,
        }],
        engine: "48.0.8".to_owned(),
        isomer: "0.1.0".to_owned(),
        passes: vec!["pass".to_owned()],
        compat: requirements.compat(),
        requirements,
        code_generation: BTreeMap::new(),
        needs: Needs::default(),
    }
}

fn configs() -> Vec<VariantConfig> {
    ["x86-64-v1", "neoverse-v1", "rva22u64", "z15", "pulley64be"].map(|target| config(target, Kind::Module)).into()
}

/// A server that runs all of x86-64-v3, and its file.
fn host() -> Host {
    let baseline = isa::all(Arch::X86_64).filter(|row| row.baseline).map(|row| row.name.to_owned());
    let isa: Vec<_> = config("x86-64-v3", Kind::Module).requirements.isa.into_iter().chain(baseline).collect();
    let file = serde_json::json!({ "arch": "x86_64", "os": "linux", "isa": isa, "engine": "48.0.8" });
    Host::from_json(&file.to_string()).expect("a host file")
}

#[test]
fn fuzz_profile() {
    let small = "description = \"edge\"\naliases = [\"box\"]\ninherits = \"x86-64-v3\"\nisa = [\"avxvnni\"]\n\
                 [optimize]\nopt-level = \"speed\"\nmemory-reservation = \"4GiB\"\n[codegen]\nnan-canonicalization = true\n\
                 [wasm]\nepoch-interruption = true\n";
    let shipped = shipped_names().map(|name| find_shipped(name).expect("it is shipped").text.into_bytes());
    Fuzzer::json(shipped.chain([small.into()]).collect(), WORDS).run("profile", 2000, |bytes| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let text = ProfileText { name: "p".to_owned(), path: "p.toml".to_owned(), text };
        match Profile::resolve(&text, &find_shipped) {
            Ok(profile) => {
                // What a profile promises can be asked of an engine, or is refused in words.
                if let Err(error) = engine_config(&Requirements::of_profile(&profile, Kind::Module)) {
                    assert!(!error.to_string().is_empty());
                }
                true
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                let _ = error.hint();
                false
            }
        }
    });
}

#[test]
fn fuzz_requirements() {
    let documents = configs().iter().map(|config| canonical_json(&config.requirements).into_bytes()).collect();
    let host = host();
    Fuzzer::json(documents, WORDS).run("requirements", 2000, |bytes| {
        let Ok(requirements) = serde_json::from_slice::<Requirements>(bytes) else { return false };
        let again: Requirements = serde_json::from_str(&canonical_json(&requirements)).expect("it was written");
        assert_eq!((again.compat(), &again), (requirements.compat(), &requirements));
        let _ = (check(&requirements, &host), engine_config(&requirements).err().map(|error| error.to_string()));
        true
    });
}

#[test]
fn fuzz_config() {
    let documents = configs().iter().map(|config| canonical_json(config).into_bytes()).collect();
    Fuzzer::json(documents, WORDS).run("config", 2000, |bytes| match VariantConfig::from_json(bytes) {
        Ok(config) => {
            let again = VariantConfig::from_json(canonical_json(&config).as_bytes());
            assert_eq!(again.as_ref(), Ok(&config));
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    });
}

/// Two variants of an index in the words of its annotations; what is read can be chosen from.
#[test]
fn fuzz_annotations() {
    let documents = configs().iter().map(|config| canonical_json(&config.annotations()).into_bytes()).collect();
    let host = host();
    let good = config("x86-64-v1", Kind::Module).annotations();
    let good = Variant::from_annotations(Digest::of(b"good"), &good).expect("it was written");
    Fuzzer::json(documents, WORDS).run("annotations", 2000, |bytes| {
        let Ok(annotations) = serde_json::from_slice::<BTreeMap<String, String>>(bytes) else { return false };
        let Ok(variant) = Variant::from_annotations(Digest::of(b"other"), &annotations) else { return false };
        let one = [good.clone(), variant.clone()];
        let two = [variant, good.clone()];
        let chosen =
            |variants: &[Variant]| select(variants, &host, &Demand::default()).chosen.map(|variant| variant.manifest);
        assert!(chosen(&one).is_some(), "{:?}", check(&good.requirements, &host));
        assert_eq!(chosen(&one), chosen(&two), "{one:?}");
        true
    });
}

#[test]
fn fuzz_host() {
    Fuzzer::json(vec![canonical_json(&host()).into_bytes()], WORDS).run("host", 2000, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        match Host::from_json(&text) {
            Ok(host) => {
                let _ = check(&config("x86-64-v3", Kind::Module).requirements, &host);
                true
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                false
            }
        }
    });
}
