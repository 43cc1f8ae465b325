//! What a pull and a run trust: keys, policies, revocations, counters.

use super::settings;
use insta::assert_snapshot;
use isomer_tests::farm::{BUNDLE, Farm};
use isomer_tests::forge::{self, digest};
use isomer_tests::{copy, has_program, program, skip};
use serde_json::json;
use std::fs;

#[test]
fn pull_fetches_nothing_without_a_trusted_signature() {
    let _settings = settings();
    let farm = Farm::two_releases();
    // No layer is there to be fetched: what is refused is refused before one is requested.
    for entry in fs::read_dir(farm.old().join("blobs/sha256")).unwrap() {
        let path = entry.unwrap().path();
        if fs::read(&path).unwrap().starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            fs::remove_file(path).unwrap();
        }
    }
    let pull = "pull oci-dir:old:sha256";
    assert_snapshot!("store_pull_no_trust_basis", farm.refused(pull));
    assert_snapshot!("store_pull_wrong_key", farm.refused(&format!("{pull} --key two.pub")));
    let other = digest(b"other");
    assert_snapshot!("store_pull_wrong_digest", farm.refused(&format!("{pull} --digest {other}")));
    farm.policy("", "not-after = 2001-12-31", "");
    assert_snapshot!("store_pull_expired", farm.refused(&format!("{pull} --trust trust.toml")));
    farm.policy("", "modules = ['sort']", "");
    assert_snapshot!("store_pull_not_allowed", farm.refused(&format!("{pull} --trust trust.toml")));
    let index = farm.index_of("old", "sha256")["digest"].clone();
    farm.policy("", "", &format!("[revoked]\ndigests = [{index}]"));
    assert_snapshot!("store_pull_revoked", farm.refused(&format!("{pull} --trust trust.toml")));
    farm.policy("", "", "[minimum-counter]\nacme = 2");
    assert_snapshot!("store_pull_minimum_counter", farm.refused(&format!("{pull} --trust trust.toml")));
    let shown = farm.call("pull oci-dir:old:sha256 --key one.pub").run();
    assert!(shown.code() == 1 && shown.stderr().contains("is missing"), "{shown}");
    // The signatures of `sort`, pointed at this index.
    let sha256 = farm.index_of("old", "sha256");
    let mut root = forge::read(&farm.old().join("index.json"));
    root["manifests"].as_array_mut().unwrap().retain(|it| it["artifactType"] != BUNDLE);
    fs::write(farm.old().join("index.json"), root.to_string()).unwrap();
    assert_snapshot!("store_pull_unsigned", farm.refused(&format!("{pull} --key one.pub")));
    let new = forge::read(&farm.path().join("new/index.json"));
    let theirs = new["manifests"].as_array().unwrap().iter().find(|it| it["artifactType"] == BUNDLE).unwrap();
    let mut manifest = forge::read(&forge::blob(&farm.path().join("new"), &theirs["digest"]));
    manifest["subject"]["digest"] = sha256["digest"].clone();
    manifest["subject"]["size"] = sha256["size"].clone();
    copy(&farm.path().join("new/blobs"), &farm.old().join("blobs"));
    let mut descriptor = theirs.clone();
    forge::put(&farm.old(), manifest.to_string().as_bytes(), &mut descriptor);
    root["manifests"].as_array_mut().unwrap().push(descriptor);
    fs::write(farm.old().join("index.json"), root.to_string()).unwrap();
    assert_snapshot!("store_pull_other_index", farm.refused(&format!("{pull} --key one.pub")));
}

/// A library that adds `SHIFT` seconds to the time of day that a program is told.
const SHIFTED_CLOCK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t clock, struct timespec *time) {
    int (*real)(clockid_t, struct timespec *) = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, time);
    if (clock == CLOCK_REALTIME) time->tv_sec += atol(getenv("SHIFT"));
    return result;
}
"#;

#[test]
fn counters_and_hash_records_do_not_depend_on_the_clock() {
    let test = "counters_and_hash_records_do_not_depend_on_the_clock";
    let farm = Farm::with_store();
    farm.put("clock.c", SHIFTED_CLOCK);
    let built = program("cc").line("-shared -fPIC -o clock.so clock.c -ldl").dir(farm.path());
    if !has_program("cc") || built.run().code() != 0 {
        return skip(test, "cc is not installed");
    }
    const DECADE_S: i64 = 3650 * 24 * 3600;
    let at = |shift: i64, line: &str| {
        farm.call(line).env("LD_PRELOAD", farm.path().join("clock.so")).env("SHIFT", shift.to_string())
    };
    farm.call("pull oci-dir:new:sha256 --key one.pub --activate").ok();
    farm.call("run sha256").ok();
    let now = farm.runs("run --explain sha256").stderr();
    farm.policy("", "not-after = 2030-12-31", "");
    for shift in [-DECADE_S, DECADE_S] {
        let older = at(shift, "pull oci-dir:old:sha256 --key one.pub").fails();
        assert!(older.stderr().contains("--allow-rollback"), "{older}");
        assert_eq!(at(shift, "run --explain sha256").ok().stderr(), now);
        // The clock is another one.
        let ran = at(shift, "run --trust trust.toml sha256").run();
        assert_eq!(ran.code(), i32::from(shift > 0), "{ran}");
    }
}

