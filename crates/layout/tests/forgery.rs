//! Releases of a hostile writer, whose digests are right: the error for each lie. None panics, and no byte is read that the
//! documents do not promise.

mod forger;
mod sample;

use forger::{Forgery, forged};
use isomer_contract::canonical_json;
use isomer_contract::manifest::{ARTIFACT_TYPE, VariantConfig};
use isomer_layout::Layout;
use proptest::prelude::*;
use sample::{files, read_all};
use serde_json::{Value, json};
use std::fs;
use std::io::Read as _;

const ZERO: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

#[test]
fn an_index_that_lies_about_size_or_digest() {
    forged(|f| f.release(|index| index["manifests"][0]["size"] = json!(7))).check(", expected 7 as `index.json` says");
    forged(|f| f.release(|index| index["manifests"][0]["size"] = json!(u64::MAX))).check("expected at most 4194304");
    forged(|f| f.release(|index| index["manifests"][0]["size"] = json!(-1))).check("`index.json` is malformed");
    forged(|f| f.release(|index| index["manifests"][0]["digest"] = json!(ZERO))).check("is missing; `index.json`");
    forged(|f| f.module(|module| module["manifests"][1]["size"] = json!(7))).check(", expected 7 as `blobs/sha256/");
    forged(|f| f.module(|module| module["manifests"][1]["digest"] = json!(ZERO))).check("is missing; `blobs/");
    forged(|f| f.manifest(|m| m["layers"][0]["size"] = json!(7))).check(", expected 7 as `blobs/");
    forged(|f| f.manifest(|m| m["layers"][0]["size"] = json!(u64::MAX))).check("expected at most 4294967296");
    forged(|f| f.manifest(|m| m["config"]["size"] = json!(1_u64 << 40))).check("expected at most 4194304");
    forged(|f| f.wasm(|m| m["layers"][0]["size"] = json!(7))).check("has 8 bytes, expected 7");
}

#[test]
fn digests_that_are_no_sha256() {
    let sha512 = format!("sha512:{}", "0".repeat(128));
    for wrong in [sha512.as_str(), "blake3:00", "multihash+base58:QmRZ"] {
        let expected = "expected a sha256 digest";
        forged(|f| f.release(|index| index["manifests"][0]["digest"] = json!(wrong))).check(expected);
        forged(|f| f.module(|index| index["manifests"][1]["digest"] = json!(wrong))).check(expected);
        forged(|f| f.manifest(|m| m["layers"][0]["digest"] = json!(wrong))).check(expected);
    }
    for wrong in ["sha256:../../../../etc/passwd", "../x:y", "sha256:", "", "sha256:AA", "/etc/passwd"] {
        forged(|f| f.release(|index| index["manifests"][0]["digest"] = json!(wrong)))
            .check("`index.json` is malformed");
        forged(|f| f.manifest(|m| m["config"]["digest"] = json!(wrong))).check("is malformed");
    }
}

#[test]
fn invalid_and_duplicate_names_are_refused() {
    let name = |name: &'static str| {
        move |index: &mut Value| {
            index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] = json!(name);
        }
    };
    forged(|f| f.release(name("sort:0.1.0"))).check("`index.json` lists `sort:0.1.0` twice");
    forged(|f| f.release(name("\u{1b}[2J"))).check(r"invalid reference `\u{1b}[2J`");
    forged(|f| f.release(name(""))).check("invalid reference ``");
    forged(|f| f.release(|index| index["manifests"][2]["annotations"]["dev.isomer.module"] = json!("a..b")))
        .check("invalid module name `a..b`");
    forged(|f| f.release(|index| index["manifests"][2]["annotations"]["dev.isomer.module"] = json!("clock")))
        .check("the module is `sort`, expected `clock`");
    forged(|f| f.module(|module| module["manifests"][2] = module["manifests"][1].clone()))
        .check("lists the variant `neoverse-n1` of wasmtime 48.0.8 twice");
    forged(|f| f.module(|module| module["manifests"][2] = module["manifests"][0].clone()))
        .check("lists the plain WebAssembly twice");
    // Entries of others are passed over.
    let f = forged(|f| {
        f.release(|index| {
            let others = json!([
                {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": ZERO, "size": 1},
                {"mediaType": "application/vnd.example", "digest": "sha512:00", "size": 1},
            ]);
            let others = others.as_array().unwrap().iter().filter(|it| it["mediaType"] != "application/vnd.example");
            index["manifests"].as_array_mut().unwrap().extend(others.cloned());
        });
        f.module(|module| {
            let attestation = json!({
                "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": ZERO, "size": 1,
                "platform": {"architecture": "unknown", "os": "unknown"},
            });
            module["manifests"].as_array_mut().unwrap().push(attestation);
        });
    });
    read_all(f.dir.path()).unwrap();
}

