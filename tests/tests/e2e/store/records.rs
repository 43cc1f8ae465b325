//! The records of what this machine hashed, in a `/var/lib` of the test's own: only root's count, and they count wherever
//! they and a store are mounted from one file system.

use super::{is_root, isomer_run_path};
use isomer_tests::farm::{ABC, Farm};
use isomer_tests::users::User;
use isomer_tests::{program, skip};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::PathBuf;

const MAPPED: &str = "is mapped from the store";
const HASHED: &str = "is copied into sealed memory and hashed there";

/// What `run --explain sha256` says where `lib` is `/var/lib`.
fn explained(farm: &Farm) -> String {
    within(farm, "mount --bind lib /var/lib", "run --explain sha256")
}

/// The same after `prepare`, in a namespace of its own for mounts.
fn within(farm: &Farm, prepare: &str, line: &str) -> String {
    let script = format!("{prepare} && exec \"$0\" {line}");
    let call = program("unshare").args(["--mount", "sh", "-c", &script]).arg(isomer_run_path()).dir(farm.path());
    let ran = call.env("ISOMER_STORE", farm.store()).stdin("abc").ok();
    assert!(ran.stdout().starts_with(ABC), "{ran}");
    ran.stderr()
}

/// A store, and a `lib` that has a record of its artifact.
fn recorded(test: &str) -> Option<Farm> {
    let farm = Farm::with_store();
    if !is_root() || program("unshare").args(["--mount", "true"]).run().code() != 0 {
        skip(test, "it takes root to mount");
        return None;
    }
    fs::create_dir(farm.path().join("lib")).unwrap();
    let first = explained(&farm);
    assert!(first.contains(HASHED) && first.contains("no record"), "{first}");
    if !explained(&farm).contains(MAPPED) {
        skip(test, "nothing is mapped on this file system");
        return None;
    }
    Some(farm)
}

fn records(farm: &Farm) -> PathBuf {
    farm.path().join("lib/isomer-hashed")
}

#[test]
fn records_that_another_user_could_have_written_count_for_nothing() {
    let test = "records_that_another_user_could_have_written_count_for_nothing";
    let Some(farm) = recorded(test) else { return };
    let Some([attacker]) = User::several() else { return skip(test, "it takes root, and setpriv") };
    let directory = records(&farm);
    let record = fs::read_dir(&directory).unwrap().next().unwrap().unwrap().path();
    let bytes = fs::read(&record).unwrap();
    let mode = |path: &PathBuf, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let counts_for_nothing = |what: &str| {
        let output = explained(&farm);
        assert!(output.contains(HASHED), "{what}: {output}");
    };
    for path in [&farm.path().join("lib"), &directory] {
        chown(path, Some(attacker.id), None).unwrap();
        counts_for_nothing("an owner");
        // Root writes nothing there, either.
        assert_eq!(fs::read(&record).unwrap(), bytes);
        chown(path, Some(0), None).unwrap();
        mode(path, 0o775);
        counts_for_nothing("a group");
        mode(path, 0o755);
        assert!(explained(&farm).contains(MAPPED));
    }
    let put_back = |farm: &Farm| {
        fs::remove_file(&record).unwrap();
        explained(farm);
        assert!(explained(farm).contains(MAPPED));
    };
    chown(&record, Some(attacker.id), None).unwrap();
    counts_for_nothing("a record of the attacker's");
    put_back(&farm);
    mode(&record, 0o666);
    counts_for_nothing("a record that all can write");
    put_back(&farm);
    let elsewhere = attacker.directory(farm.path().join("elsewhere"), 0o755).join("record");
    fs::rename(&record, &elsewhere).unwrap();
    symlink(&elsewhere, &record).unwrap();
    counts_for_nothing("a link");
    put_back(&farm);
    // A record of another file of the same content.
    let other = record.with_file_name(record.file_name().unwrap().to_str().unwrap().replace('-', "-1"));
    fs::rename(&record, other).unwrap();
    assert!(explained(&farm).contains("no record"));
}

#[test]
fn what_the_host_recorded_is_mapped_in_a_container() {
    let Some(farm) = recorded("what_the_host_recorded_is_mapped_in_a_container") else { return };
    let mounts = |options: &str| {
        format!(
            "mount -t tmpfs -o mode=0755 tmpfs /var/lib && mkdir /var/lib/isomer /var/lib/isomer-hashed && \
             mount --bind store /var/lib/isomer && mount --bind lib/isomer-hashed /var/lib/isomer-hashed && \
             mount -o remount,bind,{options} /var/lib/isomer && unset ISOMER_STORE"
        )
    };
    let run = "run --explain sha256";
    let output = within(&farm, &mounts("ro"), run);
    assert!(output.contains(MAPPED), "{output}");
    // As file systems of others are mounted, which this one may then be.
    for option in ["nosuid", "nodev", "noexec"] {
        let output = within(&farm, &mounts(option), run);
        assert!(output.contains(HASHED) && output.contains(&format!("is mounted {option}")), "{output}");
    }
    // Without the records, all is hashed, and none are made on another file system.
    let store_alone = "mount -t tmpfs -o mode=0755 tmpfs /var/lib";
    let output = within(&farm, store_alone, run);
    assert!(output.contains(HASHED) && output.contains("no record"), "{output}");
}
