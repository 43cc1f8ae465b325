//! What a pull installs, and what it refuses with nothing installed.

use crate::farm::{Farm, Server, artifact, flip, host, overwrite};
use isomer_contract::manifest::Blob;
use isomer_contract::{Demand, Digest, Hinted};
use isomer_runtime::{SelectError, Trust, TrustError};
use isomer_store::{Check, Progress, Pulled, StoreError, TrustBasis, Wanted};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;

const BOTH: [(&str, &str); 2] = [("pulley64", "pulley64"), ("x86-64-v1", "x86-64")];

#[test]
fn the_variant_for_the_host_is_installed_once() {
    let (farm, server) = (Farm::new(), Server::new());
    let release = farm.release("1.0.0", 1, &BOTH);
    let (trust, host, demand) = (farm.trust(), host(), Demand::default());
    let wanted = Wanted { trust: &trust, host: &host, demand: &demand, target: None, activate: false };
    let progress = Mutex::new((0, 0));
    let on_progress = |event| {
        let mut progress = progress.lock().expect("no test panicked");
        match event {
            Progress::Layer { size_bytes } => progress.0 += size_bytes,
            Progress::Bytes(bytes) => progress.1 += bytes,
        }
    };
    let pulled = server.store.pull(&release.source(), &wanted, &on_progress).expect("it is trusted");
    let (announced, transferred) = std::mem::take(&mut *progress.lock().expect("no test panicked"));
    assert!(announced > 0);
    let expected = Pulled {
        module: "sum".to_owned(),
        reference: "sum:1.0.0".to_owned(),
        index: release.index,
        target: "x86-64-v1".to_owned(),
        artifact: Blob::of(&artifact("x86-64")),
        trust_basis: TrustBasis::Keys(vec!["farm".to_owned()]),
        transferred_bytes: announced,
        new: true,
        resolved: None,
    };
    assert_eq!((&pulled, transferred), (&expected, announced));

    let path = server.artifact_path("x86-64");
    assert_eq!(fs::read(&path).expect("it is installed"), artifact("x86-64"));
    assert_eq!(fs::metadata(&path).expect("it is installed").permissions().mode() & 0o7777, 0o444);
    assert_eq!(server.names("installed"), [release.index.hex()]);
    assert_eq!((server.names("artifacts").len(), server.names("active").len()), (1, 0));
    assert_eq!((server.names("tmp"), server.names("partial")), (vec![], vec![]));
    let installed = server.store.find("sum:1.0.0").expect("it is installed");
    assert_eq!((installed.record().from.as_str(), installed.is_active()), ("oci-dir:dist", false));
    assert_eq!(installed.variants().expect("it is whole").len(), 1);

    let again = server.store.pull(&release.source(), &wanted, &on_progress).expect("it is trusted");
    assert_eq!(again, Pulled { transferred_bytes: 0, new: false, ..expected });
    assert_eq!(*progress.lock().expect("no test panicked"), (0, 0), "nothing is fetched again");

    let other = server.pull_as(&release.source(), &trust, Some("pulley64"), false).expect("the release has it");
    assert_eq!((other.target.as_str(), other.new), ("pulley64", true));
    assert_eq!(server.store.find("sum:1.0.0").expect("it is installed").variants().expect("it is whole").len(), 2);
    assert_eq!((server.names("installed").len(), server.names("artifacts").len()), (1, 2));
}

