//! Stores and files that other users could have written.

use super::{add_to_mode, installed_from, is_root, isomer_run_path, replace, settings};
use insta::assert_snapshot;
use isomer_tests::farm::{ABC, Farm};
use isomer_tests::forge;
use isomer_tests::users::User;
use isomer_tests::{copy_program, has_program, skip};
use rustix::fs::{Access, access};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

#[test]
fn files_that_others_could_change_are_hashed() {
    let _settings = settings();
    let farm = Farm::with_store();
    if is_root() {
        assert_snapshot!("store_explain_protected", farm.runs("run --explain sha256").shown(farm.path()));
    } else {
        skip("files_that_others_could_change_are_hashed (protected)", "only root can protect files from itself");
    }
    let artifact = farm.artifact();
    fs::set_permissions(farm.store().join("artifacts"), fs::Permissions::from_mode(0o775)).unwrap();
    let explained = farm.runs("run --explain sha256").stderr();
    assert!(explained.contains("its group can write `"), "{explained}");
    assert!(explained.contains("copied into sealed memory and hashed there"), "{explained}");
    // By way of a link, too.
    symlink("store", farm.path().join("link")).unwrap();
    let explained = farm.runs("run --explain --store link sha256").stderr();
    assert!(explained.contains("link` is a symbolic link"), "{explained}");

    let original = fs::read(&artifact).unwrap();
    let mut altered = original.clone();
    altered[original.len() / 2] ^= 1;
    replace(&artifact, &altered);
    assert_snapshot!("store_altered", farm.session("run sha256"));
    assert!(farm.call("verify sha256 --key one.pub").fails().stderr().contains("the artifact has the digest"));
    replace(&artifact, &original[..100]);
    assert_eq!(farm.call("run sha256").run().code(), 1);
    // A pull repairs it, where no other user can write.
    fs::set_permissions(farm.store().join("artifacts"), fs::Permissions::from_mode(0o755)).unwrap();
    farm.call("pull oci-dir:old:sha256 --key one.pub").ok();
    assert_eq!(fs::read(&artifact).unwrap(), original);
    farm.runs("run sha256");
    fs::remove_file(&artifact).unwrap();
    assert_snapshot!("store_artifact_gone", farm.session("run sha256"));
    symlink("/etc/passwd", &artifact).unwrap();
    assert_snapshot!("store_artifact_link", farm.session("run sha256"));
}

