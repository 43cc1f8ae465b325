//! A directory stays the one that was opened.

use super::*;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("there is room")
}

#[test]
fn what_is_done_in_a_directory_stays_in_it() {
    let scratch = scratch();
    let path = |name: &str| scratch.path().join(name);
    let Opened { directory, made } = Directory::open_or_make(&path("deep/dir"), 0o700).expect("there is room");
    assert!(made.is_some());
    assert_eq!(fs::metadata(path("deep/dir")).unwrap().permissions().mode() & 0o777, 0o700);
    fs::create_dir(path("other")).unwrap();
    fs::write(path("other/file"), "other").unwrap();
    // Its name is another directory's from now on.
    fs::rename(path("deep/dir"), path("away")).unwrap();
    symlink(path("other"), path("deep/dir")).unwrap();

    let mut new = directory.new_file(".new-", 0o644).unwrap();
    new.write_all(b"new").unwrap();
    new.rename(&directory, "file").unwrap();
    drop(directory.new_file(".new-", 0o644).unwrap());
    assert_eq!(fs::read(path("away/file")).unwrap(), b"new");
    assert_eq!(directory.names().unwrap(), ["file"]);
    let new = directory.new_file(".new-", 0o644).unwrap();
    assert_eq!(new.rename_new(&directory, "file").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    directory.new_file(".new-", 0o644).unwrap().rename_new(&directory, "second").unwrap();
    directory.make_directory("sub", 0o755).unwrap();
    symlink(path("other"), path("away/link")).unwrap();
    assert!(directory.directory("link").is_err() && directory.file("link").is_err());
    assert!(directory.file_to_write("link").is_err());
    assert_eq!(directory.names().unwrap(), ["file", "link", "second", "sub"]);
    for name in ["file", "link", "second", "sub"] {
        directory.remove_all(name).unwrap();
    }
    assert_eq!(fs::read(path("other/file")).unwrap(), b"other");
    for name in ["", ".", "..", "a/b", "/etc"] {
        assert!(directory.file(name).is_err() && directory.remove_all(name).is_err(), "{name}");
    }
}

#[test]
fn links_of_this_user_are_followed() {
    let scratch = scratch();
    let path = |name: &str| scratch.path().join(name);
    fs::create_dir(path("dir")).unwrap();
    symlink("dir", path("relative")).unwrap();
    symlink(path("relative"), path("absolute")).unwrap();
    symlink("loop", path("loop")).unwrap();
    Directory::open(&path("absolute"))
        .unwrap()
        .new_file("", 0o644)
        .unwrap()
        .rename_new(&Directory::open(&path("dir/../relative")).unwrap(), "file")
        .unwrap();
    assert!(path("dir/file").exists());
    assert!(Directory::open(&path("loop")).is_err() && Directory::open(&path("dir/file")).is_err());
    assert_eq!(Directory::open(&path("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    let Opened { directory, made } = Directory::open_or_make(&path("absolute/new"), 0o755).unwrap();
    assert!(path("dir/new").is_dir());
    assert_eq!(directory.path(), path("absolute/new"));
    Opened::unmake(&made.unwrap()).unwrap();
    assert!(!path("dir/new").exists());
}

#[test]
fn links_of_another_user_are_not() {
    let scratch = scratch();
    let (link, target) = (scratch.path().join("link"), scratch.path().join("target"));
    fs::create_dir(&target).unwrap();
    symlink(&target, &link).unwrap();
    if std::os::unix::fs::lchown(&link, Some(61_000), None).is_err() {
        // Root alone can give a link away.
        return;
    }
    let error = Directory::open(&link).unwrap_err();
    assert!(error.to_string().ends_with("is a symbolic link of the user 61000; expected one of this user or of root"));
    assert!(Directory::open_or_make(&link.join("new"), 0o755).is_err());
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
}