#[test]
fn what_is_not_trusted_or_does_not_run_is_not_installed() {
    let (farm, server) = (Farm::new(), Server::new());
    let signed = farm.release("1.0.0", 1, &BOTH);
    let unsigned = farm.release_unsigned("1.0.0", 1, &BOTH);
    let other = Trust::Digest(Digest::of(b"other"));
    let untrusted = |error: StoreError| matches!(error, StoreError::Trust(TrustError::Untrusted { .. }));
    assert!(untrusted(server.pull(&unsigned.source(), &farm.trust()).expect_err("no key signed it")));
    assert!(untrusted(server.pull(&signed.source(), &Farm::new().trust()).expect_err("another key signed it")));
    let error = server.pull(&signed.source(), &other).expect_err("another digest is trusted");
    assert!(matches!(error, StoreError::Trust(TrustError::DigestMismatch { .. })), "{error}");
    let error = server.pull_as(&signed.source(), &farm.trust(), Some("z15"), true).expect_err("it has none");
    assert!(matches!(error, StoreError::Select(SelectError::NoVariant { .. })), "{error}");
    let windows = farm.release("1.0.0", 1, &[("x86-64-v1", "x86-64-windows")]);
    let error = server.pull(&windows.source(), &farm.trust()).expect_err("it is for another system");
    assert!(matches!(error, StoreError::Select(SelectError::NoneRuns { .. })), "{error}");
    for name in ["installed", "artifacts", "active", "tmp", "partial"] {
        assert_eq!(server.names(name), [""; 0], "{name}");
    }
    assert_eq!(server.store.remembered_counters().expect("it can be read"), []);
}

#[test]
fn the_module_and_version_must_be_the_requested_ones() {
    let (farm, server) = (Farm::new(), Server::new());
    let release = farm.release_of("1.0.0", 1, "pulley64");
    let pull = |module, tag| {
        let mut source = release.source();
        source.requested = Some((module, tag));
        server.pull(&source, &farm.trust())
    };
    let error = pull(Some("resize"), Some("1.0.0")).expect_err("it holds another module");
    assert_eq!(error.to_string(), "`oci-dir:dist` holds the module `sum`, expected `resize`");
    assert!(error.hint().expect("it has one").contains("if `sum` is what you want"));
    let error = pull(Some("sum"), Some("1.1.0")).expect_err("it holds another version");
    assert_eq!(error.to_string(), "`oci-dir:dist` holds the version 1.0.0, expected 1.1.0");
    assert!(error.hint().expect("it has one").contains("if 1.0.0 is what you want"));
    assert_eq!(server.names("installed"), [""; 0]);
    assert_eq!(pull(Some("sum"), Some("stable")).expect("a tag is no version").resolved.as_deref(), Some("stable"));
    assert_eq!(pull(None, None).expect("any is requested").resolved, None);
}

#[test]
fn a_second_pull_keeps_the_stronger_trust_basis() {
    let (farm, server) = (Farm::new(), Server::new());
    let release = farm.release_of("1.0.0", 4, "pulley64");
    let basis = |trust: &Trust| server.pull(&release.source(), trust).expect("it is trusted").trust_basis;
    assert_eq!(basis(&Trust::Unsigned), TrustBasis::Unsigned);
    assert_eq!(basis(&Trust::Digest(release.index)), TrustBasis::Digest);
    let keys = TrustBasis::Keys(vec!["farm".to_owned()]);
    assert_eq!(basis(&farm.trust()), keys);
    assert_eq!(basis(&Trust::Unsigned), keys);
    let installed = server.store.find("sum:1.0.0").expect("it is installed");
    assert_eq!(installed.record().release.as_ref().map(|release| release.counter), Some(4));
    assert_eq!(installed.record().key_ids.len(), 1);
}

#[test]
fn the_same_key_under_a_new_name_is_recorded_under_that() {
    let (farm, server) = (Farm::new(), Server::new());
    let release = farm.release_of("1.0.0", 4, "pulley64");
    server.pull(&release.source(), &farm.trust()).expect("it is trusted");
    let renamed = server.pull(&release.source(), &farm.trust_as("farm 2026")).expect("it is trusted");
    assert_eq!(renamed.trust_basis, TrustBasis::Keys(vec!["farm 2026".to_owned()]));
}