#[test]
fn a_file_replaced_during_a_run_never_mixes_old_and_new() {
    let farm = Farm::with_store();
    fs::set_permissions(farm.store().join("artifacts"), fs::Permissions::from_mode(0o775)).unwrap();
    let artifact = farm.artifact();
    let original = fs::read(&artifact).unwrap();
    let mut altered = original.clone();
    // The guest's own code: what it would print is another digest.
    altered[original.len() / 2..].fill(0x90);
    let (stop, swapped) = (AtomicBool::new(false), artifact.with_extension("swap"));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for bytes in [&altered, &original] {
                    fs::write(&swapped, bytes).unwrap();
                    fs::rename(&swapped, &artifact).unwrap();
                }
            }
        });
        for _ in 0..40 {
            let ran = farm.call("run sha256").run();
            assert!(ran.stdout().starts_with(ABC) || ran.code() == 1 && ran.stdout().is_empty(), "{ran}");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_world_writable_store_is_not_a_trust_basis() {
    let _settings = settings();
    let farm = Farm::with_store();
    fs::set_permissions(farm.store(), fs::Permissions::from_mode(0o777)).unwrap();
    assert_snapshot!("store_open_to_all", farm.session("run sha256"));
    assert_snapshot!("store_open_to_all_pull", farm.session("pull oci-dir:new:sha256 --key one.pub"));
    // Signatures suffice, no matter who can write there.
    let explained = farm.runs("run --explain --key one.pub sha256").stderr();
    assert!(explained.contains("every user can write `"), "{explained}");
}

#[test]
fn group_writable_store_files_are_not_a_trust_basis() {
    let _settings = settings();
    let farm = Farm::with_store();
    let installed = fs::read_dir(farm.store().join("installed")).unwrap().next().unwrap().unwrap().path();
    let active = farm.store().join("active");
    let files = [active.join("sha256.json"), installed.join("install.json"), farm.store().join("store.json")];
    for path in [farm.store(), active, farm.store().join("installed"), installed].iter().chain(&files) {
        let before = fs::metadata(path).unwrap().permissions();
        fs::set_permissions(path, fs::Permissions::from_mode(before.mode() | 0o020)).unwrap();
        let refused = farm.call("run sha256").fails();
        let expected = format!("its group can write `{}`", path.display());
        assert!(refused.stderr().contains(&expected), "{refused}");
        farm.runs("run --key one.pub sha256");
        fs::set_permissions(path, before).unwrap();
    }
    farm.runs("run sha256");
    fs::set_permissions(farm.store().join("active"), fs::Permissions::from_mode(0o775)).unwrap();
    assert_snapshot!("store_open_to_group", farm.session("run sha256"));
    assert_snapshot!("store_open_to_group_pull", farm.session("pull oci-dir:new:sha256 --key one.pub"));
}

#[test]
fn an_access_list_that_lets_another_user_write_is_seen() {
    let test = "an_access_list_that_lets_another_user_write_is_seen";
    let Some([attacker]) = User::several() else { return skip(test, "it takes root, and setpriv") };
    let farm = Farm::with_store();
    fs::set_permissions(farm.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (store, installed) = (farm.store(), installed_from(&farm, "old"));
    let paths = ["active", "active/sha256.json", "installed", "store.json"].map(|name| store.join(name));
    for path in paths.iter().chain(&[store.clone(), installed.clone(), installed.join("install.json"), farm.artifact()])
    {
        if let Err(error) = attacker.grant(path, 0o7) {
            return skip(test, &format!("there are no access control lists on this file system: {error}"));
        }
        let may_write = thread::scope(|scope| {
            let tried = scope.spawn(|| {
                attacker.become_in_this_thread();
                access(path, Access::WRITE_OK).is_ok()
            });
            tried.join().unwrap()
        });
        assert!(may_write, "{}", path.display());
        let expected = format!("its group can write `{}`", path.display());
        if *path == farm.artifact() {
            let explained = farm.runs("run --explain sha256").stderr();
            assert!(explained.contains(&expected) && explained.contains("copied into sealed memory"), "{explained}");
        } else {
            let refused = farm.call("run sha256").fails();
            assert!(refused.stderr().contains(&expected), "{refused}");
        }
        // As the hint says: the mask takes from all that the list grants.
        assert!(Command::new("chmod").arg("go-w").arg(path).status().unwrap().success());
        farm.runs("run sha256");
    }
}

#[test]
fn commands_refuse_to_write_where_others_can() {
    let farm = Farm::with_store();
    let store = farm.store();
    let below = ["active", "installed", "artifacts", "tmp", "partial", "lock", "store.json", "counters.json"];
    for path in std::iter::once(store.clone()).chain(below.map(|name| store.join(name))) {
        let before = fs::metadata(&path).unwrap().permissions();
        for (more, who) in [(0o020, "its group"), (0o002, "every user")] {
            fs::set_permissions(&path, fs::Permissions::from_mode(before.mode() | more)).unwrap();
            for line in ["pull oci-dir:new:sha256 --key one.pub", "activate sha256", "rollback sha256", "gc --keep 0"] {
                let refused = farm.refused(line);
                let shown = path.display().to_string().replace(&farm.path().display().to_string(), "[DIR]");
                let expected = format!("{who} can write `{shown}`");
                let hint = format!("hint: `chmod go-w {shown}`");
                assert!(refused.contains(&expected) && refused.contains(&hint), "{line}: {refused}");
            }
        }
        fs::set_permissions(&path, before).unwrap();
    }
    farm.call("pull oci-dir:new:sha256 --key one.pub").ok();
}

#[test]
fn another_user_reads_and_cannot_write() {
    let test = "another_user_reads_and_cannot_write";
    let farm = Farm::with_store();
    copy_program(&isomer_run_path(), &farm.path().join("isomer-run"));
    fs::set_permissions(farm.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let as_other = |line: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(farm.path().join("isomer-run"));
        command.args(line.split(' ')).current_dir(farm.path()).env("ISOMER_STORE", farm.store());
        command.output().unwrap()
    };
    if !is_root() || !has_program("setpriv") || !as_other("list").status.success() {
        return skip(test, "it takes root, and setpriv, to become another user");
    }
    let run = as_other("run --explain sha256");
    let explained = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{explained}");
    for line in ["pull oci-dir:new:sha256 --key one.pub", "activate sha256", "rollback sha256", "gc --keep 0"] {
        let refused = as_other(line);
        let printed = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(1) && printed.contains("Permission denied"), "{line}: {printed}");
        assert!(printed.contains("hint: run it as the user who owns the store"), "{line}: {printed}");
    }
    // A store of another user than root is a trust basis for itself alone.
    let chown = |owner: &str| Command::new("chown").args(["-R", owner]).arg(farm.store()).status().unwrap();
    assert!(chown("1234:1234").success());
    for line in ["run --explain sha256", "run --explain --key one.pub sha256"] {
        let run = as_other(line);
        let explained = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success() && explained.contains("belongs to the user 1234, not to root"), "{explained}");
    }
    // Root trusts no other user's records, and writes nothing where another user can change it.
    let before = farm.files();
    let _settings = settings();
    assert_snapshot!("store_of_another_user", farm.session("run sha256"));
    assert_snapshot!("store_of_another_user_pull", farm.session("pull oci-dir:new:sha256 --key one.pub"));
    for line in ["activate sha256", "rollback sha256", "gc --keep 0"] {
        assert!(farm.call(line).fails().stderr().contains("nothing is written to"), "{line}");
    }
    assert_eq!(farm.files(), before);
    let explained = farm.runs("run --explain --key one.pub sha256").stderr();
    assert!(explained.contains("belongs to the user 1234, not to root"), "{explained}");
    assert!(chown("65534:65534").success());
    let explained = as_other("run --explain sha256");
    assert!(String::from_utf8_lossy(&explained.stderr).contains("belongs to the user who runs this"));
}

