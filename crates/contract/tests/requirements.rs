//! What profiles promise, as a golden file, and what enters the digest of requirements.

mod hosts;

use hosts::requirements;
use isomer_contract::isa::Arch;
use isomer_contract::profile::shipped_names;
use isomer_contract::settings::Value;
use isomer_contract::{Kind, Profile, Requirements, canonical_json};
use std::path::Path;
use wasmparser::WasmFeatures;

/// Compares `found` with the file `name` beside this one; `BLESS=1` writes the file.
#[track_caller]
fn assert_golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, found).expect("the file can be written");
    }
    let expected = std::fs::read_to_string(&path).expect("the golden file exists");
    assert_eq!(found, expected, "{} differs; `BLESS=1` writes it", path.display());
}

/// A change here makes every release and cache that exists useless to a new isomer.
#[test]
fn the_digests_of_shipped_profiles_are_golden() {
    let mut lines = String::new();
    for name in shipped_names() {
        let profile = Profile::shipped(name).expect("a shipped profile");
        for kind in [Kind::Module, Kind::Component] {
            lines += &format!("{name} {kind} {}\n", Requirements::of_profile(&profile, kind).compat());
        }
    }
    assert_golden("compat.txt", &lines);
}

#[test]
fn the_requirements_of_a_profile_are_golden() {
    let value: serde_json::Value = serde_json::from_str(&canonical_json(&requirements("x86-64-v3"))).expect("JSON");
    assert_golden("requirements.json", &format!("{value:#}\n"));
}

#[test]
fn all_that_a_loader_compares_enters_the_digest() {
    type Change = fn(&mut Requirements);
    let changes: [(&str, Change); 8] = [
        ("engine", |it| it.engine = "49".to_owned()),
        ("kind", |it| it.kind = Kind::Component),
        ("arch", |it| it.arch = Arch::Aarch64),
        ("os", |it| it.os = "freebsd".to_owned()),
        ("isa", |it| {
            it.isa.remove("fma");
        }),
        ("tunables", |it| drop(it.tunables.insert("fuel".to_owned(), Value::Bool(true)))),
        ("wasm-features", |it| {
            it.wasm_features.remove("threads");
        }),
        ("refused-flags", |it| drop(it.refused_flags.insert("enable_pinned_reg".to_owned(), "true".to_owned()))),
    ];
    let base = requirements("x86-64-v3");
    for (field, change) in changes {
        let mut changed = base.clone();
        change(&mut changed);
        assert_ne!(changed.compat(), base.compat(), "{field}");
    }
    let mut recorded = base.clone();
    recorded.recorded.insert("address-map".to_owned(), Value::Bool(false));
    assert_eq!(recorded.compat(), base.compat(), "what a loader does not compare");
}

#[test]
fn proposals_become_the_bits_of_the_engine() {
    let mut requirements = requirements("x86-64-v3");
    requirements.wasm_features = ["simd", "gc-types", "threads"].map(str::to_owned).into();
    let expected = WasmFeatures::SIMD | WasmFeatures::GC_TYPES | WasmFeatures::THREADS;
    assert_eq!(requirements.features(), Ok(expected));
    requirements.wasm_features.extend(["telepathy", "unknown"].map(str::to_owned));
    assert_eq!(requirements.features(), Err("telepathy".to_owned()));
    requirements.wasm_features.clear();
    assert_eq!(requirements.features(), Ok(WasmFeatures::empty()));
}

#[test]
fn only_a_part_of_the_extensions_is_no_stronger() {
    let v3 = requirements("x86-64-v3");
    let without = |name: &str| {
        let mut less = v3.clone();
        assert!(less.isa.remove(name));
        less
    };
    let fuel = |mut requirements: Requirements| {
        requirements.tunables.insert("fuel".to_owned(), Value::Bool(true));
        requirements
    };
    for (a, b, expected) in [
        (&v3, &v3, true),
        (&without("fma"), &v3, true),
        (&v3, &without("fma"), false),
        (&without("bmi1"), &without("fma"), false),
        (&fuel(without("fma")), &v3, false),
        (&fuel(without("fma")), &fuel(v3.clone()), true),
        (&requirements("neoverse-n1"), &v3, false),
    ] {
        assert_eq!(a.no_stronger_than(b), expected, "{:?} {:?}", a.isa, b.isa);
    }
}

#[test]
fn kinds_are_written_as_words() {
    assert_eq!([Kind::Module, Kind::Component].map(|kind| kind.to_string()), ["module", "component"]);
}
