//! What someone can do who has a key for one module, may write to a registry, or carries a release on a disk: and that
//! none of it reaches further. Every attack begins with releases that trusted keys really signed.

use isomer_testing::http_proxy::{Fault, Proxy};
use isomer_testing::registry::Registry;
use isomer_tests::farm::{BUNDLE, Farm, manifest_of_signed};
use isomer_tests::forge::{self, digest};
use isomer_tests::{contents, copy, program, skip};
use serde_json::{Value, json};
use std::fs;

const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The standard error of a call of `isomer-run` that fails.
#[track_caller]
fn refusal(farm: &Farm, line: &str) -> String {
    farm.call(line).fails().stderr()
}

fn installed(farm: &Farm) -> usize {
    fs::read_dir(farm.store().join("installed")).into_iter().flatten().count()
}

/// A policy that trusts `one` for everything and `two` for `sha256` alone.
fn policy(farm: &Farm, rest: &str) {
    let two = format!("[[key]]\nname = 'two'\nfile = 'two.pub'\nmodules = ['sha256']\n{rest}");
    farm.policy("", "", &two);
}

/// Changes the `index.json` of a release.
fn change_index(farm: &Farm, release: &str, change: impl Fn(&mut Vec<Value>)) {
    let file = farm.path().join(release).join("index.json");
    let mut index = forge::read(&file);
    change(index["manifests"].as_array_mut().unwrap());
    fs::write(file, index.to_string()).unwrap();
}

/// The release `from` as `to`, in which `sha256` is tagged with another version than its index declares.
fn retag(farm: &Farm, from: &str, to: &str, tag: &str) {
    copy(&farm.path().join(from), &farm.path().join(to));
    change_index(farm, to, |manifests| {
        let is_sha256 =
            |it: &&mut Value| it["annotations"][REF_NAME].as_str().is_some_and(|it| it.starts_with("sha256:"));
        for it in manifests.iter_mut().filter(is_sha256) {
            it["annotations"][REF_NAME] = format!("sha256:{tag}").into();
        }
    });
}

/// The validly signed 0.9.0 under the name 1.0.0, in a directory and in a tar file.
#[test]
fn an_older_version_is_not_installed_under_another_versions_name() {
    let farm = Farm::two_versions();
    retag(&farm, "old", "forged", "1.0.0");
    program("tar").line("-C forged -cf forged.tar .").dir(farm.path()).ok();
    for source in ["oci-dir:forged:sha256:1.0.0", "oci-archive:forged.tar:sha256:1.0.0", "oci-dir:forged:sha256"] {
        for trust in ["--key one.pub", "--allow-unsigned"] {
            let stderr = refusal(&farm, &format!("pull {source} {trust} --activate"));
            assert!(stderr.contains("0.9.0") && stderr.contains("expected 1.0.0"), "{source} {trust}: {stderr}");
            assert_eq!(installed(&farm), 0);
        }
    }
    for trust in ["--key one.pub", "--allow-unsigned"] {
        for module in ["sha256:1.0.0", "sha256"] {
            assert!(refusal(&farm, &format!("run {trust} forged/ {module}")).contains("0.9.0"), "{trust} {module}");
        }
    }
    assert!(refusal(&farm, "select forged/ sha256:1.0.0").contains("0.9.0"));
    // Under its own name it is what it is.
    farm.call("pull oci-dir:old:sha256:0.9.0 --key one.pub").ok();
}

#[test]
fn a_tag_that_names_no_version_is_resolved() {
    let farm = Farm::two_versions();
    retag(&farm, "old", "copied", "stable");
    let pulled = farm.call("pull oci-dir:copied:sha256:stable --key one.pub").ok();
    assert!(pulled.stdout().starts_with("stable is 0.9.0\nsha256:0.9.0 sha256:"), "{pulled}");
    let json = farm.call("pull oci-dir:copied:sha256:stable --key one.pub --json").ok().json();
    assert_eq!((&json[0]["resolved"], &json[0]["reference"]), (&json!("stable"), &json!("sha256:0.9.0")));
    // What is signed is the version, and from a directory it is looked up by that.
    farm.call("run --key one.pub copied/ sha256:stable").ok();
}