#[test]
fn media_types_that_isomer_does_not_read() {
    let wrong = json!("application/vnd.example");
    forged(|f| f.manifest(|m| m["mediaType"] = wrong.clone())).check("the mediaType is `application/vnd.example`");
    forged(|f| f.manifest(|m| m["artifactType"] = wrong.clone()))
        .check("the artifactType is `application/vnd.example`");
    forged(|f| f.manifest(|m| m["artifactType"] = Value::Null))
        .check(&format!("is `none`, expected `{ARTIFACT_TYPE}`"));
    forged(|f| f.manifest(|m| m["config"]["mediaType"] = wrong.clone())).check("the config's mediaType is");
    forged(|f| f.manifest(|m| m["layers"][0]["mediaType"] = wrong.clone())).check("the layer's mediaType is");
    forged(|f| f.manifest(|m| m["layers"] = json!([]))).check("it has 0 layers, expected one");
    forged(|f| f.manifest(|m| m["layers"] = json!([m["layers"][0], m["layers"][0]]))).check("it has 2 layers");
    forged(|f| f.manifest(|m| m["schemaVersion"] = json!(3))).check("schemaVersion is 3, expected 2");
    forged(|f| f.module(|m| m["mediaType"] = json!("application/vnd.oci.image.manifest.v1+json"))).check("mediaType");
    forged(|f| f.wasm(|m| m["layers"][0]["mediaType"] = wrong.clone())).check("expected `application/wasm`");
    forged(|f| f.wasm(|m| m["config"]["mediaType"] = wrong.clone())).check("application/vnd.wasm.config.v0+json");
}