#[test]
fn signatures_that_are_installed_count_for_the_same_index() {
    let (farm, server) = (Farm::new(), Server::new());
    let [signed, unsigned] = [farm.release("1.0.0", 4, &BOTH), farm.release_unsigned("1.0.0", 4, &BOTH)];
    assert_eq!(signed.index, unsigned.index);
    server.pull(&signed.source(), &farm.trust()).expect("it is signed");
    let pulled = server.pull_as(&unsigned.source(), &farm.trust(), Some("pulley64"), false);
    assert_eq!(pulled.expect("it was signed").trust_basis, TrustBasis::Keys(vec!["farm".to_owned()]));
    Server::new().pull(&unsigned.source(), &farm.trust()).expect_err("it is not signed there");
}

#[test]
fn only_an_index_is_installed() {
    let (farm, server) = (Farm::new(), Server::new());
    let release = farm.release_of("1.0.0", 1, "pulley64");
    let mut source = release.source();
    source.index = Some(release.manifest());
    let error = server.pull(&source, &Trust::Unsigned).expect_err("it is one variant alone");
    assert!(matches!(error, StoreError::NoIndex { .. }), "{error}");
    source.index = Some(b"{}".to_vec());
    let error = server.pull(&source, &Trust::Unsigned).expect_err("it is no index");
    assert!(matches!(error, StoreError::Layout(_)), "{error}");
    assert_eq!(server.names("installed"), [""; 0]);
}

#[test]
fn what_is_damaged_is_replaced() {
    let (farm, server) = (Farm::new(), Server::new());
    let release = farm.release_of("1.0.0", 1, "pulley64");
    let pulled = server.pull(&release.source(), &farm.trust()).expect("it is trusted");
    let path = server.artifact_path("pulley64");
    let check = |check| server.store.find("sum:1.0.0").and_then(|installed| installed.check(check));
    // One byte, another size, none, a directory; then the documents.
    let spoil: [(&str, &dyn Fn()); 5] = [
        ("byte", &|| flip(&path)),
        ("size", &|| overwrite(&path, b"short")),
        ("missing", &|| fs::remove_file(&path).expect("it is ours")),
        ("directory", &|| {
            fs::remove_file(&path).expect("it is ours");
            fs::create_dir(&path).expect("it is ours");
        }),
        ("index", &|| {
            flip(&server.path(&format!("installed/{0}/blobs/sha256/{0}", release.index.hex())));
        }),
    ];
    for (what, spoil) in spoil {
        check(Check::Bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
        spoil();
        assert!(check(Check::Bytes).is_err(), "{what}");
        assert_eq!(check(Check::Sizes).is_ok(), what == "byte", "{what}");
        let again = server.pull(&release.source(), &farm.trust()).expect("it is trusted");
        assert_eq!(again.new, what == "index", "{what}");
        let fetched = if what == "index" { 0 } else { pulled.transferred_bytes };
        assert_eq!(again.transferred_bytes, fetched, "{what}");
    }
    check(Check::Bytes).expect("it is whole");
    assert_eq!(server.names("tmp"), [""; 0]);
}

#[test]
fn unreadable_signatures_are_told_from_missing_ones() {
    let (farm, server) = (Farm::new(), Server::new());
    let release = farm.release_of("1.0.0", 1, "pulley64");
    let bundle = release.bundle();
    flip(&release.blob(bundle));
    let error = server.pull(&release.source(), &farm.trust()).expect_err("its signature is damaged");
    let StoreError::UnreadableSignatures { unreadable, .. } = &error else { panic!("{error}") };
    assert_eq!(unreadable.len(), 1);
    assert!(error.to_string().starts_with("no signature of `oci-dir:dist` can be read: "), "{error}");
    assert!(error.to_string().contains(&bundle.hex()), "{error}");
    assert!(error.hint().expect("it has one").contains("then push or copy the release with its signatures again"));
    assert_eq!(server.names("installed"), [""; 0]);
    server.pull(&release.source(), &Trust::Digest(release.index)).expect("signatures do not matter");
}