#[test]
fn a_registry_that_serves_another_version_is_refused() {
    let test = "trust::a_registry_that_serves_another_version_is_refused";
    let Some(registry) = Registry::start() else { return skip(test, "docker-registry is not installed") };
    let farm = Farm::two_versions();
    farm.isomer(&format!("push old {}/acme --plain-http", registry.host())).ok();
    let proxy = Proxy::start(registry.host());
    let old = forge::read(&farm.path().join("old/index.json"));
    let is_old = |it: &&Value| it["annotations"][REF_NAME] == "sha256:0.9.0";
    let descriptor = old["manifests"].as_array().unwrap().iter().find(is_old).unwrap();
    let index = fs::read_to_string(forge::blob(&farm.path().join("old"), &descriptor["digest"])).unwrap();
    proxy.fail(move |seen| match seen.path.ends_with("/manifests/1.0.0") {
        true => {
            let head = "200 OK\r\nContent-Type: application/vnd.oci.image.index.v1+json\r\nConnection: close";
            Fault::Answer(format!("{head}\r\nContent-Length: {}\r\n\r\n{index}", index.len()))
        }
        false => Fault::None,
    });
    let pull = format!("pull {}/acme/sha256:1.0.0 --plain-http --key one.pub --activate", proxy.host());
    let stderr = refusal(&farm, &pull);
    assert!(stderr.contains("holds the version 0.9.0, expected 1.0.0"), "{stderr}");
    assert_eq!(installed(&farm), 0);

    // A tag that is no version is for moving, and is told.
    farm.isomer(&format!("push old {}/acme:stable --plain-http", registry.host())).ok();
    let pulled = farm.call(&format!("pull {}/acme/sha256:stable --plain-http --key one.pub", registry.host())).ok();
    assert!(pulled.stdout().starts_with("stable is 0.9.0\n"), "{pulled}");
    farm.isomer(&format!("push new {}/acme:stable --plain-http", registry.host())).ok();
    let pulled = farm.call(&format!("pull {}/acme/sha256:stable --plain-http --key one.pub", registry.host())).ok();
    assert!(pulled.stdout().starts_with("stable is 1.0.0\n"), "{pulled}");
}

#[test]
fn a_push_does_not_move_the_tag_of_a_version() {
    let test = "trust::a_push_does_not_move_the_tag_of_a_version";
    let Some(registry) = Registry::start() else { return skip(test, "docker-registry is not installed") };
    let farm = Farm::two_versions();
    let push = |release: &str, rest: &str| {
        farm.isomer(&format!("push {release} {}/acme{rest} --plain-http --module sha256", registry.host()))
    };
    push("new", "").ok();
    push("new", "").ok();
    // The same version, built for less.
    let fewer = manifest_of_signed("1.0.0", "counter = 2\n").replace("'x86-64-v1', ", "");
    fs::write(farm.path().join("isomer.toml"), fewer).unwrap();
    farm.isomer("release -o again --sign one.key").ok();
    let refused = push("again", "").fails().stderr();
    assert!(
        refused.contains("the tag exists with other content") && refused.contains("raise the version"),
        "{refused}"
    );
    assert!(refused.contains("--move-tag"), "{refused}");
    let pull = |digest: &Value| {
        let line = format!("pull {}/acme/sha256:1.0.0 --plain-http --key one.pub --json", registry.host());
        assert_eq!(farm.call(&line).ok().json()[0]["digest"], *digest);
    };
    let index =
        |release: &str| forge::read(&farm.path().join(release).join("index.json"))["manifests"][0]["digest"].clone();
    pull(&index("new"));
    push("again", " --move-tag").ok();
    pull(&index("again"));
    // Nor is a version put under the name of another.
    let refused = push("old", ":1.0.0 --move-tag").fails().stderr();
    assert!(refused.contains("would name the version 0.9.0"), "{refused}");
}

