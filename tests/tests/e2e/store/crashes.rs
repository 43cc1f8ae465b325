//! The server's store under bad luck: processes killed at any moment, a disk that is full, many processes at once. After
//! each of it the store is whole: everything under a final name is what its name says, and what was active runs.

use isomer_tests::farm::{ABC, Farm};
use isomer_tests::{contents, skip};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// How many commands are killed.
const KILLS: usize = 200;

/// That everything is what it is called, and what is active runs.
fn check(farm: &Farm) {
    whole(&farm.store());
    farm.call("list").ok();
    farm.runs("run sha256");
}

/// Every file under a final name has the digest that it is called by, or is JSON.
fn whole(store: &Path) {
    for (path, bytes) in contents(store) {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let unfinished = path.starts_with("tmp") || path.starts_with("partial");
        if unfinished || path == Path::new("lock") {
            continue;
        }
        if path.starts_with("artifacts") || path.parent().is_some_and(|parent| parent.ends_with("blobs/sha256")) {
            assert_eq!(hex::encode(Sha256::digest(&bytes)), name, "{}", path.display());
        } else {
            serde_json::from_slice::<serde_json::Value>(&bytes).unwrap_or_else(|_| panic!("{}", path.display()));
        }
    }
}

/// No temporary directory, no layer in transit, no artifact that nothing names.
fn tidy(store: &Path, artifacts: usize) {
    let count = |name: &str| fs::read_dir(store.join(name)).map_or(0, Iterator::count);
    assert_eq!((count("tmp"), count("partial"), count("artifacts")), (0, 0, artifacts));
}

#[test]
fn a_store_survives_two_hundred_kills() {
    let farm = Farm::two_releases();
    let pull = |release: &str| format!("pull oci-dir:{release}:sha256 --key one.pub --allow-rollback");
    farm.call(&pull("old")).ok();
    farm.call("activate sha256:1.1.0").ok();
    let lines = [
        pull("new") + " --activate",
        "gc --keep 0".to_owned(),
        pull("old"),
        "activate sha256:1.1.0".to_owned(),
        pull("new"),
        "rollback sha256".to_owned(),
        "gc --keep 1".to_owned(),
    ];
    // The shortest time that each took to its end.
    let mut took: Vec<Duration> = vec![Duration::from_millis(40); lines.len()];
    let (mut killed, mut chance) = (0, 0x9e37_79b9_7f4a_7c15_u64);
    for attempt in 0..KILLS * 10 {
        if killed == KILLS {
            break;
        }
        let command = attempt % lines.len();
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let wait = took[command].mul_f64((chance >> 40) as f64 / f64::from(1 << 24));
        let begun = Instant::now();
        let mut child = farm.call(&lines[command]).start_unheard();
        thread::sleep(wait);
        let ended = child.try_wait().unwrap().is_some();
        child.kill().unwrap();
        child.wait().unwrap();
        if ended {
            took[command] = took[command].min(begun.elapsed());
        } else {
            killed += 1;
            took[command] = took[command].mul_f64(1.02);
        }
        check(&farm);
    }
    assert_eq!(killed, KILLS, "most commands ended before they could be killed");
    farm.call(&(pull("new") + " --activate")).ok();
    farm.call("gc --keep 0").ok();
    check(&farm);
    tidy(&farm.store(), 1);
}

#[test]
fn many_processes_at_once_do_not_disturb_each_other() {
    let farm = Farm::two_releases();
    let pull = |release: &str| format!("pull oci-dir:{release}:sha256 --key one.pub --allow-rollback");
    // Several at once make the store, and fetch the same: often, for what they could see of each other lasts a moment.
    for _ in 0..16 {
        let _ = fs::remove_dir_all(farm.store());
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| farm.call(&pull("old")).ok());
            }
        });
    }
    tidy(&farm.store(), 1);
    farm.call("activate sha256").ok();
    thread::scope(|scope| {
        for release in ["old", "new", "new"] {
            let farm = &farm;
            scope.spawn(move || (0..6).for_each(|_| drop(farm.call(&pull(release)).ok())));
        }
        scope.spawn(|| (0..8).for_each(|_| drop(farm.call("gc --keep 0").ok())));
        scope.spawn(|| {
            (0..8).for_each(|_| {
                let ran = farm.call("run sha256").ok();
                assert!(ran.stdout().starts_with(ABC), "{ran}");
            });
        });
    });
    check(&farm);
    farm.call("gc --keep 9").ok();
    tidy(&farm.store(), 2);
}

