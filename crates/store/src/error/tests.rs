//! Which errors are damage, which have a hint, and which words they have.

use super::*;

fn io(code: i32) -> StoreError {
    io_error("read", "/store/x".as_ref())(io::Error::from_raw_os_error(code))
}

fn layout(code: i32) -> StoreError {
    StoreError::Layout(LayoutError::Io { file: PathBuf::from("/store/x"), source: io::Error::from_raw_os_error(code) })
}

#[test]
fn only_what_is_wrong_with_a_file_is_damage() {
    let digest = Digest::of(b"index");
    for code in [libc::ENOENT, libc::ENOTDIR, libc::EISDIR, libc::ELOOP, libc::ENXIO] {
        assert!(io(code).is_damage() && layout(code).is_damage(), "{code}");
        assert!(unless_damaged::<()>(Err(io(code))).is_ok_and(|read| read.is_none()), "{code}");
        assert!(matches!(io(code).damages(digest), StoreError::Damaged { index, .. } if index == digest), "{code}");
    }
    for code in [libc::EACCES, libc::EMFILE, libc::ENFILE, libc::EIO, libc::ENOSPC, libc::ENOMEM, libc::EINTR] {
        assert!(!io(code).is_damage() && !layout(code).is_damage(), "{code}");
        assert!(unless_damaged::<()>(Err(io(code))).is_err(), "{code}");
        assert!(matches!(io(code).damages(digest), StoreError::Io { .. }), "{code}");
    }
    for (kind, expected) in [
        (ErrorKind::NotFound, true),
        (ErrorKind::Other, true),
        (ErrorKind::UnexpectedEof, false),
        (ErrorKind::PermissionDenied, false),
    ] {
        assert_eq!(is_damage(&io::Error::from(kind)), expected, "{kind}");
    }
    let missing = LayoutError::MissingBlob { file: PathBuf::from("x"), named_by: PathBuf::from("y") };
    assert!(StoreError::Layout(missing).is_damage());
    let malformed = StoreError::Malformed { file: PathBuf::from("x"), reason: String::new() };
    assert!(malformed.is_damage());
    assert!(malformed.damages(digest).is_damage());
    // What a newer isomer wrote is not damaged.
    let newer = ManifestError::Newer { found: 9 };
    let newer = LayoutError::Variant { file: PathBuf::from("x"), source: newer };
    assert!(!StoreError::Layout(newer).is_damage());
    assert!(!StoreError::NothingEarlier { module: "sum".to_owned() }.is_damage());
    assert!(matches!(unless_damaged(Ok(7)), Ok(Some(7))));
}

#[test]
fn hints_depend_on_the_file_the_weakness_and_the_systems_error() {
    let (dir, digest) = (|| PathBuf::from("/store"), Digest::of(b"index"));
    let malformed = |file: &str| StoreError::Malformed { file: dir().join(file), reason: "it is cut".to_owned() };
    let writable = || Weakness::Writable { path: PathBuf::from("/store/lock"), mode: 0o666 };
    let opening = |code| StoreError::Open {
        target: "x86-64-v3".to_owned(),
        path: PathBuf::from("/store/x"),
        source: io::Error::from_raw_os_error(code),
    };
    let not_active = |instead| StoreError::NotActive {
        module: "sum".to_owned(),
        dir: dir(),
        installed: vec!["sum:1.0.0".to_owned()],
        instead,
    };
    let text = str::to_owned;
    for (error, hint) in [
        (StoreError::NoStore { dir: dir() }, "pull a module"),
        (StoreError::Schema { file: dir().join("store.json"), found: 2 }, "another version of isomer"),
        (StoreError::CountersFull { file: dir().join("counters.json") }, "forget the counters"),
        (StoreError::NoIndex { from: text("x") }, "`-wasm`"),
        (malformed("counters.json"), "it keeps older releases out"),
        (malformed("store.json"), "expected `{\"schema\":1}`"),
        (malformed("active/sum.json"), "activate a version of `sum` again"),
        (malformed("installed/x/install.json"), "remove it and pull again"),
        (StoreError::NotTrusted { dir: dir(), weakness: writable() }, "`chmod go-w /store/lock`, or state"),
        (StoreError::NotTrusted { dir: dir(), weakness: Weakness::Sticky(dir()) }, "state which keys"),
        (StoreError::NotOurs { dir: dir(), weakness: writable() }, "`chmod go-w /store/lock`, or use"),
        (StoreError::NotOurs { dir: dir(), weakness: Weakness::Sticky(dir()) }, "as the user who owns"),
        (not_active(Some(Instead::RollBack(text("sum")))), "roll `sum` back"),
        (not_active(None), ""),
        (StoreError::Ambiguous { what: text("sum"), choices: vec![] }, ""),
        (StoreError::NothingEarlier { module: text("sum") }, "can be activated"),
        (StoreError::OtherArtifact { target: text("x"), found: digest, expected: digest }, "build the release again"),
        (StoreError::Removed { reference: text("sum:1.0.0") }, "pull it again"),
        (opening(libc::ENOENT), "pull it again"),
        (opening(libc::EACCES), "must be able to read `/store/x`, and to enter all directories above"),
        (opening(libc::EMFILE), ""),
        (io(libc::ENOSPC), "the disk is full"),
        (io(libc::EROFS), "as the user who owns the store"),
        (io(libc::EACCES), "as the user who owns the store"),
        (io(libc::ENOTDIR), "a part of that path is not a directory"),
        (io(libc::EMFILE), ""),
    ] {
        let found = error.hint().unwrap_or_default();
        assert!(found.contains(hint) && found.is_empty() == hint.is_empty(), "{error}: {found}");
    }
}

#[test]
fn what_is_installed_is_listed() {
    let error = |installed: &[&str]| StoreError::NotInstalled {
        what: "resize".to_owned(),
        dir: PathBuf::from("/store"),
        nearest: None,
        installed: installed.iter().map(|name| (*name).to_owned()).collect(),
    };
    assert_eq!(error(&[]).to_string(), "`resize` is not installed in `/store`");
    let expected = "`resize` is not installed in `/store`; installed are sort:1.0.0, sum:1.0.0";
    assert_eq!(error(&["sort:1.0.0", "sum:1.0.0"]).to_string(), expected);
    let space = StoreError::Space { dir: PathBuf::from("/store"), needed_bytes: 10, available_bytes: 4 };
    assert_eq!(space.to_string(), "`/store` needs 10 bytes of free space and has 4: 6 are missing");
}
