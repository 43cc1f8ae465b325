//! In: directories of a test. Out: what is found in them, and what a removal leaves.

use super::*;
use crate::weakness::Weakness;
use rustix::fs::{CWD, mknodat};
use rustix::process::geteuid;
use std::fs::{self, Permissions};
use std::io::ErrorKind;
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
    // What has the name of a later part in an earlier one's directory is something else.
    let walked = Directory::walk(&dir.path().join("missing/artifacts")).expect("it can be walked");
    assert_eq!(walked.missing, ["missing", "artifacts"]);
    assert_eq!(walked.directory.real, dir.path());
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

/// Why something is not what was expected of it.
fn reason<T: std::fmt::Debug>(found: Result<T, StoreError>) -> String {
    match found {
        Err(StoreError::Malformed { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_has_the_wrong_type_is_named_and_what_is_missing_is_none() {
    let dir = store();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("file"), b"bytes").expect("there is room");
    symlink("artifacts", path("link")).expect("there is room");
    mknodat(CWD, path("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("there is room");
    let opened = open(dir.path());
    for (name, directory, file, to_write) in [
        ("artifacts", "", "it is a directory, expected a file", ""),
        ("file", "it is no directory, expected a directory", "", ""),
        (
            "link",
            "it is a symbolic link, expected a directory",
            "it is a symbolic link, expected a file",
            "it is a symbolic link, expected a file",
        ),
        (
            "pipe",
            "it is no directory, expected a directory",
            "it is a device, socket or pipe, expected a file",
            "it is a device, socket or pipe, expected a file",
        ),
    ] {
        match opened.directory(name) {
            Ok(found) => assert!(found.is_some() && directory.is_empty(), "{name}"),
            error => assert_eq!(reason(error), directory),
        }
        match opened.file(name) {
            Ok(found) => assert!(found.is_some() && file.is_empty(), "{name}"),
            error => assert_eq!(reason(error), file),
        }
        match opened.file_to_write(name) {
            Ok(_) | Err(StoreError::Io { .. }) => assert_eq!(to_write, "", "{name}"),
            error => assert_eq!(reason(error), to_write),
        }
        match opened.judge(name) {
            Ok(found) => assert!(found.is_some() && name != "link", "{name}"),
            error => assert_eq!(reason(error), "it is a symbolic link"),
        }
        assert!(opened.stat(name).expect("it can be read").is_some(), "{name}");
    }
    assert!(opened.directory("missing").expect("it can be read").is_none());
    assert!(opened.file("missing").expect("it can be read").is_none());
    assert!(opened.judge("missing").expect("it can be read").is_none());
    assert!(opened.stat("missing").expect("it can be read").is_none());
    // Any other error is told with the name.
    let long = "x".repeat(300);
    let told = |error: StoreError| matches!(&error, StoreError::Io { path, .. } if *path == dir.path().join(&long));
    assert!(told(opened.directory(&long).expect_err("it is too long")));
    assert!(told(opened.file(&long).expect_err("it is too long")));
    assert!(told(opened.judge(&long).expect_err("it is too long")));
    assert!(told(opened.stat(&long).expect_err("it is too long")));
    assert!(told(opened.remove(&long).expect_err("it is too long")));
    assert!(told(opened.make_directory(&long).expect_err("it is too long")));
    let in_it = |error: StoreError| matches!(error, StoreError::Io { path, .. } if path == dir.path());
    assert!(in_it(opened.new_directory(&long).expect_err("it is too long")));
}

#[test]
fn what_is_made_has_its_permissions_and_replaces_nothing() {
    let dir = store();
    let opened = open(dir.path());
    let mode = |name: &str| fs::metadata(dir.path().join(name)).expect("it exists").permissions().mode() & 0o7777;
    opened.make_directory("part").expect("there is room");
    let own = opened.new_directory("own").expect("there is room").expect("it is new");
    opened.new_file("file").expect("there is room");
    opened.file_to_write("lock").expect("there is room");
    opened.write_new("deep/down/document", b"bytes").expect("there is room");
    for (name, expected) in [
        ("part", 0o755),
        ("own", 0o700),
        ("file", 0o600),
        ("lock", 0o600),
        ("deep", 0o755),
        ("deep/down", 0o755),
        ("deep/down/document", 0o644),
    ] {
        assert_eq!(mode(name), expected, "{name}");
    }
    assert_eq!(fs::read(dir.path().join("deep/down/document")).expect("it exists"), b"bytes");
    fs::write(dir.path().join("part/content"), b"bytes").expect("it is ours");
    opened.make_directory("part").expect("it exists");
    assert!(opened.new_directory("part").expect("it can be read").is_none());
    assert!(dir.path().join("part/content").exists());
    for result in [opened.new_file("file").map(drop), opened.write_new("deep/down/document", b"new")] {
        let Err(StoreError::Io { source, .. }) = result else { panic!("{result:?}") };
        assert_eq!(source.kind(), ErrorKind::AlreadyExists);
    }
    fs::write(dir.path().join("lock"), b"kept").expect("it is ours");
    assert_eq!(opened.file_to_write("lock").expect("it exists").stat.st_size, 4);
    own.write_new("deep/document", b"bytes").expect("there is room");
    own.clear().expect("it is ours");
    assert_eq!(fs::read_dir(dir.path().join("own")).expect("it stays").count(), 0);
}

#[test]
fn only_one_name_is_taken_at_a_time() {
    for (name, expected) in [
        ("name", true),
        ("...", true),
        (".hidden", true),
        ("", false),
        (".", false),
        ("..", false),
        ("a/b", false),
        ("/a", false),
        ("a/", false),
    ] {
        assert_eq!(is_one_name(OsStr::new(name)), expected, "{name}");
    }
}

#[test]
fn a_path_is_followed_as_the_kernel_does() {
    let dir = store();
    let real = fs::canonicalize(dir.path()).expect("it exists");
    assert_eq!(open(&real.join("artifacts/../artifacts/./..")).real, real);
    // Through a link, `..` is the target's.
    fs::create_dir_all(real.join("a/b")).expect("there is room");
    symlink("a/b", real.join("to-b")).expect("there is room");
    symlink(real.join("a"), real.join("to-a")).expect("there is room");
    assert_eq!(open(&real.join("to-b/..")).real, real.join("a"));
    assert_eq!(open(&real.join("to-a/b")).real, real.join("a/b"));
    assert_eq!(open(&real.join("to-a")).path(), real.join("to-a"));
    // As many links as the kernel follows, and one more.
    symlink("artifacts", real.join("1")).expect("there is room");
    (2..=41).for_each(|number: u32| {
        symlink((number - 1).to_string(), real.join(number.to_string())).expect("there is room");
    });
    assert_eq!(open(&real.join("40")).real, real.join("artifacts"));
    assert!(fs::metadata(real.join("40")).is_ok() && fs::metadata(real.join("41")).is_err());
    let error = |name: &str| match Directory::walk(&real.join(name)) {
        Err(StoreError::Io { source, .. }) => source,
        Err(error) => panic!("{name}: {error}"),
        Ok(_) => panic!("{name} leads to a directory"),
    };
    assert_eq!(error("41").to_string(), "too many symbolic links");
    assert_eq!(error("artifacts/file/deeper").kind(), ErrorKind::NotADirectory);
    assert_eq!(error("missing/../artifacts").kind(), ErrorKind::NotFound);
    assert_eq!(error(&"x".repeat(300)).kind(), ErrorKind::InvalidFilename);
    let error = Directory::walk(&real.join("artifacts/file")).map(|_| ()).expect_err("it is a file");
    assert!(matches!(&error, StoreError::NotAStore { found, .. } if found == "it is not a directory"), "{error}");
}

#[test]
fn no_more_of_a_file_is_read_than_its_limit_and_one_byte() {
    let dir = store();
    let opened = open(dir.path());
    for (size_bytes, expected) in [(0, 0), (9, 9), (10, 10), (11, 11), (12, 11), (100, 11)] {
        fs::write(dir.path().join("document"), vec![b'x'; size_bytes]).expect("it is ours");
        let read = opened.read_bytes("document", 10).expect("it can be read").expect("it exists");
        assert_eq!(read.value.len(), expected);
    }
    let json = |size_bytes: usize| format!("{}{{}}", " ".repeat(size_bytes - 2));
    for (size_bytes, is_read) in [(1 << 20, true), ((1 << 20) + 1, false)] {
        fs::write(dir.path().join("document"), json(size_bytes)).expect("it is ours");
        assert_eq!(opened.read::<serde_json::Value>("document").is_ok(), is_read, "{size_bytes}");
    }
    assert!(opened.read::<serde_json::Value>("missing").expect("it can be read").is_none());
}
