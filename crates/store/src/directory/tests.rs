//! In: directories of a test. Out: what is found in them, and what a removal leaves.

use super::*;
use crate::weakness::Weakness;
use rustix::process::geteuid;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};

fn open(path: &Path) -> Directory {
    let walked = Directory::walk(path).expect("it can be walked");
    assert_eq!(walked.missing, [""; 0]);
    walked.directory
}

/// The weaknesses of `artifacts/file` in `dir` that are about what lies in `dir` itself.
fn found(dir: &Path) -> Vec<Weakness> {
    let artifacts = open(dir).directory("artifacts").expect("it is a directory").expect("it exists");
    let file = artifacts.file("file").expect("it is a file").expect("it exists");
    let ours = |weakness: &&Weakness| match weakness {
        Weakness::Link(path) | Weakness::Own(path) | Weakness::Sticky(path) => path.starts_with(dir),
        Weakness::Owner { path, .. } | Weakness::Writable { path, .. } => path.starts_with(dir),
        _ => false,
    };
    file.judgement.weaknesses().iter().filter(ours).cloned().collect()
}

fn store() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("there is room");
    fs::create_dir(dir.path().join("artifacts")).expect("there is room");
    fs::set_permissions(dir.path().join("artifacts"), Permissions::from_mode(0o755)).expect("it is ours");
    fs::write(dir.path().join("artifacts/file"), b"bytes").expect("there is room");
    fs::set_permissions(dir.path().join("artifacts/file"), Permissions::from_mode(0o444)).expect("it is ours");
    dir
}

#[test]
fn whatever_others_can_write_is_found() {
    let dir = store();
    for (name, mode) in [("", 0o775), ("", 0o757), ("", 0o1777), ("artifacts", 0o770), ("artifacts/file", 0o464)] {
        let path = dir.path().join(name);
        let path = if name.is_empty() { dir.path() } else { &path };
        let before = fs::metadata(path).expect("it exists").permissions();
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
        let found = found(dir.path());
        let writable = |it: &Weakness| *it == Weakness::Writable { path: path.to_owned(), mode };
        let excused = mode == 0o1777 && geteuid().is_root();
        assert_eq!(found.iter().any(writable), !excused, "{mode:o}: {found:?}");
        fs::set_permissions(path, before).expect("it is ours");
    }
}

#[test]
fn a_link_is_followed_on_the_way_and_refused_below() {
    let dir = store();
    let link = dir.path().join("link");
    symlink(dir.path(), &link).expect("there is room");
    let opened = open(&link);
    assert!(opened.judgement().weaknesses().contains(&Weakness::Link(link)));
    assert_eq!(opened.real, dir.path());
    symlink("file", dir.path().join("artifacts/link")).expect("there is room");
    symlink("artifacts", dir.path().join("elsewhere")).expect("there is room");
    let artifacts = opened.directory("artifacts").expect("it is a directory").expect("it exists");
    assert!(matches!(artifacts.file("link"), Err(StoreError::Malformed { .. })));
    assert!(matches!(opened.directory("elsewhere"), Err(StoreError::Malformed { .. })));
    assert!(matches!(opened.file("artifacts"), Err(StoreError::Malformed { .. })));
    symlink("turn", dir.path().join("turn")).expect("there is room");
    assert!(Directory::walk(&dir.path().join("turn")).is_err());
}

#[test]
fn a_missing_part_excuses_nothing() {
    let dir = store();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).expect("it is ours");
    let walked = Directory::walk(&dir.path().join("missing/store")).expect("it can be walked");
    assert_eq!(walked.missing, ["missing", "store"]);
    assert!(walked.directory.judgement().foreign().is_some());
    assert!(Directory::walk(&dir.path().join("missing/../artifacts")).is_err());
}

#[test]
fn only_what_is_roots_is_protected_from_root() {
    let dir = store();
    let own = Weakness::Own(dir.path().join("artifacts/file"));
    if !geteuid().is_root() {
        assert!(found(dir.path()).contains(&own), "what is ours is ours to change");
        return;
    }
    assert_eq!(found(dir.path()), []);
    chown(dir.path().join("artifacts/file"), Some(1234), None).expect("root may");
    let owner = Weakness::Owner { path: dir.path().join("artifacts/file"), user: 1234 };
    assert!(owner.is_foreign());
    assert_eq!(found(dir.path()), [owner]);
}

#[test]
fn a_removal_takes_links_and_leaves_what_they_lead_to() {
    let dir = store();
    let elsewhere = store();
    fs::create_dir_all(dir.path().join("left/deep")).expect("there is room");
    symlink(elsewhere.path(), dir.path().join("left/deep/link")).expect("there is room");
    symlink(elsewhere.path(), dir.path().join("link")).expect("there is room");
    let opened = open(dir.path());
    for name in ["left", "link", "missing"] {
        opened.remove(name).expect("it can be removed");
    }
    assert_eq!(opened.names().expect("it can be listed"), ["artifacts"]);
    assert!(elsewhere.path().join("artifacts/file").exists());
}

#[test]
fn a_directory_stays_the_same_whatever_its_path_leads_to() {
    let dir = store();
    let opened = open(&dir.path().join("artifacts"));
    fs::rename(dir.path().join("artifacts"), dir.path().join("moved")).expect("it is ours");
    fs::create_dir(dir.path().join("artifacts")).expect("there is room");
    opened.write_new("deep/new", b"bytes").expect("there is room");
    assert!(dir.path().join("moved/deep/new").exists());
    assert_eq!(fs::read_dir(dir.path().join("artifacts")).expect("it is a directory").count(), 0);
}
