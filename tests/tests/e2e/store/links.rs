//! Symbolic links to a store and inside it.

use super::settings;
use insta::assert_snapshot;
use isomer_tests::farm::Farm;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

#[test]
fn every_directory_on_the_way_to_a_store_is_checked() {
    let farm = Farm::with_store();
    let open = farm.path().join("open");
    fs::create_dir(&open).unwrap();
    // Two steps: `link` leads to `open/link`, which leads to the store.
    symlink("../store", open.join("link")).unwrap();
    symlink(open.join("link"), farm.path().join("link")).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
    farm.runs("run --store link sha256");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let refused = farm.call("run --store link sha256").fails();
    assert!(refused.stderr().contains(&format!("every user can write `{}`", open.display())), "{refused}");
    let refused = farm.call("pull --store link oci-dir:new:sha256 --key one.pub").fails();
    assert!(refused.stderr().contains("nothing is written to"), "{refused}");
    farm.runs("run --store link --key one.pub sha256");
    symlink("turn", farm.path().join("turn")).unwrap();
    assert_eq!(farm.call("run --store turn sha256").run().code(), 1);
}

#[test]
fn symbolic_links_inside_a_store_are_refused() {
    let _settings = settings();
    for name in ["tmp", "partial", "installed", "artifacts", "active"] {
        let farm = Farm::with_store();
        let elsewhere = farm.path().join("elsewhere");
        fs::create_dir_all(elsewhere.join("theirs/deep")).unwrap();
        fs::write(elsewhere.join("theirs/deep/file"), b"theirs").unwrap();
        let path = farm.store().join(name);
        if path.exists() {
            fs::rename(&path, farm.path().join("moved")).unwrap();
        }
        symlink(&elsewhere, &path).unwrap();
        for line in ["pull oci-dir:new:sha256 --key one.pub", "activate sha256", "rollback sha256", "gc --keep 0"] {
            let refused = farm.call(line).fails();
            assert!(
                refused.stderr().contains(&format!("store/{name}` is malformed: it is a symbolic link")),
                "{refused}"
            );
            assert!(elsewhere.join("theirs/deep/file").exists(), "{line}");
            assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1, "{line}");
        }
        if name == "tmp" {
            assert_snapshot!("store_link_inside", farm.session("gc --keep 0"));
        }
    }
    // A link in there goes, and what it leads to stays.
    let farm = Farm::with_store();
    fs::create_dir(farm.path().join("theirs")).unwrap();
    fs::write(farm.path().join("theirs/file"), b"theirs").unwrap();
    fs::create_dir(farm.store().join("tmp/left")).unwrap();
    symlink(farm.path().join("theirs"), farm.store().join("tmp/link")).unwrap();
    symlink(farm.path().join("theirs"), farm.store().join("tmp/left/link")).unwrap();
    symlink(farm.path().join("theirs"), farm.store().join("partial/link")).unwrap();
    // Nor does it wait for a writer of this one.
    assert!(Command::new("mkfifo").arg(farm.store().join("partial/fifo")).status().unwrap().success());
    farm.call("gc --keep 0").ok();
    assert_eq!(fs::read_dir(farm.store().join("tmp")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(farm.store().join("partial")).unwrap().count(), 0);
    assert!(farm.path().join("theirs/file").exists());
    farm.runs("run sha256");
}