/// A key that may sign one module names another release in its statement, with the highest counter there is.
#[test]
fn a_key_for_one_module_blocks_no_other_module_and_no_other_key() {
    let farm = Farm::two_versions();
    policy(&farm, "");
    copy(&farm.path().join("old"), &farm.path().join("hers"));
    change_index(&farm, "hers", |manifests| manifests.retain(|it| it["artifactType"] != BUNDLE));
    farm.isomer("sign hers --key two.key --counter 9007199254740991").ok();
    farm.call("pull oci-dir:hers:sha256 --trust trust.toml").ok();
    for module in ["sha256", "sort"] {
        farm.call(&format!("pull oci-dir:new:{module} --trust trust.toml --activate")).ok();
    }
    // Her own counter holds for herself, and one's for one.
    farm.isomer("sign new --key two.key --counter 5").ok();
    assert!(refusal(&farm, "pull oci-dir:new:sha256 --key two.pub").contains("9007199254740991 was seen already"));
    assert!(refusal(&farm, "pull oci-dir:old:sha256 --key one.pub").contains("and 2 was seen already"));
    let rows = farm.call("counters --json").ok().json();
    let found: Vec<_> =
        rows.as_array().unwrap().iter().map(|row| (row["module"].clone(), row["counter"].clone())).collect();
    assert_eq!(found.len(), 3, "{rows}");
    assert!(found.contains(&(json!("sha256"), json!(9007199254740991_u64))), "{rows}");
    farm.call("counters --forget sha256").ok();
    let rows = farm.call("counters --json").ok().json();
    assert_eq!(rows.as_array().unwrap().len(), 3, "what is installed keeps its counters: {rows}");
}

