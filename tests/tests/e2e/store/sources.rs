//! Hostile sources: nothing of them is installed.

use super::settings;
use insta::assert_snapshot;
use isomer_tests::farm::Farm;
use isomer_tests::forge::{self, digest};
use isomer_tests::{guest, isomer, skip};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

#[test]
fn a_forged_source_installs_nothing() {
    if !cfg!(target_arch = "x86_64") {
        return skip("a_forged_source_installs_nothing", "it forges the variant for amd64");
    }
    let _settings = settings();
    type Change = fn(&Path, &mut Value, &mut Value, &mut Value);
    let lies: [(&str, Change); 9] = [
        ("other_artifact", |_, _, _, config| config["artifact"]["digest"] = digest(b"other").into()),
        ("smaller_artifact", |_, _, _, config| config["artifact"]["size-bytes"] = 17.into()),
        ("larger_artifact", |_, _, _, config| config["artifact"]["size-bytes"] = 400_000_000.into()),
        ("huge_artifact", |_, _, _, config| config["artifact"]["size-bytes"] = (1_u64 << 62).into()),
        ("larger_layer", |_, _, manifest, _| manifest["layers"][0]["size"] = 99_999_999_u64.into()),
        ("huge_layer", |_, _, manifest, _| manifest["layers"][0]["size"] = (1_u64 << 62).into()),
        ("other_module", |_, _, _, config| config["module"] = "sort".into()),
        ("bomb", |dist, _, manifest, _| forge::put(dist, &bomb(0x68), &mut manifest["layers"][0])),
        ("wide_bomb", |dist, _, manifest, _| forge::put(dist, &bomb(0x90), &mut manifest["layers"][0])),
    ];
    for (name, change) in lies {
        let farm = Farm::two_releases();
        forge::native_variant(&farm.old(), |descriptor, manifest, config| {
            change(&farm.old(), descriptor, manifest, config);
        });
        assert_snapshot!(format!("store_lie_{name}"), farm.refused("pull oci-dir:old:sha256 --allow-unsigned"));
    }
    // Index and config agree with each other, and the artifact requires more than they say.
    let farm = Farm::two_releases();
    let v3 = farm.path().join("v3.cwasm");
    isomer().arg("compile").arg(guest("sha256")).args(["-t", "x86-64-v3", "-o"]).arg(&v3).ok();
    let bytes = fs::read(&v3).unwrap();
    forge::native_variant(&farm.old(), |_, manifest, config| {
        config["artifact"] = json!({"digest": digest(&bytes), "size-bytes": bytes.len()});
        forge::put(&farm.old(), &bytes, &mut manifest["layers"][0]);
        manifest["layers"][0]["mediaType"] = "application/vnd.isomer.cwasm.v1".into();
    });
    assert_snapshot!("store_lie_requirements", farm.refused("pull oci-dir:old:sha256 --allow-unsigned"));
    // The layer of another module.
    let farm = Farm::two_releases();
    let sort = forge::read(&forge::blob(&farm.old(), &farm.index_of("old", "sort")["digest"]));
    let native = sort["manifests"].as_array().unwrap().iter().find(|it| it["platform"]["architecture"] == "amd64");
    let other = forge::read(&forge::blob(&farm.old(), &native.unwrap()["digest"]));
    forge::native_variant(&farm.old(), |_, manifest, _| manifest["layers"] = other["layers"].clone());
    assert!(farm.refused("pull oci-dir:old:sha256 --allow-unsigned").contains("does not decompress"));
}

/// A zstd frame of 40 KB that says nothing of its size, holds 1.2 GB of zeros, and requires the window `window`.
fn bomb(window: u8) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, window];
    // Blocks of one byte, repeated 128 KiB times.
    frame.extend([0x02, 0x00, 0x10, 0x00].repeat(10_000));
    frame.extend([0x03, 0x00, 0x10, 0x00]);
    frame
}

#[test]
fn every_byte_of_a_source_is_checked() {
    let farm = Farm::two_releases();
    let index = farm.index_of("old", "sha256");
    let chosen = farm.call("select old sha256 --json").ok().json();
    let manifest = json!(chosen["chosen"]["manifest"]);
    let documents = forge::read(&forge::blob(&farm.old(), &manifest));
    for named in [&index["digest"], &manifest, &documents["config"]["digest"], &documents["layers"][0]["digest"]] {
        let path = forge::blob(&farm.old(), named);
        let original = fs::read(&path).unwrap();
        let mut altered = original.clone();
        altered[original.len() / 2] ^= 1;
        for bytes in [&altered[..], &original[1..], &[], &[&original[..], b" "].concat()] {
            fs::write(&path, bytes).unwrap();
            farm.refused("pull oci-dir:old:sha256 --key one.pub");
        }
        fs::remove_file(&path).unwrap();
        let elsewhere = farm.path().join("elsewhere");
        fs::write(&elsewhere, &original).unwrap();
        symlink(&elsewhere, &path).unwrap();
        assert!(farm.refused("pull oci-dir:old:sha256 --key one.pub").contains("a symbolic link"));
        fs::remove_file(&path).unwrap();
        fs::write(&path, &original).unwrap();
    }
    farm.call("pull oci-dir:old:sha256 --key one.pub --activate").ok();
    farm.runs("run sha256");
}