#[test]
fn an_older_release_needs_allow_rollback() {
    let _settings = settings();
    let farm = Farm::two_releases();
    farm.call("pull oci-dir:new:sha256 --key one.pub --activate").ok();
    assert_snapshot!("store_replayed", farm.refused("pull oci-dir:old:sha256 --key one.pub"));
    farm.call("pull oci-dir:old:sha256 --key one.pub --allow-rollback").ok();
    // A counter is of a key and a module.
    farm.call("pull oci-dir:old:sort --key one.pub").ok();
    farm.call("pull oci-dir:new:sort --key one.pub").ok();
    assert!(farm.refused("pull oci-dir:old:sort --key one.pub").contains("was seen already"));
    // What is installed may run again, unless a policy says otherwise.
    farm.runs("run --key one.pub sha256:1.1.0");
    farm.policy("", "", "[minimum-counter]\nacme = 2");
    assert_snapshot!("store_run_minimum_counter", farm.session("run --trust trust.toml sha256:1.1.0"));
}

#[test]
fn a_revoked_installed_artifact_does_not_run() {
    let _settings = settings();
    let farm = Farm::with_store();
    farm.policy("", "", "");
    farm.runs("run --trust trust.toml sha256");
    let artifact = farm.artifact();
    let hex = artifact.file_stem().unwrap().to_str().unwrap();
    farm.policy("", "", &format!("[revoked]\ndigests = ['sha256:{hex}']"));
    assert_snapshot!("store_run_revoked", farm.session("run --trust trust.toml sha256"));
    assert_snapshot!("store_run_wrong_key", farm.session("run --key two.pub sha256"));
    assert!(farm.call("verify sha256 --trust trust.toml").fails().stderr().contains("is revoked"));
}

#[test]
fn duplicate_json_keys_are_refused() {
    let _settings = settings();
    let farm = Farm::with_store();
    // Whichever of the two is meant, another reader may take the other.
    let counters = farm.store().join("counters.json");
    fs::write(&counters, r#"{"acme":2,"acme":1}"#).unwrap();
    assert_snapshot!("store_counter_twice", farm.refused("pull oci-dir:old:sha256 --key one.pub"));
    farm.runs("run sha256");
    fs::remove_file(counters).unwrap();
    let installed = fs::read_dir(farm.store().join("installed")).unwrap().next().unwrap().unwrap().path();
    for file in
        [farm.store().join("store.json"), farm.store().join("active/sha256.json"), installed.join("install.json")]
    {
        let text = fs::read_to_string(&file).unwrap();
        let (key, _) = text[1..].split_once(':').unwrap();
        fs::write(&file, format!("{{{key}:\"other\",{}", &text[1..])).unwrap();
        let refused = farm.call("run sha256").fails();
        let expected = format!("the key `{}` occurs twice", key.trim_matches('"'));
        assert!(refused.stderr().contains(&expected) && refused.stderr().contains("hint:"), "{refused}");
        fs::write(&file, text).unwrap();
    }
    farm.runs("run sha256");
}

#[test]
fn an_active_record_of_another_module_is_refused() {
    let _settings = settings();
    let farm = Farm::with_store();
    farm.call("pull oci-dir:old:sort --key one.pub --activate").ok();
    fs::copy(farm.store().join("active/sort.json"), farm.store().join("active/sha256.json")).unwrap();
    assert_snapshot!("store_active_other_module", farm.session("run sha256"));
}

#[test]
fn rollback_never_leads_to_another_module() {
    let farm = Farm::with_store();
    farm.call("pull oci-dir:old:sort --key one.pub --activate").ok();
    farm.call("pull oci-dir:new:sha256 --key one.pub --activate").ok();
    let active = farm.store().join("active/sha256.json");
    let digest = |release, module| farm.index_of(release, module)["digest"].as_str().unwrap().to_owned();
    let sort = digest("old", "sort");
    fs::write(&active, json!({ "index": digest("new", "sha256"), "earlier": [sort] }).to_string()).unwrap();
    assert!(farm.refused("rollback sha256").contains("it names an index of `sort`, expected one of `sha256`"));
    farm.runs("run sha256");
    // What is active is not known then, and nothing goes for that.
    fs::write(&active, json!({ "index": sort, "earlier": [] }).to_string()).unwrap();
    for line in ["gc --keep 0", "gc --keep 0 --damaged", "rollback sha256", "run sha256"] {
        assert!(farm.refused(line).contains("it names an index of `sort`"), "{line}");
    }
    // Until it is activated anew.
    let printed = farm.call("activate sha256:1.1.0").ok();
    assert!(
        printed.stderr().contains("expected one of `sha256`; there is no earlier version to roll back to"),
        "{printed}"
    );
    farm.runs("run sha256");
}
