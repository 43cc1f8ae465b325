//! Signing: keys, what a signature covers, and how long one stays right. What is not trusted is in `verifying.rs`.
//! Snapshots show what a person sees (`INSTA_UPDATE=always cargo xtask test --no-lints signing` rewrites them).

use insta::assert_snapshot;
use isomer_tests::farm::{BUNDLE, Farm, manifest_of_signed};
use isomer_tests::{
    Call, NOW, Ran, contents, copy, forge, guest, has_program, isomer, program, skip, snapshot_settings_with,
};
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

pub(super) fn settings() -> insta::internals::SettingsBindDropGuard {
    snapshot_settings_with(&[
        (r"\b[0-9a-f]{64}\b", "[KEY ID]"),
        NOW,
        (r"\.isomer-key-\w+", "[TEMPORARY]"),
        // In the order of their digests, which differ from key to key.
        (r"signature \d:", "signature [N]:"),
        (r"wasmtime 48\.\d+\.\d+", "wasmtime [ENGINE]"),
    ])
    .bind_to_scope()
}

#[test]
fn a_release_signed_by_a_trusted_key_runs() {
    let _settings = settings();
    let farm = Farm::unsigned();
    let unsigned = contents(&farm.dist());
    for (name, key) in [("one", "one"), ("two", "two")] {
        let shown = farm.isomer(&format!("sign dist --key {key}.key --builder https://farm.example/7")).ok();
        assert_snapshot!(format!("sign_{name}"), shown.shown(farm.path()));
        farm.trusted(&format!("--key {key}.pub"));
    }
    assert_snapshot!("verify_two_keys", farm.call("verify dist/ --key one.pub --key two.pub").ok().shown(farm.path()));
    assert_snapshot!("verify_one_of_two", farm.call("verify dist sort --key one.pub").ok().shown(farm.path()));
    assert_snapshot!("verify_json", farm.call("verify dist sort --key two.pub --json").ok().shown(farm.path()));
    farm.policy("minimum-engine = '48.0.0'", "modules = ['sha*', 'sort']", "[minimum-counter]\nacme = 7");
    farm.trusted("--trust trust.toml");
    farm.call("select dist sha256 --trust trust.toml").ok();
    let signed = contents(&farm.dist());
    assert!(unsigned.keys().all(|name| signed.contains_key(name)), "signing removes nothing");
    program("sha256sum").args(["--check", "--strict", "--quiet", "SHA256SUMS"]).dir(&farm.dist()).ok();
}

#[test]
fn signing_again_changes_nothing() {
    let _settings = settings();
    let (farm, other) = (Farm::signed(), Farm::unsigned());
    let before = contents(&farm.dist());
    assert_snapshot!("sign_again", farm.isomer("sign dist --key one.key").ok().shown(farm.path()));
    assert_eq!(contents(&farm.dist()), before);
    // The same key on another day and in another directory, and a release that was never there before.
    fs::remove_dir_all(other.dist()).unwrap();
    other.isomer("release --sign one.key").ok();
    assert_eq!(contents(&other.dist()), before);
}

#[test]
fn a_release_made_again_keeps_the_signatures_that_are_still_right() {
    let farm = Farm::signed();
    let before = contents(&farm.dist());
    let again = farm.isomer("release").ok();
    assert!(again.stdout().contains("signatures: 2 kept\n"), "{again}");
    assert_eq!(contents(&farm.dist()), before);
    // A damaged file takes the signatures with it that need it: no other user has changed anything.
    let (bundle, _) = before.iter().find(|(_, bytes)| String::from_utf8_lossy(bytes).contains("dsseEnvelope")).unwrap();
    fs::remove_file(farm.dist().join(bundle)).unwrap();
    let again = farm.isomer("release").ok();
    assert!(again.stdout().contains("signatures: 0 kept, 2 damaged and dropped\n"), "{again}");
    let printed = format!("warning: `dist/{}` is missing", bundle.display());
    assert!(again.stderr().starts_with(&printed) && again.stderr().contains("sign the release again"), "{again}");
    assert_eq!(again.stderr().matches("warning: ").count(), 1, "{again}");
    farm.isomer("sign dist --key one.key").ok();
    assert_eq!(contents(&farm.dist()), before);
    // One module is compiled for less.
    let fewer = format!("{}targets = ['pulley64']\n", manifest_of_signed("1.4.0", "counter = 7\n"));
    fs::write(farm.path().join("isomer.toml"), fewer).unwrap();
    let again = farm.isomer("release").ok();
    assert!(again.stdout().contains("signatures: 1 kept, 1 dropped"), "{again}");
    farm.trusted("--key one.pub");
    let sort = farm.call("verify dist sort --key one.pub").fails();
    assert!(sort.stderr().contains("it is not signed"), "{sort}");
    // The counter in the manifest, and the one on the command line.
    let counter = |line: &str| farm.isomer(line).ok().json()["signed"]["counter"].clone();
    assert_eq!(counter("release --sign one.key --json"), 7);
    assert_eq!(counter("release --sign one.key --json --counter 12"), 12);
    let json = farm.call("verify dist sort --key one.pub --json").ok().json();
    assert_eq!(json["modules"][0]["release"], json!({"name": "acme", "version": "1.4.0", "counter": 12}));
}