/// A variant that was chosen for what the index says must be that variant.
#[test]
fn an_index_and_a_config_that_disagree() {
    forged(|f| f.config(|config| config["requirements"]["isa"] = json!([]))).check("the requirements is");
    forged(|f| f.config(|config| config["compat"] = json!(ZERO))).check(&format!("the compat digest is `{ZERO}`"));
    forged(|f| f.config(|config| config["target"] = json!("x86-64-v4"))).check("the target is `x86-64-v4`");
    forged(|f| f.config(|config| config["engine"] = json!("47.0.0"))).check("the engine is `47.0.0`");
    forged(|f| f.config(|config| config["engine"] = json!("480.0.0"))).check("the engine is `480.0.0`");
    forged(|f| f.config(|config| config["module"] = json!("other"))).check("the module is `other`");
    forged(|f| f.config(|config| config["serves"] = json!([]))).check("the list of profiles served is ``");
    forged(|f| f.config(|config| config["schema"] = json!(2))).check("format 2; this isomer reads up to 1");
    forged(|f| f.config(|config| config["artifact"]["size-bytes"] = json!(5_u64 << 30))).check("at most 4294967296");
    forged(|f| f.config(|config| config["artifact"] = json!("?"))).check("cannot read");
    let annotation = |key: &'static str, value: Value| {
        forged(move |f| f.module(|module| module["manifests"][1]["annotations"][key] = value))
    };
    annotation("dev.isomer.engine", json!("wasmtime 48.0.1x")).check("names no version of wasmtime");
    annotation("dev.isomer.compat", json!(ZERO)).check("the dev.isomer.compat is");
    annotation("dev.isomer.target", json!("\u{1b}[2J")).check("has a control character or backslash in it");
    annotation("dev.isomer.requirements", json!(r#"{"os":"\u001b"}"#)).check("control character or backslash");
    annotation("dev.isomer.requirements", json!("{")).check("does not parse");
    annotation("dev.isomer.engine", json!("v8")).check("names no version of wasmtime");
    annotation("dev.isomer.priority", json!("high")).check("does not parse");
    annotation("dev.isomer.priority", json!("7")).check("the priority is `0`, expected `7`");
    annotation("dev.isomer.code-generation", json!("[]")).check("does not parse");
    annotation("dev.isomer.code-generation", json!(r#"{"opt-level":"none"}"#)).check("settings of the code generator");
    forged(|f| f.config(|config| config["serves"][0]["priority"] = json!(7)))
        .check("the priority is `7`, expected `0`");
    forged(|f| {
        f.module(|module| {
            module["manifests"][1]["annotations"].as_object_mut().unwrap().remove("dev.isomer.compat");
        });
    })
    .check("the annotation `dev.isomer.compat` is missing");
}

fn frame(bytes: &[u8], window_log: Option<u32>) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    if let Some(window_log) = window_log {
        encoder.window_log(window_log).unwrap();
    }
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

fn sized_frame(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 3).unwrap()
}

#[test]
fn layers_that_are_not_what_their_config_says() {
    let bomb = vec![0; 50 << 20];
    let size = 1000;
    let exact = vec![7; 1000];
    // The header tells at once, or, when it does not, the reader stops at the promised size.
    forged(|f| f.layer(&sized_frame(&bomb), size)).check("an artifact of 1000 bytes: its frame holds 52428800");
    forged(|f| f.layer(&frame(&bomb, None), size)).check("an artifact of 1000 bytes: it holds more");
    forged(|f| f.layer(&frame(&exact[1..], None), size)).check("an artifact of 1000 bytes: it ends after 999");
    forged(|f| f.layer(&frame(b"", None), size)).check("its frame holds 0");
    forged(|f| f.layer(b"no frame at all", size)).check("it is not a zstd frame");
    forged(|f| f.layer(b"", size)).check("it is not a zstd frame");
    forged(|f| f.layer(&[&sized_frame(&exact)[..], b"x"].concat(), size)).check("bytes follow its frame");
    forged(|f| f.layer(&sized_frame(&exact).repeat(2), size)).check("bytes follow its frame");
    let cut = sized_frame(&exact);
    forged(|f| f.layer(&cut[..cut.len() - 1], size)).check("an artifact of 1000 bytes: ");
    // A window of 64 MiB would be allocated for a few bytes.
    let wide = frame(&vec![1; 65 << 20], Some(26));
    forged(|f| f.layer(&wide, 65 << 20)).check("zstd: Frame requires too much memory");
    // An uncompressed layer is the artifact itself.
    let plain = forged(|f| {
        f.layer(&exact, size);
        f.manifest(|m| m["layers"][0]["mediaType"] = json!("application/vnd.isomer.cwasm.v1"));
    });
    plain.check("the artifact is `");
    // And the same with nothing wrong.
    let f = forged(|f| f.layer(&frame(&exact, None), size));
    assert!(read_all(f.dir.path()).unwrap().contains(&exact));
}

#[test]
fn no_more_bytes_are_decompressed_than_declared() {
    let f = forged(|f| f.layer(&frame(&vec![0; 1 << 20], None), 1000));
    let layout = Layout::open(f.dir.path()).unwrap();
    let manifest = layout.manifest(&layout.module("sort").unwrap().variants[0]).unwrap();
    let mut reader = layout.open_artifact(&manifest).unwrap();
    let mut yielded = 0;
    let mut buffer = [0; 300];
    while let Ok(read) = reader.read(&mut buffer) {
        assert_ne!(read, 0, "ended without an error");
        yielded += read;
        assert!(yielded < 1000, "the last bytes came out");
    }
    assert!(reader.read(&mut buffer).is_err(), "the error does not last");
}

/// Changes one value somewhere in `value`.
fn mutate(value: &mut Value, at: &mut usize, with: &Value) -> bool {
    if *at == 0 {
        *value = with.clone();
        return true;
    }
    *at -= 1;
    match value {
        Value::Array(items) => items.iter_mut().any(|item| mutate(item, at, with)),
        Value::Object(items) => items.values_mut().any(|item| mutate(item, at, with)),
        _ => false,
    }
}

#[test]
fn any_value_of_any_document_may_be_any_other() {
    let f = Forgery::new();
    let original = files(f.dir.path());
    let strange = [
        Value::Null,
        json!(-1),
        json!(u64::MAX),
        json!("\u{0}\u{1b}\u{202e}"),
        json!("sha256:../.."),
        json!(ZERO),
        json!([[[]]]),
        json!({"digest": ZERO, "size": 0, "mediaType": ""}),
    ];
    type Change = fn(&Forgery, &mut dyn FnMut(&mut Value));
    let changes: [Change; 5] = [
        |f, change| f.release(change),
        |f, change| f.module(change),
        |f, change| f.manifest(change),
        |f, change| f.config(change),
        |f, change| f.wasm(change),
    ];
    let mut forgeries = 0;
    for apply in changes {
        for with in &strange {
            for at in 0.. {
                let mut changed = false;
                apply(&f, &mut |value| changed = mutate(value, &mut at.clone(), with));
                if !changed {
                    break;
                }
                // Either it is refused, with a message of a line, or what was changed is of no import.
                if let Err(error) = read_all(f.dir.path()) {
                    let text = error.to_string();
                    assert!(text.len() < 2000 && !text.contains(|c: char| c.is_control()), "{text}");
                }
                forgeries += 1;
                fs::write(f.dir.path().join("index.json"), &original["index.json"]).unwrap();
            }
        }
    }
    assert!(forgeries > 1000, "{forgeries}");
    read_all(f.dir.path()).unwrap();
}

/// 300 cases, and no file that remembers failures.
fn cases() -> ProptestConfig {
    ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() }
}

/// Bytes of `index.json` changed at random.
#[test]
fn noise_in_the_index_never_panics() {
    let f = Forgery::new();
    let path = f.dir.path().join("index.json");
    let original = fs::read(&path).unwrap();
    let change = (any::<prop::sample::Index>(), any::<u8>());
    proptest!(cases(), |(changes in prop::collection::vec(change, 1..8))| {
        let mut bytes = original.clone();
        for (at, byte) in &changes {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        fs::write(&path, &bytes).unwrap();
        let _ = read_all(f.dir.path());
    });
}

/// Layers of noise, behind a right digest.
#[test]
fn noise_in_a_layer_never_panics() {
    let f = Forgery::new();
    proptest!(cases(), |(mut noise in prop::collection::vec(any::<u8>(), 0..200), magic: bool)| {
        if magic {
            noise.splice(0..0, [0x28, 0xb5, 0x2f, 0xfd]);
        }
        f.layer(&noise, 1000);
        prop_assert!(read_all(f.dir.path()).is_err());
    });
}

/// What these tests build on: a config that was parsed and written again is the same bytes.
#[test]
fn configs_are_canonical() {
    let f = Forgery::new();
    f.manifest(|manifest| {
        let bytes = f.get(&manifest["config"]);
        let config = VariantConfig::from_json(&bytes).unwrap();
        assert_eq!(canonical_json(&config).as_bytes(), bytes);
    });
}