/// A file system of its own in `path`, gone with this value.
struct Disk<'a>(&'a Path);

impl Disk<'_> {
    fn mount(path: &Path, options: &str) -> bool {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(path);
        mount.output().is_ok_and(|output| output.status.success())
    }

    fn mount_again(&self, options: &str) -> bool {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,{options}")]).arg(self.0);
        mount.output().is_ok_and(|output| output.status.success())
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).output();
    }
}

#[test]
fn a_full_disk_leaves_the_store_as_it_was() {
    let farm = Farm::two_releases();
    let store = farm.store();
    fs::create_dir(&store).unwrap();
    let options = |kib: usize| format!("mode=0755,size={kib}k");
    let pull = "pull oci-dir:old:sha256 --key one.pub --activate";
    let (mut refused, mut said_how_much) = (0, 0);
    for kib in (8..=240).step_by(8) {
        if !Disk::mount(&store, &options(kib)) {
            return skip("a_full_disk_leaves_the_store_as_it_was", "it takes root and tmpfs to make a small disk");
        }
        let disk = Disk(&store);
        let ran = farm.call(pull).run();
        whole(&store);
        if ran.code() != 0 {
            refused += 1;
            let printed = ran.stderr();
            assert!(ran.code() == 1 && printed.starts_with("error:"), "{kib} KiB: {ran}");
            assert!(printed.contains("are missing") || printed.contains("No space left on device"), "{kib} KiB: {ran}");
            assert!(printed.contains("what is installed is as it was"), "{kib} KiB: {ran}");
            said_how_much += usize::from(printed.contains("are missing"));
            if !ran.stdout().contains("installed") {
                tidy(&store, 0);
                let installed = fs::read_dir(store.join("installed")).map_or(0, Iterator::count);
                assert_eq!(installed, 0, "{kib} KiB: {ran}");
            }
            let listed = farm.call("list").run();
            assert!(!listed.stderr().contains("is not a store"), "{kib} KiB: {listed}");
            // With more room it goes on as if nothing had been.
            assert!(disk.mount_again(&options(4096)));
            farm.call(pull).ok();
        }
        check(&farm);
        farm.call("gc --keep 0").ok();
        tidy(&store, 1);
    }
    assert!(refused >= 10 && said_how_much >= 3, "{refused} refusals, {said_how_much} with a number");
}

#[test]
fn a_read_only_disk_runs_what_is_installed() {
    let farm = Farm::two_releases();
    let store = farm.store();
    fs::create_dir(&store).unwrap();
    if !Disk::mount(&store, "mode=0755,size=4096k") {
        return skip("a_read_only_disk_runs_what_is_installed", "it takes root and tmpfs to make a small disk");
    }
    let disk = Disk(&store);
    farm.call("pull oci-dir:old:sha256 --key one.pub --activate").ok();
    assert!(disk.mount_again("ro"));
    check(&farm);
    for line in ["pull oci-dir:new:sha256 --key one.pub", "activate sha256", "rollback sha256", "gc --keep 0"] {
        let ran = farm.call(line).fails();
        assert!(ran.stderr().contains("Read-only file system"), "{ran}");
        assert!(ran.stderr().contains("hint: run it as the user who owns the store"), "{ran}");
    }
    // Where nothing may be executed, it is copied to where it may.
    assert!(disk.mount_again("rw,noexec"));
    let explained = farm.call("run --explain sha256").ok().stderr();
    assert!(explained.contains("is mounted noexec"), "{explained}");
}