#[test]
fn signing_a_release_with_counter_0_warns() {
    let _settings = settings();
    let farm = Farm::unsigned();
    fs::write(farm.path().join("isomer.toml"), manifest_of_signed("1.4.0", "")).unwrap();
    let released = farm.isomer("release --sign one.key").ok();
    assert_snapshot!("sign_counter_0", farm.isomer("sign dist --key two.key").ok().shown(farm.path()));
    let warning = released.stderr();
    assert!(warning.starts_with("warning: the release's counter is 0"), "{released}");
    assert_eq!(farm.isomer("sign dist --key three.key --counter 0").ok().stderr(), warning);
    assert_eq!(farm.isomer("sign dist --key three.key --counter 1").ok().stderr(), "");
    farm.isomer("sign dist --key three.key --counter 9007199254740991").ok();
    let larger = farm.isomer("sign dist --key three.key --counter 9007199254740992").fails().stderr();
    assert!(larger.contains("expected a counter of at most 9007199254740991, found 9007199254740992"), "{larger}");
}

#[test]
fn keys_are_made_once_and_kept_from_others() {
    let _settings = settings();
    let farm = Farm::unsigned();
    let shown = |line: &str| farm.isomer(line).run().shown(farm.path());
    let secret = farm.path().join("secret");
    fs::write(&secret, "correct horse\n").unwrap();
    assert_snapshot!("keygen", shown("keygen -o new"));
    assert_snapshot!("keygen_encrypted", shown("keygen -o locked --algorithm ecdsa-p256 --passphrase-file secret"));
    let mode = |name: &str| fs::metadata(farm.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("new.key"), mode("locked.key"), mode("new.pub") & 0o077 & !0o044), (0o600, 0o600, 0));
    let before = contents(farm.path());
    fs::remove_file(farm.path().join("two.pub")).unwrap();
    for (name, line) in [
        ("exists", "keygen -o new"),
        ("private_exists", "keygen -o two"),
        ("no_directory", "keygen -o no/such/directory"),
        ("algorithm", "keygen -o rsa --algorithm rsa"),
        ("no_passphrase_file", "keygen -o more --passphrase-file nowhere"),
    ] {
        assert_snapshot!(format!("keygen_{name}"), shown(line));
    }
    fs::write(farm.path().join("two.pub"), &before[Path::new("two.pub")]).unwrap();
    assert_eq!(contents(farm.path()), before, "nothing was written");
    let empty = farm.isomer("keygen -o more").env("ISOMER_PASSPHRASE", "").run();
    assert_snapshot!("keygen_empty_passphrase", empty.shown(farm.path()));

    assert_snapshot!("sign_no_passphrase", shown("sign dist --key locked.key"));
    let wrong = |call: Call| call.env("ISOMER_PASSPHRASE", "wrong").run();
    assert_snapshot!("sign_wrong_passphrase", wrong(farm.isomer("sign dist --key locked.key")).shown(farm.path()));
    // The key is tried before anything is compiled.
    let release: Ran = wrong(farm.isomer("release -o elsewhere --sign locked.key"));
    assert!(release.code() == 1 && !farm.path().join("elsewhere").exists(), "{release}");
    farm.isomer("sign dist --key locked.key").env("ISOMER_PASSPHRASE", "correct horse").ok();
    farm.isomer("sign dist --key locked.key --passphrase-file secret").ok();
    farm.trusted("--key locked.pub");
    fs::set_permissions(farm.path().join("one.key"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_snapshot!("sign_exposed_key", shown("sign dist --key one.key"));
}

#[test]
fn sign_and_verify_errors_name_the_cause() {
    let _settings = settings();
    let farm = Farm::signed();
    let before = contents(&farm.dist());
    let mut copied = farm.index();
    copied.as_object_mut().unwrap().remove("annotations");
    fs::create_dir(farm.path().join("empty")).unwrap();
    copy(&farm.dist(), &farm.path().join("copied"));
    fs::write(farm.path().join("copied/index.json"), copied.to_string()).unwrap();
    isomer().arg("compile").arg(guest("sha256")).args(["-t", "pulley64", "-o", "one.cwasm"]).dir(farm.path()).ok();
    for (name, line) in [
        ("no_directory", "sign nowhere --key one.key"),
        ("no_release", "sign empty --key one.key"),
        ("copied", "sign copied --key one.key"),
        ("public_key", "sign dist --key one.pub"),
        ("no_key", "sign dist --key nowhere.key"),
    ] {
        let ran = farm.isomer(line).run();
        assert_snapshot!(format!("sign_{name}"), ran.shown(farm.path()));
    }
    let misused = farm.isomer("sign dist --key one.key --builder farm").run();
    assert_snapshot!("sign_builder", misused.shown(farm.path()));
    assert_eq!(contents(&farm.dist()), before);
    assert_eq!(fs::read_dir(farm.path().join("empty")).unwrap().count(), 0);
    farm.policy("", "module = ['sha256']", "");
    for (name, line) in [
        ("verify_no_key", "verify dist/"),
        ("verify_private_key", "verify dist/ --key one.key"),
        ("verify_unknown_module", "verify dist sha25 --key one.pub"),
        ("verify_bad_policy", "verify dist/ --trust trust.toml"),
        ("run_nothing_trusted", "run dist/ sha256"),
        ("run_file_with_key", "run --key one.pub one.cwasm"),
    ] {
        assert_snapshot!(name, farm.call(line).run().shown(farm.path()));
    }
    for line in
        ["--key one.pub --digest sha256:00", "--key one.pub --allow-unsigned", "--key one.pub --trust trust.toml"]
    {
        farm.call(&format!("run {line} dist/ sha256")).misused();
    }
}

/// `skopeo copy` takes a tag and what it names. A referrer has no tag, and skopeo 1.9 cannot name what has none: a copy
/// made so is not signed. A copy of the directory, and one by a tool that knows referrers, is.
#[test]
fn skopeo_leaves_signatures_behind() {
    if !has_program("skopeo") {
        return skip("skopeo_leaves_signatures_behind", "skopeo is not installed");
    }
    let farm = Farm::signed();
    let copy_tag = "copy --quiet --all --preserve-digests oci:dist:sha256:1.4.0 oci:copied:sha256:1.4.0";
    program("skopeo").line(copy_tag).dir(farm.path()).ok();
    let ran = farm.call("run --key one.pub copied/ sha256").fails();
    assert!(ran.stderr().contains("it is not signed"), "{ran}");
    // The index is the same: the signature is right for the copy, once it is there.
    let from = farm.index();
    copy(&farm.dist().join("blobs"), &farm.path().join("copied/blobs"));
    let mut index = forge::read(&farm.path().join("copied/index.json"));
    let signatures = from["manifests"].as_array().unwrap().iter().filter(|it| it["artifactType"] == BUNDLE);
    index["manifests"].as_array_mut().unwrap().extend(signatures.cloned());
    fs::write(farm.path().join("copied/index.json"), index.to_string()).unwrap();
    farm.call("run --key one.pub copied/ sha256").ok();
    // skopeo writes `index.json` again for the next tag, and may leave out what it does not know of the signatures.
    program("skopeo").line("copy --quiet --all oci:dist:sort:1.4.0 oci:copied:sort:1.4.0").dir(farm.path()).ok();
    farm.call("verify copied/ --key one.pub").ok();
}
