//! Versions of modules in a store: pulled, activated, replaced, rolled back, removed, and told to machines as JSON.

use super::{isomer_run_path, settings};
use insta::assert_snapshot;
use isomer_tests::farm::Farm;
use isomer_tests::forge;
use isomer_tests::{contents, host};
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

#[test]
fn pull_activate_replace_and_roll_back() {
    let _settings = settings();
    let farm = Farm::two_releases();
    let mut session = String::new();
    for line in [
        "list",
        "run sha256",
        "pull oci-dir:old:sha256 --key one.pub",
        "list",
        "run sha256",
        "activate sha256",
        "run sha256",
        "pull oci-dir:old:sha256 --key one.pub",
        "pull oci-dir:new:sha256 oci-dir:new:sort:1.2.0 --key one.pub --activate",
        "list",
        "run sha256",
        "run sha256:1.1.0",
        "rollback sha256",
        "rollback sha256",
        "rollback sort",
        "run sha257",
        "activate sha256:9",
        "gc --keep 0 --dry-run",
        "activate sha256:1.2.0",
        "gc --keep 0",
        "list",
        "rollback sha256",
        "select sha256",
        "check sha256",
        "verify sha256 --key one.pub",
        "verify sha256 --key two.pub",
    ] {
        session += &format!("$ isomer-run {line}\n{}\n", farm.session(line));
    }
    assert_snapshot!("store_session", session);
}

#[test]
fn a_second_pull_fetches_the_index_alone() {
    let farm = Farm::with_store();
    // What is not there cannot be read: the index and its signatures stay.
    let index = farm.index_of("old", "sha256");
    let manifests = forge::read(&forge::blob(&farm.old(), &index["digest"]))["manifests"].clone();
    let mut layers = 0;
    for manifest in manifests.as_array().unwrap() {
        let manifest = forge::read(&forge::blob(&farm.old(), &manifest["digest"]));
        layers += usize::from(fs::remove_file(forge::blob(&farm.old(), &manifest["layers"][0]["digest"])).is_ok());
    }
    assert!(layers > 1);
    let again = farm.call("pull oci-dir:old:sha256 --key one.pub").ok();
    assert!(again.stdout().contains("nothing fetched"), "{again}");
    // An artifact that was damaged is one that is not there.
    fs::remove_file(farm.artifact()).unwrap();
    assert!(farm.refused("pull oci-dir:old:sha256 --key one.pub").contains("is missing"));
}

#[test]
fn an_archive_installs_like_a_layout() {
    let farm = Farm::with_store();
    for (archive, options) in [("gnu.tar", "--format=gnu"), ("pax.tar", "--format=pax")] {
        let tar =
            Command::new("tar").args([options, "-C", "old", "-cf", archive, "."]).current_dir(farm.path()).status();
        assert!(tar.unwrap().success());
        let line = format!("pull oci-archive:{archive}:sha256:1.1.0 --key one.pub --store from-{archive} --activate");
        farm.call(&line).ok();
        let mut there = contents(&farm.path().join(format!("from-{archive}")));
        let mut here = contents(&farm.store());
        let differ = |path: &Path| path.ends_with("install.json");
        there.retain(|path, _| !differ(path));
        here.retain(|path, _| !differ(path));
        assert_eq!(there, here);
        farm.runs(&format!("run --store from-{archive} sha256"));
    }
    let _settings = settings();
    assert_snapshot!("store_archive_no_file", farm.session("pull oci-archive:no.tar:sha256 --key one.pub"));
    assert_snapshot!("store_archive_no_tar", farm.session("pull oci-archive:one.pub:sha256 --key one.pub"));
    assert_snapshot!("store_no_source", farm.session("pull dist --key one.pub"));
    assert_snapshot!("store_which_module", farm.session("pull oci-dir:old --key one.pub"));
}

#[test]
fn every_store_command_prints_json() {
    let _settings = settings();
    let farm = Farm::two_releases();
    let mut session = String::new();
    for line in [
        "pull oci-dir:old:sha256 oci-dir:old:sort --key one.pub --activate --json",
        "pull oci-dir:new:sha256 oci-dir:new:nothing --key one.pub --json",
        "pull oci-dir:new:sha256 oci-dir:old:sha256 --key one.pub --json",
        "activate sha256:1.2.0 --json",
        "rollback sha256 --json",
        "activate sha256:1.2.0",
        "gc --keep 0 --dry-run --json",
        "gc --keep 0 --json",
        "gc --keep 0 --json",
    ] {
        session += &format!("$ isomer-run {line}\n{}\n", farm.session(line));
    }
    assert_snapshot!("store_json", session);
}

