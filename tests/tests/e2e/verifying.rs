//! Which signatures are not trusted and why, and what an attacker without a key can do to a signed release.

use crate::signing::settings;
use insta::assert_snapshot;
use isomer_tests::farm::{ABC, BUNDLE, Farm, manifest_of_signed};
use isomer_tests::{copy, forge};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

#[test]
fn untrusted_signatures_are_refused() {
    let _settings = settings();
    let refused =
        |name: &str, farm: &Farm, options: &str| assert_snapshot!(format!("verify_{name}"), farm.untrusted(options));
    refused("unsigned", &Farm::unsigned(), "--key one.pub");
    let farm = Farm::signed();
    refused("wrong_key", &farm, "--key three.pub");
    let trust = "--trust trust.toml";
    farm.policy("", "not-after = 2020-12-31", "");
    refused("expired", &farm, trust);
    farm.policy("", "not-before = 2100-01-01", "");
    refused("not_yet_valid", &farm, trust);
    farm.policy("", "modules = ['sort', 'acme-*']", "");
    refused("not_allowed", &farm, trust);
    farm.call("verify dist sort --trust trust.toml").ok();
    farm.policy("", "", "[[key]]\nname = 'farm two'\nfile = 'two.pub'");
    farm.trusted(trust);
    let revoked =
        format!("[[key]]\nname = 'farm two'\nfile = 'two.pub'\n[revoked]\nkeys = ['{}']", farm.key_id("one.key"));
    farm.policy("", "", &revoked);
    refused("revoked_key", &farm, trust);
    let digest = farm.module("sha256:1.4.0")["digest"].clone();
    farm.policy("", "", &format!("[revoked]\ndigests = [{digest}]"));
    refused("revoked_index", &farm, trust);
    farm.call("verify dist sort --trust trust.toml").ok();
    farm.policy("", "", "[minimum-counter]\nacme = 8");
    refused("minimum_counter", &farm, trust);
    farm.isomer("sign dist --key one.key --counter 8").ok();
    farm.trusted(trust);
}

#[test]
fn several_keys_must_sign_the_same_release() {
    let _settings = settings();
    let farm = Farm::signed();
    let others = "[[key]]\nname = 'farm two'\nfile = 'two.pub'\n[[key]]\nname = 'farm three'\nfile = 'three.pub'";
    farm.policy("threshold = 2", "", others);
    assert_snapshot!("verify_one_of_two_needed", farm.untrusted("--trust trust.toml"));
    // The same key for another counter is no second key.
    farm.isomer("sign dist --key one.key --counter 9").ok();
    farm.untrusted("--trust trust.toml");
    farm.isomer("sign dist --key three.key").ok();
    farm.trusted("--trust trust.toml");
    let shown = farm.call("verify dist sort --trust trust.toml").ok().shown(farm.path());
    assert_snapshot!("verify_two_of_three", shown);
}

#[test]
fn engines_before_the_minimum_are_refused() {
    let _settings = settings();
    let farm = Farm::signed();
    farm.policy("minimum-engine = '48.99.0'", "", "");
    farm.untrusted("--trust trust.toml");
    assert_snapshot!("run_minimum_engine", farm.call("run --trust trust.toml dist/ sha256").run().shown(farm.path()));
    let explained = farm.call("select dist sha256 --trust trust.toml --explain").run();
    assert_eq!(explained.code(), 1, "{explained}");
    assert_eq!(explained.stdout().matches("excluded  ").count(), 6, "{explained}");
    let json = farm.call("select dist sha256 --trust trust.toml --json").run().json();
    assert_eq!((&json["chosen"], json["excluded"].as_array().unwrap().len()), (&Value::Null, 6));
}

