//! Stores that another user could change, and directories that are not stores.

use crate::farm::{Farm, Server, pull};
use isomer_contract::Hinted;
use isomer_runtime::Trust;
use isomer_store::{Collection, Store, StoreError};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
}

#[test]
fn a_store_that_others_can_write_is_neither_changed_nor_a_trust_basis() {
    let (farm, server) = (Farm::new(), Server::new());
    let release = farm.release_of("1.0.0", 1, "pulley64");
    server.activate(&release.source(), &farm.trust());
    for name in ["", "active", "installed", "artifacts", "tmp", "counters.json", "store.json", "lock"] {
        let path = server.path(name);
        let before = fs::metadata(&path).expect("it exists").permissions().mode() & 0o7777;
        mode(&path, before | 0o022);
        let store = Store::open(&server.path("")).expect("it is a store");
        let refused = [
            pull(&store, &release.source(), &farm.trust(), None, true).map(drop),
            store.activate("sum").map(drop),
            store.rollback("sum").map(drop),
            store.collect(Collection { keep: 0, damaged: true, dry_run: false }).map(drop),
            store.forget_counters("sum").map(drop),
        ];
        for result in refused {
            let error = result.expect_err(name);
            assert!(matches!(error, StoreError::NotOurs { .. }), "{name}: {error}");
            assert!(error.hint().expect("it has one").starts_with("`chmod go-w "), "{error}");
        }
        let trusted = store.find("sum:1.0.0").expect("it can be read").trust(None);
        let decides = ["", "active", "installed", "store.json"].contains(&name);
        assert_eq!(matches!(trusted, Err(StoreError::NotTrusted { .. })), decides, "{name}");
        // Signatures and digests do not depend on who wrote the store.
        store.find("sum:1.0.0").and_then(|it| it.trust(Some(&farm.trust()))).expect("its signature is right");
        store.find("sum:1.0.0").and_then(|it| it.trust(Some(&Trust::Digest(release.index)))).expect("so is its digest");
        mode(&path, before);
    }
    server.pull(&release.source(), &farm.trust()).expect("it is ours again");
    server.store.find("sum").and_then(|it| it.trust(None)).expect("it is ours again");
}

#[test]
fn a_record_that_others_could_write_is_replaced_by_the_next_pull() {
    let (farm, server) = (Farm::new(), Server::new());
    let [first, second] = [("1.0.0", 1, "pulley64"), ("1.1.0", 2, "pulley64-epoch")]
        .map(|(version, counter, name)| farm.release_of(version, counter, name));
    server.activate(&first.source(), &farm.trust());
    server.activate(&second.source(), &farm.trust());
    let record = server.path(&format!("installed/{}/install.json", first.index.hex()));
    mode(&record, 0o666);
    for result in [server.store.activate("sum:1.0.0"), server.store.rollback("sum")] {
        let error = result.expect_err("another user could have written it");
        assert!(matches!(&error, StoreError::InstalledNotTrusted { index, .. } if *index == first.index), "{error}");
        assert_eq!(error.hint().as_deref(), Some("pull it again: that replaces it"));
    }
    assert!(server.store.find("sum:1.0.0").expect("it is installed").trust(None).is_err());
    let Trust::Signed(mut signers) = farm.trust() else { unreachable!("keys are trusted") };
    signers.allow_rollback = true;
    let pulled = server.pull(&first.source(), &Trust::Signed(signers)).expect("it is allowed");
    assert!(pulled.new, "what others could have written is not added to");
    assert_eq!(server.store.rollback("sum").expect("it is ours").module().reference, "sum:1.0.0");

    let active = server.path("active/sum.json");
    mode(&active, 0o666);
    let error = server.store.rollback("sum").expect_err("another user could have written it");
    assert!(matches!(error, StoreError::ActiveNotTrusted { .. }), "{error}");
    assert_eq!(error.hint().as_deref(), Some("activate a version of `sum` again"));
    server
        .store
        .find("sum")
        .expect("it can be read")
        .trust(None)
        .expect_err("its version may be another user's choice");
    server.store.activate("sum:1.1.0").expect("that replaces it");
    assert!(matches!(server.store.rollback("sum"), Err(StoreError::NothingEarlier { .. })));
}

#[test]
fn only_a_store_is_opened_and_only_an_empty_directory_becomes_one() {
    let dir = tempfile::tempdir().expect("there is room");
    let at = |name: &str| dir.path().join(name);
    assert!(matches!(Store::open(&at("missing")), Err(StoreError::NoStore { .. })));
    fs::create_dir(at("empty")).expect("it is ours");
    assert!(matches!(Store::open(&at("empty")), Err(StoreError::NoStore { .. })));
    for name in ["empty", "missing/deeper"] {
        let store = Store::create(&at(name)).expect("it is empty");
        assert_eq!(store.dir(), at(name));
        Store::open(&at(name)).expect("it is one now");
        Store::create(&at(name)).expect("it is one already");
        assert_eq!(fs::metadata(at(name).join("lock")).expect("it exists").permissions().mode() & 0o777, 0o600);
    }
    fs::create_dir(at("other")).expect("it is ours");
    fs::write(at("other/notes"), b"mine").expect("it is ours");
    fs::write(at("file"), b"mine").expect("it is ours");
    for name in ["other", "file"] {
        let error = Store::create(&at(name)).expect_err("it holds other things");
        assert!(matches!(error, StoreError::NotAStore { .. }), "{error}");
        assert_eq!(error.hint().as_deref(), Some("name a new or empty directory"));
    }
    assert_eq!(fs::read_dir(at("other")).expect("it exists").count(), 1);
    for (text, message) in [
        ("{\"schema\":2}", "has the schema 2, expected 1"),
        ("{}", "is malformed: it has no `schema`"),
        ("{", "is malformed: "),
    ] {
        fs::write(at("empty/store.json"), text).expect("it is ours");
        let error = Store::open(&at("empty")).expect_err(text);
        assert!(error.to_string().contains(message), "{error}");
        assert!(error.hint().is_some(), "{error}");
    }
    // What another process has begun to create is not a store yet, and not a directory of other things.
    fs::create_dir_all(at("begun/tmp")).expect("it is ours");
    fs::write(at("begun/lock"), b"").expect("it is ours");
    assert!(matches!(Store::open(&at("begun")), Err(StoreError::NoStore { .. })));
    Store::create(&at("begun")).expect("it is empty but for that");
    fs::create_dir_all(at("part/tmp")).expect("it is ours");
    fs::write(at("part/notes"), b"mine").expect("it is ours");
    assert!(matches!(Store::open(&at("part")), Err(StoreError::NotAStore { .. })));
    // A link on the way is followed, a circle of links is an error.
    std::os::unix::fs::symlink("missing", at("link")).expect("it is ours");
    Store::open(&at("link/deeper")).expect("it leads to one");
    assert_eq!(Store::create(&at("link/new")).expect("it is new").dir(), at("link/new"));
    std::os::unix::fs::symlink("circle", at("circle")).expect("it is ours");
    assert!(matches!(Store::open(&at("circle")), Err(StoreError::Io { .. })));
}