#[test]
fn json_lists_what_was_installed_before_a_failure() {
    for (line, installed) in [
        ("oci-dir:missing --key one.pub", 0),
        ("oci-dir:new:nothing --key one.pub", 0),
        ("oci-dir:new:sha256 --key missing.pub", 0),
        ("oci-dir:new:sha256 --key two.pub", 0),
        ("oci-dir:new:sha256", 0),
        ("oci-dir:new:sha256 oci-dir:missing --key one.pub", 1),
        ("oci-dir:new:sha256 nowhere --key one.pub", 1),
    ] {
        let farm = Farm::two_releases();
        let ran = farm.call(&format!("pull --json {line}")).fails();
        assert_eq!(ran.json().as_array().map(Vec::len), Some(installed), "{ran}");
    }
}

#[test]
fn another_host_is_told_to_pull_again() {
    let _settings = settings();
    let farm = Farm::with_store();
    let mut host = host();
    host["arch"] = (if cfg!(target_arch = "x86_64") { "aarch64" } else { "x86_64" }).into();
    host["isa"] = json!([]);
    fs::write(farm.path().join("other.json"), host.to_string()).unwrap();
    let shown = farm.session("check sha256 --host other.json");
    assert!(shown.contains("does not load on the host of"), "{shown}");
    let selected = farm.call("select sha256 --host other.json").fails();
    assert!(selected.stderr().contains("no installed variant of `sha256` runs on the host of"), "{selected}");
    // As if this machine were another one than that for which it was pulled.
    let target = if cfg!(target_arch = "x86_64") { "aarch64" } else { "x86-64-v1" };
    farm.call("gc --keep 0").ok();
    fs::remove_dir_all(farm.store()).unwrap();
    farm.call(&format!("pull oci-dir:old:sha256 --key one.pub --activate --target {target}")).ok();
    let ran = farm.call("run sha256").fails();
    let hint = "hint: pull the one that does: `isomer-run pull oci-dir:old:sha256`";
    assert!(ran.stderr().contains("no installed variant of `sha256` runs on this machine"), "{ran}");
    assert!(ran.stderr().contains(hint), "{ran}");
    farm.call("pull oci-dir:old:sha256 --key one.pub").ok();
    farm.runs("run sha256");
    assert_snapshot!("store_no_target", farm.refused("pull oci-dir:old:sha256 --key one.pub --target neoverse-n"));
}

#[test]
fn an_incomplete_store_counts_as_missing() {
    let farm = Farm::two_releases();
    fs::create_dir_all(farm.store().join("tmp")).unwrap();
    fs::write(farm.store().join("lock"), "").unwrap();
    let refused = farm.call("list").fails().stderr();
    assert!(
        refused.contains("there is no store in") && refused.contains("hint: `isomer-run pull` creates it"),
        "{refused}"
    );
    farm.call("pull oci-dir:old:sha256 --key one.pub --activate").ok();
    farm.runs("run sha256");
}

#[test]
fn file_modes_do_not_depend_on_the_umask() {
    let farm = Farm::two_releases();
    let pull = |umask: &str, store: &str| {
        let line =
            format!("umask {umask} && exec \"$0\" pull oci-dir:old:sha256 --key one.pub --activate --store {store}");
        let pulled = Command::new("sh").args(["-c", &line]).arg(isomer_run_path()).current_dir(farm.path()).output();
        assert!(pulled.unwrap().status.success());
        let mut left = vec![farm.path().join(store)];
        while let Some(path) = left.pop() {
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            let name = path.file_name().unwrap();
            let expected = match path.extension().and_then(|it| it.to_str()) {
                _ if path.is_dir() => 0o755,
                _ if name == "lock" => 0o600,
                Some("cwasm") => 0o444,
                _ => 0o644,
            };
            assert_eq!(mode, expected, "{umask}: {}", path.display());
            if path.is_dir() {
                left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
    };
    pull("077", "closed");
    pull("000", "open");
}
