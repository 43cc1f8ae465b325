//! Installed artifacts, opened to be run.

use crate::farm::{Farm, Server, artifact, flip, host, overwrite};
use isomer_contract::{Digest, Hinted};
use isomer_runtime::{FetchError, Request, Trust, VerifyError};
use isomer_store::{Installed, LoadPath, OpenedArtifact, StoreError, Weakness};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

fn open(installed: &Installed) -> Result<OpenedArtifact, StoreError> {
    let trusted = installed.trust(None)?;
    installed.open(&trusted.choose(&host(), &Request::default()).expect("it runs there"))
}

fn installed() -> (Server, Installed) {
    let (farm, server) = (Farm::new(), Server::new());
    server.activate(&farm.release_of("1.0.0", 1, "x86-64").source(), &farm.trust());
    let installed = server.store.find("sum").expect("it is active");
    (server, installed)
}

#[test]
fn an_artifact_is_mapped_only_while_it_is_the_file_that_was_hashed() {
    let (server, installed) = installed();
    let opened = open(&installed).expect("it is whole");
    assert_eq!(opened.artifact.target(), Some("x86-64-v1"));
    let expected = isomer_contract::Requirements::of_artifact(&artifact("x86-64")).expect("it is an artifact");
    assert_eq!(*opened.artifact.requirements(), expected);
    let LoadPath::Mapped { hashed_at } = &opened.load_path else {
        // Not as root, or on a file system whose files this machine's kernel does not attest: every time.
        let LoadPath::Copied { reasons, recorded } = &opened.load_path else { unreachable!() };
        assert!(!reasons.is_empty() && !recorded, "{reasons:?}");
        let again = open(&installed).expect("it is whole").load_path;
        assert_eq!(again, opened.load_path);
        assert!(again.to_string().starts_with("copied into sealed memory and hashed there, because\n  "));
        return;
    };
    assert!(opened.load_path.to_string().contains(&format!("this machine hashed it at {hashed_at}")));
    let path = server.artifact_path("x86-64");
    std::thread::sleep(std::time::Duration::from_millis(20));
    fs::set_permissions(&path, Permissions::from_mode(0o444)).expect("it is ours");
    let opened = open(&installed).expect("it is whole");
    let LoadPath::Copied { reasons, recorded: true } = &opened.load_path else { panic!("{:?}", opened.load_path) };
    assert!(matches!(&reasons[..], [Weakness::Changed { what: "time of change", .. }]), "{reasons:?}");
    assert!(opened.load_path.to_string().ends_with("that is recorded now: the next process maps it"));
    assert!(matches!(open(&installed).expect("it is whole").load_path, LoadPath::Mapped { .. }));
    // A writable file is never mapped, and a record of it does not count.
    fs::set_permissions(&path, Permissions::from_mode(0o666)).expect("it is ours");
    let LoadPath::Copied { reasons, recorded: false } = open(&installed).expect("it is whole").load_path else {
        panic!("every user can write it")
    };
    assert!(matches!(&reasons[..], [Weakness::Writable { mode: 0o666, .. }]), "{reasons:?}");
}

#[test]
fn an_altered_artifact_is_refused_however_it_is_opened() {
    let (server, installed) = installed();
    let path = server.artifact_path("x86-64");
    flip(&path);
    let trusted = installed.trust(None).expect("the store is ours");
    let chosen = trusted.choose(&host(), &Request::default()).expect("it runs there");
    let altered = |error: &StoreError| {
        let StoreError::Fetch(FetchError::Verify { source: VerifyError::DigestMismatch { found, expected }, .. }) =
            error
        else {
            return false;
        };
        (*found, *expected) == (Digest::of(&fs::read(&path).expect("it exists")), Digest::of(&artifact("x86-64")))
    };
    assert!(altered(&installed.open(&chosen).expect_err("it was altered")));
    assert!(altered(&installed.verify(&chosen).expect_err("it was altered")));
    overwrite(&path, &artifact("x86-64"));
    installed.verify(&chosen).expect("it is whole again");
    fs::remove_file(&path).expect("it is ours");
    let error = installed.open(&chosen).expect_err("it is missing");
    assert!(matches!(error, StoreError::Open { .. }), "{error}");
    assert_eq!(error.hint().as_deref(), Some("pull it again"));
    // Neither a link nor a directory is the artifact.
    std::os::unix::fs::symlink("/etc/passwd", &path).expect("it is ours");
    assert!(matches!(installed.open(&chosen), Err(StoreError::Open { .. })));
}

#[test]
fn only_installed_variants_are_chosen_and_trust_is_evaluated_again() {
    let (farm, server) = (Farm::new(), Server::new());
    let release = farm.release("1.0.0", 1, &[("pulley64", "pulley64"), ("x86-64-v1", "x86-64")]);
    server.pull_as(&release.source(), &farm.trust(), Some("pulley64"), true).expect("it is trusted");
    let installed = server.store.find("sum").expect("it is active");
    let targets = |trust: Option<&Trust>| {
        let trusted = installed.trust(trust).expect("it is trusted");
        trusted.module().variants.iter().map(|it| it.target.clone()).collect::<Vec<_>>()
    };
    assert_eq!(targets(None), ["pulley64"]);
    assert_eq!(targets(Some(&farm.trust())), ["pulley64"]);
    assert_eq!(targets(Some(&Trust::Digest(release.index))), ["pulley64"]);
    let error = installed.trust(Some(&Farm::new().trust())).expect_err("another key signed it");
    assert!(matches!(error, StoreError::Trust(_)), "{error}");
    let error = installed.trust(Some(&Trust::Digest(Digest::of(b"other")))).expect_err("another digest");
    assert!(matches!(error, StoreError::Trust(_)), "{error}");
}