#[test]
fn a_revoked_part_is_not_used() {
    let farm = Farm::signed();
    let [(native, config), (pulley, _)] = farm.variants();
    let revoke = |digests: &[&Value]| {
        let digests: Vec<_> = digests.iter().map(|digest| digest.to_string()).collect();
        farm.policy("", "", &format!("[revoked]\ndigests = [{}]", digests.join(", ")));
    };
    // A form whose manifest is revoked is as if it were not there.
    revoke(&[&native["digest"]]);
    let chosen = farm.call("select dist sha256 --trust trust.toml").ok();
    assert!(chosen.stdout().starts_with("pulley64"), "{chosen}");
    let run = farm.call("run --trust trust.toml dist/ sha256").ok();
    assert!(run.stdout().starts_with(ABC), "{run}");
    let required = native["annotations"]["dev.isomer.target"].as_str().unwrap();
    let run = farm.call(&format!("run --trust trust.toml --require {required} dist/ sha256")).fails();
    assert!(run.stderr().contains("is revoked"), "{run}");
    let verify = farm.call("verify dist sha256 --trust trust.toml").fails();
    assert!(verify.stderr().contains(&format!("the variant for {required}: sha256:")), "{verify}");
    revoke(&[&native["digest"], &pulley["digest"]]);
    farm.untrusted("--trust trust.toml");
    for digest in [&config["artifact"]["digest"], &config["wasm"]["digest"]] {
        revoke(&[digest]);
        for line in ["run --trust trust.toml dist/ sha256", "verify dist sha256 --trust trust.toml"] {
            let ran = farm.call(line).fails();
            assert!(ran.stderr().contains(&format!("{} is revoked", digest.as_str().unwrap())), "{ran}");
        }
    }
}

/// Another character of base64, so that the text still decodes.
fn flip(text: &mut Value, at: usize) {
    let mut bytes = text.as_str().unwrap().as_bytes().to_vec();
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    *text = String::from_utf8(bytes).unwrap().into();
}

#[test]
fn altered_signatures_are_ignored() {
    let _settings = settings();
    type Change = fn(&mut Value, &mut Value);
    let changes: [(&str, Change); 5] = [
        ("payload", |_, bundle| flip(&mut bundle["dsseEnvelope"]["payload"], 40)),
        ("payload_type", |_, bundle| bundle["dsseEnvelope"]["payloadType"] = "text/plain".into()),
        ("signature", |_, bundle| flip(&mut bundle["dsseEnvelope"]["signatures"][0]["sig"], 10)),
        ("media_type", |_, bundle| bundle["mediaType"] = "application/json".into()),
        ("not_a_bundle", |_, bundle| *bundle = json!([1, 2])),
    ];
    for (name, change) in changes {
        let farm = Farm::signed();
        farm.change_signatures(change);
        assert_snapshot!(format!("verify_altered_{name}"), farm.untrusted("--key one.pub"));
    }
    // Hints that name the key are not signed, and not trusted.
    let farm = Farm::signed();
    farm.change_signatures(|_, bundle| {
        bundle["verificationMaterial"]["publicKey"]["hint"] = "another".into();
        bundle["dsseEnvelope"]["signatures"][0]["keyid"] = "another".into();
    });
    farm.trusted("--key one.pub");
}

#[test]
fn a_signature_of_another_release_is_about_that_one() {
    let _settings = settings();
    let other = Farm::unsigned();
    fs::write(other.path().join("isomer.toml"), manifest_of_signed("1.4.0", "").replace("'x86-64-v1', ", "")).unwrap();
    other.isomer("release --sign one.key").ok();
    let farm = Farm::unsigned();
    // The other release's signatures, pointed at this one's indexes.
    copy(&other.dist().join("blobs"), &farm.dist().join("blobs"));
    let mut index = farm.index();
    let theirs = other.index();
    let signatures = theirs["manifests"].as_array().unwrap().iter().filter(|it| it["artifactType"] == BUNDLE);
    index["manifests"].as_array_mut().unwrap().extend(signatures.cloned());
    farm.put_index(&index);
    // They are about indexes that are not here.
    assert!(farm.untrusted("--key one.pub").contains("it is not signed"));
    let mine = farm.module("sha256:1.4.0");
    farm.change_signatures(|manifest, _| {
        manifest["subject"]["digest"] = mine["digest"].clone();
        manifest["subject"]["size"] = mine["size"].clone();
    });
    assert_snapshot!("verify_other_index", farm.untrusted("--key one.pub"));
}

