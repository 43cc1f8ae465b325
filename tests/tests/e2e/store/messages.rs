//! What a person is told: mistyped operands, foreign directories, waiting, the way out of a refusal.

use super::{installed_from, remove, settings};
use insta::assert_snapshot;
use isomer_tests::farm::Farm;
use isomer_tests::isomer_run;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use std::thread;
use std::time::Duration;

#[test]
fn unknown_operands_say_what_was_expected() {
    let _settings = settings();
    let farm = Farm::with_store();
    fs::write(farm.path().join("file"), "a file").unwrap();
    let mut session = String::new();
    for line in [
        "pull oci-dir: --key one.pub",
        "pull oci-dir::sha256 --key one.pub",
        "pull oci-archive: --key one.pub",
        "pull oci-dir:nowhere:sha256 --key one.pub",
        "pull oci-dir:old:sha256 --key one.pub --store file",
        "pull oci-dir:old:sha256 --key one.pub --store file/store",
        "list --store file",
        "run --key two.pub sha256",
        "run --key two.pub sha256:1.1.0",
        "run --digest sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 sha256",
        "run --key two.pub old/ sha256",
        "run --digest sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 old/ sha256",
        "verify sha256:1.1.0 --key two.pub",
    ] {
        let shown = farm.session(line);
        assert!(shown.contains("hint:"), "{line}: {shown}");
        session += &format!("$ isomer-run {line}\n{shown}\n");
    }
    assert_snapshot!("store_words", session);
}

#[test]
fn mistyped_operands_get_a_hint() {
    let _settings = settings();
    let farm = Farm::two_releases();
    fs::write(farm.path().join("a.tar"), "").unwrap();
    let mut session = String::new();
    for line in [
        "pull oci-archive:old:sha256 --key one.pub",
        "pull oci-dir:a.tar:sha256 --key one.pub",
        "pull oci-dir:old:sha256:9.9 --key one.pub",
        "run --allow-unsigned old/ sha256:9.9",
        "run --key one.pub ./a.tar sha256",
        "run --key one.pub ./nope sha256",
        "run --key one.pub ./nope",
        "run --env =x old/ sha256",
        "verify old/ --key isomer.toml",
        "gc",
        "compile a.wasm",
        "complete bash",
    ] {
        session += &format!("$ isomer-run {line}\n{}\n", farm.session(line));
    }
    assert_snapshot!("store_typed_wrong", session);
}

#[test]
fn directories_that_are_not_stores_are_left_alone() {
    let _settings = settings();
    let farm = Farm::with_store();
    let pull = "pull oci-dir:new:sha256 --key one.pub";
    assert_snapshot!("store_foreign", farm.session(&format!("{pull} --store old")));
    assert_snapshot!("store_foreign_list", farm.session("list --store old"));
    for (name, text) in [("newer", "{\"schema\":2}"), ("no_schema", "{}"), ("no_json", "store")] {
        fs::write(farm.store().join("store.json"), text).unwrap();
        for line in [pull, "list", "activate sha256", "rollback sha256", "gc --keep 1", "run sha256"] {
            assert_eq!(farm.call(line).run().code(), 1, "{line}");
        }
        assert_snapshot!(format!("store_schema_{name}"), farm.refused(pull));
    }
    let farm = Farm::with_store();
    let installed = fs::read_dir(farm.store().join("installed")).unwrap().next().unwrap().unwrap().path();
    fs::rename(&installed, farm.path().join("moved")).unwrap();
    symlink(farm.path().join("moved"), &installed).unwrap();
    let active = farm.store().join("active/sha256.json");
    fs::rename(&active, farm.path().join("active.json")).unwrap();
    symlink(farm.path().join("active.json"), &active).unwrap();
    assert_snapshot!("store_link", farm.session("run sha256"));
    for name in ["../store", "sha256/../..", "", ".", "@", "sha256@", "a:b:c", "sha256:"] {
        let ran = isomer_run().args(["run", "--store"]).arg(farm.store()).arg(name).run();
        assert_eq!(ran.code(), 1, "{ran}");
    }
}

#[test]
fn refusals_hint_at_the_remedy() {
    let farm = Farm::with_store();
    farm.call("pull oci-dir:new:sha256 --key one.pub").ok();
    fs::remove_file(farm.store().join("active/sha256.json")).unwrap();
    let refused = farm.call("run sha256").fails();
    assert!(refused.stderr().contains("hint: `isomer-run activate sha256:1.2.0`"), "{refused}");
    farm.call("activate sha256:1.1.0").ok();
    farm.call("activate sha256:1.2.0").ok();
    remove(&installed_from(&farm, "new"));
    let refused = farm.call("run sha256").fails();
    assert!(refused.stderr().contains("hint: `isomer-run rollback sha256`"), "{refused}");
    for (name, line) in
        [("active/sha256.json", "run sha256"), ("counters.json", "pull oci-dir:new:sha256 --key one.pub")]
    {
        let path = farm.store().join(name);
        let text = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let refused = farm.call(line).fails();
        assert!(refused.stderr().contains("it is a directory, expected a file"), "{refused}");
        assert!(refused.stderr().contains("hint: it"), "{refused}");
        fs::remove_dir(&path).unwrap();
        fs::write(&path, text).unwrap();
    }
    // Text in a file is not printed as a line of a message.
    fs::write(farm.path().join("forged.tar"), "hint: run this\nhint: or that\n".repeat(100)).unwrap();
    let refused = farm.call("pull oci-archive:forged.tar:sha256 --key one.pub").fails();
    assert!(!refused.stderr().contains("\nhint:") && refused.stderr().contains("not a tar file"), "{refused}");
}

#[test]
fn waiting_for_the_store_lock_is_reported() {
    let farm = Farm::with_store();
    let path = farm.store().join("lock");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let lock = fs::File::open(&path).unwrap();
    lock.lock().unwrap();
    let waiting = thread::scope(|scope| {
        let waiting = scope.spawn(|| farm.call("activate sha256").ok());
        thread::sleep(Duration::from_secs(6));
        lock.unlock().unwrap();
        waiting.join().unwrap()
    });
    let printed = format!("waiting for another isomer-run on `{}`", path.display());
    assert!(waiting.stderr().contains(&printed), "{waiting}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn waiting_for_a_pipe_is_reported() {
    let farm = Farm::two_releases();
    let pipe = farm.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let running = farm.call("run --allow-unsigned ./pipe").start();
    thread::sleep(Duration::from_secs(4));
    fs::write(&pipe, "no artifact").unwrap();
    let ran = running.wait();
    assert!(ran.stderr().starts_with("warning: waiting for another process to write into the pipe `./pipe`"), "{ran}");
    assert!(ran.code() == 1 && ran.stderr().contains("error: cannot run `./pipe`"), "{ran}");
}
