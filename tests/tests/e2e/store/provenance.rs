//! Stores whose files belong to root and can be written by root alone, but whose bytes this machine has not hashed: a file's
//! name, owner and path are no evidence of its content.

use super::{artifact_from, is_root, isomer_run_path};
use isomer_tests::farm::{ABC, Farm};
use isomer_tests::idmap::IdMapped;
use isomer_tests::users::User;
use isomer_tests::{Ran, copy_program, has_program, skip};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

const MAPPED: &str = "is mapped from the store";
const HASHED: &str = "is copied into sealed memory and hashed there";

/// All ways to state what is trusted; without any, it is the statement of the user who installed it.
fn options(farm: &Farm) -> [String; 4] {
    farm.policy("", "", "");
    let index = farm.index_of("old", "sha256")["digest"].as_str().unwrap().to_owned();
    [String::new(), "--key one.pub".to_owned(), "--trust trust.toml".to_owned(), format!("--digest {index}")]
}

/// Changes one of the constants that the guest computes with: it runs, and prints something else.
fn tamper(artifact: &Path) {
    let mut bytes = fs::read(artifact).unwrap();
    let constant = 0x428a_2f98_u32.to_le_bytes();
    let found: Vec<_> = (0..bytes.len() - 4).filter(|at| bytes[*at..at + 4] == constant).collect();
    assert!(!found.is_empty(), "the guest has its constants in another form");
    found.iter().for_each(|at| bytes[*at] ^= 1);
    if fs::write(artifact, &bytes).is_err() {
        // This is not root.
        fs::set_permissions(artifact, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(artifact, &bytes).unwrap();
        fs::set_permissions(artifact, fs::Permissions::from_mode(0o444)).unwrap();
    }
}

fn tampered(store: &Path) {
    for entry in fs::read_dir(store.join("artifacts")).unwrap() {
        tamper(&entry.unwrap().path());
    }
}

fn sh(line: &str, at: &Path) -> bool {
    let ran = Command::new("sh").args(["-c", line]).current_dir(at).output().unwrap();
    if !ran.status.success() {
        println!("{line}: {}", String::from_utf8_lossy(&ran.stderr));
    }
    ran.status.success()
}

#[track_caller]
fn refused(ran: &Ran) {
    let hashed = ran.stderr().contains("has the digest sha256:");
    assert!(ran.code() == 1 && ran.stdout().is_empty() && hashed, "{ran}");
}

fn explained(farm: &Farm, store: &Path, option: &str) -> String {
    let ran = farm.call(&format!("run --explain {option} --store")).arg(store).arg("sha256").ok();
    assert!(ran.stdout().starts_with(ABC), "{ran}");
    ran.stderr()
}

/// Whether artifacts are ever mapped in this directory; else every test here is about what is hashed anyway.
fn maps(farm: &Farm) -> bool {
    explained(farm, &farm.store(), "").contains(MAPPED)
}

#[test]
fn a_store_that_root_copied_is_hashed() {
    if !is_root() {
        return skip("a_store_that_root_copied_is_hashed", "it takes root to copy as root");
    }
    for copy in [
        "cp -r theirs copy",
        "cp -a theirs copy && chown -R 0:0 copy",
        "tar -C theirs --owner=61000 -cf t.tar . && mkdir copy && tar -C copy --no-same-owner -xpf t.tar",
        "tar -C theirs --owner=0 --group=0 -cf t.tar . && mkdir copy && tar -C copy --same-owner -xpf t.tar",
        "mkdir copy && cd theirs && find . -type d -exec mkdir -p ../copy/{} \\; && find . -type f -exec ln {} ../copy/{} \\;",
    ] {
        let farm = Farm::with_store();
        let store = farm.path().join("copy");
        assert!(sh("cp -r store theirs && chmod -R go-w theirs", farm.path()));
        assert!(sh(copy, farm.path()));
        if maps(&farm) {
            for option in options(&farm) {
                assert!(sh(&format!("rm -r copy && {copy}"), farm.path()));
                let first = explained(&farm, &store, &option);
                // Inodes are used again.
                let unknown = first.contains("no record") || first.contains("is not the file");
                assert!(first.contains(HASHED) && unknown, "{copy}: {first}");
                // What this machine has hashed, it need not hash again.
                let second = explained(&farm, &store, &option);
                assert!(second.contains(MAPPED), "{copy}: {second}");
            }
        } else {
            skip("a_store_that_root_copied_is_hashed (recorded)", "nothing is mapped on this file system");
        }
        tampered(&farm.path().join("theirs"));
        assert!(sh(&format!("rm -r copy && {copy}"), farm.path()));
        for option in options(&farm) {
            refused(&farm.call(&format!("run {option} --store")).arg(&store).arg("sha256").run());
        }
    }
}

#[test]
fn a_change_that_leaves_size_and_times_alone_is_seen() {
    let farm = Farm::with_store();
    let artifact = farm.artifact();
    let before = fs::metadata(&artifact).unwrap();
    tamper(&artifact);
    let file = OpenOptions::new().write(true).open(&artifact);
    if let Ok(file) = file {
        file.set_times(fs::FileTimes::new().set_modified(before.modified().unwrap())).unwrap();
    }
    let after = fs::metadata(&artifact).unwrap();
    assert_eq!((before.len(), before.mtime(), before.ino()), (after.len(), after.mtime(), after.ino()));
    for option in options(&farm) {
        refused(&farm.call(&format!("run {option} sha256")).run());
    }
}

#[test]
fn a_file_in_the_place_of_another_is_hashed() {
    let farm = Farm::with_store();
    let artifact = farm.artifact();
    let theirs = farm.path().join("theirs");
    fs::copy(&artifact, &theirs).unwrap();
    tamper(&theirs);
    fs::rename(&theirs, &artifact).unwrap();
    for option in options(&farm) {
        refused(&farm.call(&format!("run {option} sha256")).run());
    }
}

#[test]
fn a_file_that_a_process_has_open_for_writing_is_hashed_each_time() {
    let test = "a_file_that_a_process_has_open_for_writing_is_hashed_each_time";
    let farm = Farm::with_store();
    if !is_root() || !maps(&farm) {
        return skip(test, "nothing is mapped on this file system, or without root");
    }
    // As if it had been another user's, who opened it then.
    let artifact = farm.artifact();
    let open = OpenOptions::new().read(true).write(true).open(&artifact).unwrap();
    fs::set_permissions(&artifact, fs::Permissions::from_mode(0o400)).unwrap();
    fs::set_permissions(&artifact, fs::Permissions::from_mode(0o444)).unwrap();
    for _ in 0..2 {
        let output = explained(&farm, &farm.store(), "--key one.pub");
        assert!(output.contains(HASHED) && output.contains("open for writing"), "{output}");
    }
    drop(open);
    let output = explained(&farm, &farm.store(), "--key one.pub");
    assert!(output.contains(HASHED), "{output}");
    let output = explained(&farm, &farm.store(), "--key one.pub");
    assert!(output.contains(MAPPED), "{output}");
}

#[test]
fn only_what_root_hashed_is_mapped_for_others() {
    let test = "only_what_root_hashed_is_mapped_for_others";
    let farm = Farm::with_store();
    let Some([other]) = User::several() else { return skip(test, "it takes root, and setpriv") };
    if !maps(&farm) {
        return skip(test, "nothing is mapped on this file system");
    }
    let program = farm.path().join("isomer-run");
    copy_program(&isomer_run_path(), &program);
    fs::set_permissions(farm.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let explained_to = |store: &str| {
        let call = other.program(&program).line("run --explain --key one.pub --store").arg(store).arg("sha256");
        call.dir(farm.path()).stdin("abc").ok().stderr()
    };
    assert!(explained_to("store").contains(MAPPED));
    assert!(sh("cp -r store copy", farm.path()));
    for _ in 0..2 {
        let output = explained_to("copy");
        assert!(output.contains(HASHED) && !output.contains("recorded"), "{output}");
    }
    assert!(explained(&farm, &farm.path().join("copy"), "").contains("that is recorded"));
    assert!(explained_to("copy").contains(MAPPED));
    // What belongs to another user than root can be changed by that user, hashed or not.
    other.give(&farm.path().join("copy"));
    let output = explained(&farm, &farm.path().join("copy"), "--key one.pub");
    assert!(output.contains(HASHED) && !output.contains("recorded"), "{output}");
    assert!(explained_to("copy").contains("belongs to the user who runs this"));
}

/// What is mounted at a directory, gone with this value.
struct Mounted(PathBuf);

impl Mounted {
    fn at(path: PathBuf, arguments: &[&str]) -> Option<Mounted> {
        fs::create_dir_all(&path).unwrap();
        let mounted = Command::new("mount").args(arguments).arg(&path).output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then_some(Mounted(path))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// `store` is hashed each time, for that reason; and does not run where it was changed.
fn hashed_each_time(farm: &Farm, store: &Path, reason: &str) {
    for option in options(farm) {
        for _ in 0..2 {
            let output = explained(farm, store, &option);
            assert!(output.contains(HASHED) && output.contains(reason), "{output}");
        }
    }
    tampered(store);
    for option in options(farm) {
        refused(&farm.call(&format!("run {option} --store")).arg(store).arg("sha256").run());
    }
}

#[test]
fn a_store_in_an_image_is_hashed() {
    let test = "a_store_in_an_image_is_hashed";
    let farm = Farm::with_store();
    let made = is_root() && has_program("mkfs.ext4") && sh("truncate -s 16M image && mkfs.ext4 -q image", farm.path());
    if !made {
        return skip(test, "it takes root, and mkfs.ext4");
    }
    let image = farm.path().join("image");
    for options in ["loop", "loop,nosuid,nodev"] {
        let Some(mounted) = Mounted::at(farm.path().join("mounted"), &["-o", options, image.to_str().unwrap()]) else {
            return skip(test, "images cannot be mounted here");
        };
        assert!(sh("rm -rf mounted/store && cp -a store mounted/store", farm.path()));
        hashed_each_time(&farm, &mounted.0.join("store"), "lies on another file system than `/var/lib/isomer-hashed`");
    }
}

#[test]
fn a_store_in_memory_is_hashed() {
    let test = "a_store_in_memory_is_hashed";
    let farm = Farm::with_store();
    for options in ["mode=0755", "mode=0755,nosuid,nodev"] {
        let arguments = ["-t", "tmpfs", "-o", options, "tmpfs"];
        let Some(mounted) = is_root().then(|| Mounted::at(farm.path().join("mounted"), &arguments)).flatten() else {
            return skip(test, "it takes root and tmpfs");
        };
        assert!(sh("cp -a store mounted/store", farm.path()));
        hashed_each_time(&farm, &mounted.0.join("store"), "lies on another file system than `/var/lib/isomer-hashed`");
    }
}

#[test]
fn a_store_on_overlayfs_is_hashed() {
    let test = "a_store_on_overlayfs_is_hashed";
    for more in ["", ",metacopy=on,redirect_dir=on"] {
        let farm = Farm::with_store();
        for name in ["lower", "upper", "work"] {
            fs::create_dir(farm.path().join(name)).unwrap();
        }
        assert!(sh("cp -a store lower/store", farm.path()));
        let at = farm.path().display();
        let layers = format!("lowerdir={at}/lower,upperdir={at}/upper,workdir={at}/work{more}");
        let mount = || Mounted::at(farm.path().join("merged"), &["-t", "overlay", "-o", &layers, "overlay"]);
        let Some(mounted) = is_root().then(mount).flatten() else {
            return skip(test, &format!("it takes root and overlayfs{more}"));
        };
        // With metacopy, what lies above has its owner and times, and the bytes are those of the lower layer.
        assert!(sh("chmod 0444 merged/store/artifacts/*", farm.path()));
        hashed_each_time(&farm, &mounted.0.join("store"), "lies on overlayfs");
    }
}

#[test]
fn a_store_on_an_idmapped_mount_is_hashed() {
    let test = "a_store_on_an_idmapped_mount_is_hashed";
    let Some([attacker]) = User::several() else { return skip(test, "it takes root, and setpriv") };
    let farm = Farm::with_store();
    assert!(sh("cp -a store theirs && chmod -R u+w theirs", farm.path()));
    let (theirs, at) = (farm.path().join("theirs"), farm.path().join("mapped"));
    attacker.give(&theirs);
    let mounted = match IdMapped::mount(&theirs, attacker, &at) {
        Ok(mounted) => mounted,
        Err(error) => return skip(test, &format!("this machine maps no owners: {error}")),
    };
    // It is on the file system of the records, and root's as far as its owner and permissions say.
    assert_eq!(fs::metadata(artifact_in(&at)).unwrap().uid(), 0);
    for option in options(&farm) {
        for _ in 0..2 {
            let output = explained(&farm, &at, &option);
            assert!(output.contains(HASHED) && output.contains("is mounted idmapped"), "{output}");
        }
    }
    // Its owner changes it by the other path.
    tampered(&theirs);
    for option in options(&farm) {
        refused(&farm.call(&format!("run {option} --store")).arg(&at).arg("sha256").run());
    }
    drop(mounted);
}

/// Any artifact of a store.
fn artifact_in(store: &Path) -> PathBuf {
    fs::read_dir(store.join("artifacts")).unwrap().next().unwrap().unwrap().path()
}

#[test]
fn a_store_in_a_user_namespace_is_hashed() {
    let test = "a_store_in_a_user_namespace_is_hashed";
    let Some([attacker]) = User::several() else { return skip(test, "it takes root, and setpriv") };
    let farm = Farm::with_store();
    fs::set_permissions(farm.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // A system of the attacker's own, down to its root directory, as a container without root has one.
    let system = attacker.directory(farm.path().join("system"), 0o755);
    let copies = "mkdir system/bin && cp \"$0\" system/bin/isomer-run && cp -r store one.pub system/ && \
                  for lib in $(ldd \"$0\" | grep -o '/[^ ]*'); do mkdir -p system$(dirname $lib) && cp -L $lib system$lib; done";
    let copied = Command::new("sh").args(["-c", copies]).arg(isomer_run_path()).current_dir(farm.path()).status();
    assert!(copied.is_ok_and(|copied| copied.success()));
    attacker.give(&system);
    // The attacker is root there, and the owner of every file.
    let inside = |line: &str| {
        let unshared = attacker.program("unshare").args(["--user", "--map-root-user", "chroot"]).arg(&system);
        unshared.args(["/bin/isomer-run"]).line(line).env("ISOMER_STORE", "/store").stdin("abc").run()
    };
    let listed = inside("list");
    if !has_program("unshare") || listed.code() != 0 {
        return skip(test, &format!("users make no namespaces here: {listed}"));
    }
    for option in ["", "--key one.pub"] {
        let output = inside(&format!("run --explain {option} sha256"));
        assert!(output.stderr().contains(HASHED) && output.stdout().starts_with(ABC), "{output}");
        assert!(output.stderr().contains("says whether root is the system's root"), "{output}");
    }
    tampered(&system.join("store"));
    for option in ["", "--key one.pub"] {
        refused(&inside(&format!("run {option} sha256")));
    }
}

#[test]
fn nothing_is_removed_from_what_is_mounted_in_a_store() {
    let test = "nothing_is_removed_from_what_is_mounted_in_a_store";
    let farm = Farm::with_store();
    let elsewhere = farm.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("file"), "another's").unwrap();
    let below = farm.store().join("tmp/left/deep");
    let mount = || Mounted::at(below, &["--bind", elsewhere.to_str().unwrap()]);
    let Some(_mounted) = is_root().then(mount).flatten() else { return skip(test, "it takes root to mount") };
    let ran = farm.call("gc --keep 0").run();
    assert!(elsewhere.join("file").exists(), "{ran}");
    assert!(ran.code() == 1 && ran.stderr().contains("cannot remove"), "{ran}");
    farm.runs("run sha256");
}

#[test]
fn damage_of_the_same_size_is_found() {
    let farm = Farm::with_store();
    farm.call("pull oci-dir:new:sha256 --key one.pub --activate").ok();
    tamper(&artifact_from(&farm, "old"));
    let output = farm.runs("run --explain sha256").stderr();
    assert!(!output.contains(MAPPED) || output.contains("`isomer-run list --check`"), "{output}");
    let listed = farm.call("list").ok();
    assert!(!listed.stdout().contains("damaged"), "{listed}");
    let listed = farm.call("list --check").fails();
    assert!(listed.stdout().contains("damaged") && listed.stderr().contains("was altered"), "{listed}");
    let rows = farm.call("list --check --json").fails().json();
    let damaged = |row: &&serde_json::Value| row["damaged"].is_string();
    assert_eq!(rows.as_array().unwrap().iter().filter(damaged).count(), 1, "{rows}");
    // Without the option nothing is hashed.
    assert!(farm.call("gc --keep 1").ok().stdout().starts_with("0 B removed"));
    farm.call("gc --damaged").ok();
    assert_eq!(fs::read_dir(farm.store().join("installed")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(farm.store().join("artifacts")).unwrap().count(), 1);
    farm.runs("run sha256");
}