#[test]
fn changes_after_signing_are_refused() {
    let farm = Farm::signed();
    let [(_, config), _] = farm.variants();
    let path = farm.blob(&config["layer"]);
    let original = fs::read(&path).unwrap();
    let mut altered = original.clone();
    altered[original.len() / 2] ^= 1;
    fs::write(&path, altered).unwrap();
    assert!(farm.call("verify dist/ --key one.pub").fails().stderr().contains("was altered"));
    assert!(farm.call("run --key one.pub dist/ sha256").fails().stderr().contains("was altered"));
    fs::write(&path, original).unwrap();
    farm.trusted("--key one.pub");

    // An index that was made again without a form: every digest is right, and it is not the one that was signed.
    let mut index = farm.index();
    let listed = index["manifests"].as_array_mut().unwrap().iter_mut();
    for descriptor in listed.filter(|it| it["annotations"]["org.opencontainers.image.ref.name"] == "sha256:1.4.0") {
        let mut module = forge::read(&farm.blob(&descriptor["digest"]));
        module["manifests"].as_array_mut().unwrap().pop();
        farm.put_blob(&module, descriptor);
    }
    farm.put_index(&index);
    let mine = farm.module("sha256:1.4.0");
    farm.change_signatures(|manifest, _| {
        manifest["subject"]["digest"] = mine["digest"].clone();
        manifest["subject"]["size"] = mine["size"].clone();
    });
    assert!(farm.untrusted("--key one.pub").contains("it attests the index"));
}

#[test]
fn a_signed_module_does_not_pass_for_another() {
    let farm = Farm::signed();
    let (sha256, sort) = (farm.module("sha256:1.4.0"), farm.module("sort:1.4.0"));
    // Both are signed, by one signature. Under the other's name neither is what was signed.
    let mut index = farm.index();
    for descriptor in index["manifests"].as_array_mut().unwrap() {
        for (mine, others) in [(&sha256, &sort), (&sort, &sha256)] {
            if descriptor == mine {
                descriptor["digest"] = others["digest"].clone();
                descriptor["size"] = others["size"].clone();
                break;
            }
        }
    }
    farm.put_index(&index);
    for line in ["run --key one.pub dist/ sha256", "verify dist sha256 --key one.pub"] {
        let ran = farm.call(line).fails();
        assert!(ran.stderr().contains("the module is `sort`"), "{ran}");
    }
    // A form of one module in the index of the other changes that index.
    let farm = Farm::signed();
    let other = forge::read(&farm.blob(&farm.module("sort:1.4.0")["digest"]))["manifests"].clone();
    let mut index = farm.index();
    for descriptor in index["manifests"].as_array_mut().unwrap() {
        if descriptor["annotations"]["org.opencontainers.image.ref.name"] == "sha256:1.4.0" {
            let mut module = forge::read(&farm.blob(&descriptor["digest"]));
            module["manifests"] = other.clone();
            farm.put_blob(&module, descriptor);
        }
    }
    farm.put_index(&index);
    assert!(farm.untrusted("--key one.pub").contains("it is not signed"));
}

#[test]
fn verify_sign_merge_and_inspect_read_every_blob() {
    let farm = Farm::signed();
    let blobs: Vec<_> = fs::read_dir(farm.dist().join("blobs/sha256")).unwrap().map(|it| it.unwrap().path()).collect();
    let names = |kind: &str| {
        let is = |path: &&PathBuf| fs::read_to_string(path).is_ok_and(|text| text.starts_with(kind));
        blobs.iter().filter(is).count()
    };
    // The plain WebAssembly's configs, which nothing here runs from.
    assert_eq!(names(r#"{"architecture":"wasm""#), 2);
    for (number, path) in blobs.iter().enumerate() {
        let bytes = fs::read(path).unwrap();
        match number % 2 {
            0 => fs::remove_file(path).unwrap(),
            _ => fs::write(path, [&bytes[..bytes.len() - 1], b"\n"].concat()).unwrap(),
        }
        for ran in [
            farm.call("verify dist/ --key one.pub").fails(),
            farm.isomer("sign dist --key two.key").fails(),
            farm.isomer("merge dist -o merged").fails(),
            farm.isomer("inspect dist").fails(),
        ] {
            let named = ran.stderr().contains(path.file_name().unwrap().to_str().unwrap());
            assert!(named, "{}: {ran}", path.display());
        }
        fs::write(path, bytes).unwrap();
    }
    farm.call("verify dist/ --key one.pub").ok();
}