#[test]
fn rollback_ignores_records_that_others_could_write() {
    let _settings = settings();
    let farm = Farm::with_store();
    farm.call("pull oci-dir:new:sha256 --key one.pub").ok();
    let active = farm.store().join("active/sha256.json");
    let digest = |release| farm.index_of(release, "sha256")["digest"].as_str().unwrap().to_owned();
    fs::write(&active, json!({ "index": digest("new"), "earlier": [digest("old")] }).to_string()).unwrap();
    add_to_mode(&active, 0o020);
    for line in ["rollback sha256", "gc --keep 0"] {
        assert!(
            farm.refused(line).contains("hint: `isomer-run activate sha256:VERSION` sets the active version"),
            "{line}"
        );
    }
    assert_snapshot!("store_active_not_trusted", farm.session("rollback sha256"));
    assert!(farm.call("run sha256").fails().stderr().contains("its group can write"));
    // Activating a version by name replaces the record, and takes nothing over from it.
    let printed = farm.call("activate sha256:1.1.0").ok();
    assert!(printed.stderr().contains("there is no earlier version to roll back to"), "{printed}");
    farm.runs("run sha256");
    assert!(farm.call("rollback sha256").fails().stderr().contains("no version of `sha256` that was active earlier"));
    // The record of the installation must be one that no other user could write, either.
    for name in ["", "install.json"] {
        farm.call("activate sha256:1.2.0").ok();
        let path = installed_from(&farm, "old").join(name);
        add_to_mode(&path, 0o020);
        for line in ["activate sha256:1.1.0", "rollback sha256"] {
            let refused = farm.refused(line);
            assert!(refused.contains("its group can write") && refused.contains("hint: pull it again"), "{refused}");
        }
        if !name.is_empty() {
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, text.replace("one.pub", "another")).unwrap();
        }
        let line = format!("pull oci-dir:old:sha256 --digest {} --activate", digest("old"));
        let printed = farm.call(&line).ok();
        assert!(printed.stderr().contains("what was installed is replaced"), "{printed}");
        let record = forge::read(&installed_from(&farm, "old").join("install.json"));
        assert_eq!(record["trust-basis"], "digest");
        farm.runs("run sha256");
    }
}