#[test]
fn counters_of_an_earlier_isomer_are_read_and_damaged_ones_repaired() {
    let farm = Farm::two_versions();
    farm.call("pull oci-dir:old:sort --key one.pub").ok();
    let file = farm.path().join("store/counters.json");
    fs::write(&file, r#"{"acme":2,"other":7}"#).unwrap();
    assert!(refusal(&farm, "pull oci-dir:old:sha256 --key one.pub").contains("was seen already"));
    farm.call("pull oci-dir:new:sha256 --key one.pub").ok();
    let written = forge::read(&file);
    assert_eq!(written["counters"].as_array().map(Vec::len), Some(3), "{written}");

    // A name that no release can have, as a key could sign it once.
    let long = format!(r#"{{"acme":2,"{}":1}}"#, "x".repeat(2 << 20));
    for damaged in [long.as_str(), r#"{"acme":2,"acme":1}"#, r#"{"acme":2,"other":-1}"#, "", "[]"] {
        fs::write(&file, damaged).unwrap();
        let refused = refusal(&farm, "pull oci-dir:new:sha256 --key one.pub");
        assert!(refused.contains("counters.json` is malformed") && refused.contains("counters --repair"), "{refused}");
        let repaired = farm.call("counters --repair").ok();
        assert!(repaired.stdout().starts_with("forgotten: ") && repaired.stdout().len() < 2000, "{repaired}");
        farm.call("pull oci-dir:new:sha256 --key one.pub").ok();
        // What is installed is remembered in any case.
        assert!(refusal(&farm, "pull oci-dir:old:sha256 --key one.pub").contains("was seen already"));
    }
    let nothing = farm.call("counters --repair").ok().stdout();
    assert!(nothing.ends_with(" kept, 0 forgotten\n"), "{nothing}");
}

/// Whatever part of a variant a policy revokes: it is neither installed nor run.
#[test]
fn every_digest_of_a_variant_can_be_revoked() {
    let farm = Farm::two_versions();
    policy(&farm, "");
    farm.call("pull oci-dir:new:sha256 --trust trust.toml --activate").ok();
    farm.call("run --trust trust.toml sha256").ok();
    let chosen = farm.call("select new/ sha256 --json").ok().json()["chosen"]["manifest"].clone();
    let new = farm.path().join("new");
    let manifest = forge::read(&forge::blob(&new, &chosen));
    let config = forge::read(&forge::blob(&new, &manifest["config"]["digest"]));
    let index = forge::read(&new.join("index.json"))["manifests"][0]["digest"].clone();
    for (part, digest) in [
        ("index", index),
        ("manifest", chosen),
        ("config", manifest["config"]["digest"].clone()),
        ("layer", manifest["layers"][0]["digest"].clone()),
        ("artifact", config["artifact"]["digest"].clone()),
        ("code", config["code"].clone()),
        ("WebAssembly", config["wasm"]["digest"].clone()),
    ] {
        policy(&farm, &format!("[revoked]\ndigests = [{digest}]\n"));
        let digest = digest.as_str().unwrap();
        let target = config["target"].as_str().unwrap();
        for line in [
            format!("pull oci-dir:new:sha256 --trust trust.toml --target {target} --store other"),
            format!("run --trust trust.toml --require {target} sha256"),
            format!("run --trust trust.toml --require {target} new/ sha256"),
            "verify new/ sha256 --trust trust.toml".to_owned(),
        ] {
            let stderr = refusal(&farm, &line);
            assert!(stderr.contains(&format!("{digest} is revoked")), "{part}: {line}: {stderr}");
        }
    }
}

/// A release on a disk lists a signature that is damaged beside one that is not.
#[test]
fn a_damaged_signature_beside_a_good_one_is_passed_over() {
    let farm = Farm::two_versions();
    farm.isomer("sign new --key two.key").ok();
    let new = farm.path().join("new");
    let index = forge::read(&new.join("index.json"));
    let signatures: Vec<_> =
        index["manifests"].as_array().unwrap().iter().filter(|it| it["artifactType"] == BUNDLE).collect();
    assert_eq!(signatures.len(), 4);
    // The ECDSA key's bundle, and then its manifests too.
    let bundles: Vec<_> =
        contents(&new).into_iter().filter(|(_, it)| String::from_utf8_lossy(it).contains("dsseEnvelope")).collect();
    let id = program("openssl").line("pkey -pubin -in two.pub -outform DER").dir(farm.path()).ok().output.stdout;
    let id = digest(&id).replace("sha256:", "");
    let (hers, _) = bundles.iter().find(|(_, it)| String::from_utf8_lossy(it).contains(&id)).unwrap();
    fs::write(new.join(hers), "{}").unwrap();
    for line in
        ["pull oci-dir:new:sha256 --key one.pub", "run --key one.pub new/ sha256", "run --key one.pub sha256:1.0.0"]
    {
        let ran = farm.call(line).ok();
        let expected = usize::from(!line.ends_with(" sha256:1.0.0"));
        assert_eq!(ran.stderr().matches("cannot be read").count(), expected, "{ran}");
    }
    // Her signature alone is not enough, and `verify` reports that.
    assert!(refusal(&farm, "run --key two.pub new/ sha256").contains("is not trusted"));
    assert!(refusal(&farm, "verify new/ --key one.pub").contains(hers.file_name().unwrap().to_str().unwrap()));
    for descriptor in signatures {
        let manifest = forge::read(&forge::blob(&new, &descriptor["digest"]));
        if manifest["layers"][0]["digest"].as_str().unwrap().ends_with(hers.file_name().unwrap().to_str().unwrap()) {
            fs::remove_file(forge::blob(&new, &descriptor["digest"])).unwrap();
        }
    }
    farm.call("pull oci-dir:new:sort --key one.pub").ok();
}

/// cosign 3, by the command that README prints.
#[test]
fn cosign_verifies_a_release_in_a_registry() {
    let test = "trust::cosign_verifies_a_release_in_a_registry";
    let Some(registry) = Registry::start() else { return skip(test, "docker-registry is not installed") };
    let Some(cosign) = std::env::var_os("ISOMER_COSIGN") else { return skip(test, "cosign 3 is not installed") };
    let farm = Farm::two_versions();
    farm.isomer("sign new --key two.key").ok();
    farm.isomer(&format!("push new {}/acme --plain-http", registry.host())).ok();
    let readme = fs::read_to_string(isomer_testing::root().join("README.md")).unwrap();
    let printed = readme.lines().find_map(|line| line.strip_prefix("cosign ")).expect("README prints the command");
    let verify = |key: &str, module: &str| {
        let reference = format!("{}/acme/{module}:1.0.0", registry.host());
        let line = printed.replace("farm-2026.pub", key).replace("localhost:5000/acme/resize:1.4.0", &reference);
        assert!(line.contains(key) && line.ends_with(&reference), "{line}");
        program(&cosign).line(&line).dir(farm.path()).env("HOME", farm.path())
    };
    for key in ["one.pub", "two.pub"] {
        for module in ["sha256", "sort"] {
            let verified = verify(key, module).ok();
            let attested = verified.stdout().lines().filter(|line| line.contains("payload")).count();
            assert_eq!(attested, 1, "{verified}");
        }
    }
    farm.isomer("keygen -o three").ok();
    let refused = verify("three.pub", "sha256").fails();
    assert!(refused.stderr().contains("signature"), "{refused}");
}
