//! Installed artifacts, opened to be run.

use crate::farm::{Farm, Server, artifact, flip, host, overwrite, records_count};
use isomer_contract::{Digest, Hinted};
use isomer_runtime::{FetchError, Request, Trust, VerifyError};
use isomer_store::{Check, Collection, Installed, LoadPath, OpenedArtifact, StoreError, Weakness};
use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

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
    let counts = records_count(server.dir.path());
    let LoadPath::Mapped { hashed_at } = &opened.load_path else {
        // Not as root, or on a file system whose files this machine's kernel does not attest: every time.
        assert!(!counts, "{:?}", opened.load_path);
        let LoadPath::Copied { reasons, recorded } = &opened.load_path else { unreachable!() };
        assert!(!reasons.is_empty() && !recorded, "{reasons:?}");
        let again = open(&installed).expect("it is whole").load_path;
        assert_eq!(again, opened.load_path);
        assert!(again.to_string().starts_with("copied into sealed memory and hashed there, because\n  "));
        return;
    };
    assert!(counts);
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

/// Where this machine records that it hashed the file `artifact`.
fn record_of(artifact: &Path) -> PathBuf {
    let name = artifact.file_stem().expect("it is an artifact's").to_str().expect("it is hexadecimal");
    let inode = fs::metadata(artifact).expect("it exists").ino();
    Path::new("/var/lib/isomer-hashed").join(format!("{name}-{inode}.json"))
}

/// `record` with the value of one of its keys changed.
fn with(record: &str, pointer: &str, value: serde_json::Value) -> String {
    let mut json: serde_json::Value = serde_json::from_str(record).expect("it is JSON");
    *json.pointer_mut(pointer).expect("it has that key") = value;
    json.to_string()
}

#[test]
fn a_record_counts_only_as_root_wrote_it() {
    let (server, installed) = installed();
    if !records_count(server.dir.path()) {
        return;
    }
    let artifact = server.artifact_path("x86-64");
    let record = record_of(&artifact);
    let whole = fs::read_to_string(&record).expect("it was hashed as it was pulled");
    let LoadPath::Mapped { hashed_at } = open(&installed).expect("it is whole").load_path else { panic!("{whole}") };
    assert!(whole.contains(&format!("\"at\":\"{hashed_at}\"")) && !hashed_at.is_empty(), "{whole}");
    let changed = |what| Weakness::Changed { path: fs::canonicalize(&artifact).expect("it exists"), what };
    let missing = || Weakness::NotRecorded(fs::canonicalize(&artifact).expect("it exists"));
    let other = Digest::of(b"other").to_string();
    for (text, expected) in [
        (with(&whole, "/artifact", other.into()), missing()),
        (with(&whole, "/file/size-bytes", 1.into()), changed("size")),
        (with(&whole, "/file/changed/1", 1_000_000_000.into()), changed("time of change")),
        (with(&whole, "/file/born", serde_json::json!([1, 1])), changed("time of birth")),
        (whole.replacen('{', "{\"more\":1,", 1), missing()),
        (whole[..whole.len() / 2].to_owned(), missing()),
        (format!("{}{whole}", " ".repeat(64 << 10)), missing()),
    ] {
        fs::write(&record, &text).expect("root may");
        let LoadPath::Copied { reasons, recorded: true } = open(&installed).expect("it is whole").load_path else {
            panic!("{text}")
        };
        assert_eq!(reasons, [expected], "{text}");
        let mapped = open(&installed).expect("it is whole").load_path;
        assert!(matches!(mapped, LoadPath::Mapped { .. }), "it was recorded again: {mapped}");
    }
    // A record that another user could have written, or put there.
    let spoil: [&dyn Fn(); 3] = [
        &|| fs::set_permissions(&record, Permissions::from_mode(0o646)).expect("root may"),
        &|| fs::remove_file(&record).expect("root may"),
        &|| {
            fs::rename(&record, server.path("record")).expect("root may");
            symlink(server.path("record"), &record).expect("root may");
        },
    ];
    for (number, spoil) in spoil.into_iter().enumerate() {
        spoil();
        let LoadPath::Copied { reasons, recorded: true } = open(&installed).expect("it is whole").load_path else {
            panic!("{number}")
        };
        let writable = Weakness::Writable { path: record.clone(), mode: 0o646 };
        assert_eq!(reasons, [if number == 0 { writable } else { missing() }]);
        assert!(matches!(open(&installed).expect("it is whole").load_path, LoadPath::Mapped { .. }), "{number}");
    }
    // While a process could still write, what is hashed says nothing of what is mapped later.
    fs::remove_file(&record).expect("root may");
    let writer = OpenOptions::new().write(true).open(&artifact).expect("root may");
    let LoadPath::Copied { reasons, recorded: false } = open(&installed).expect("it is whole").load_path else {
        panic!("it is open for writing")
    };
    let real = fs::canonicalize(&artifact).expect("it exists");
    assert_eq!(reasons, [missing(), Weakness::OpenForWriting(real)]);
    drop(writer);
    assert!(!record.exists());
    // Every other way of reading all bytes records them, too.
    server.store.find("sum").and_then(|it| it.check(Check::Bytes)).expect("it is whole");
    assert!(record.exists());
    let real = fs::canonicalize(record.parent().expect("it has one")).expect("it exists");
    let mode = |path: &Path| fs::metadata(path).expect("it exists").permissions().mode() & 0o7777;
    assert_eq!((mode(&real), mode(&record)), (0o755, 0o644));
}

#[test]
fn what_lies_on_another_file_system_than_the_records_is_hashed_each_time() {
    // With it, there are records.
    let (beside, _) = installed();
    let here = &beside.dir;
    let Ok(memory) = tempfile::tempdir_in("/dev/shm") else { return };
    let device = |dir: &Path| fs::metadata(dir).expect("it exists").dev();
    let mount = rustix::fs::statvfs(memory.path()).expect("it exists").f_flag;
    let is_noexec = mount.contains(rustix::fs::StatVfsMountFlags::NOEXEC);
    if !records_count(here.path()) || device(memory.path()) == device(here.path()) || is_noexec {
        return;
    }
    let (farm, server) = (Farm::new(), Server::of(memory));
    server.activate(&farm.release_of("1.0.0", 1, "x86-64").source(), &farm.trust());
    let installed = server.store.find("sum").expect("it is active");
    let (path, records) = (server.artifact_path("x86-64"), PathBuf::from("/var/lib/isomer-hashed"));
    let reasons = vec![Weakness::OtherFileSystem { path, records }];
    for _ in 0..2 {
        let expected = LoadPath::Copied { reasons: reasons.clone(), recorded: false };
        assert_eq!(open(&installed).expect("it is whole").load_path, expected);
    }
    assert!(!record_of(&server.artifact_path("x86-64")).exists());
}

#[test]
fn records_of_files_that_are_gone_are_removed_with_the_next_garbage() {
    let ((gone, _), (stays, _)) = (installed(), installed());
    if !records_count(gone.dir.path()) {
        return;
    }
    let [removed, kept] = [&gone, &stays].map(|server| record_of(&server.artifact_path("x86-64")));
    assert!(removed.exists() && kept.exists());
    drop(gone);
    let nothing = Collection { keep: 9, damaged: false, dry_run: false };
    assert_eq!(stays.store.collect(nothing).expect("it can be read"), []);
    assert!(!removed.exists() && kept.exists());
}

#[test]
fn a_version_is_live_while_a_process_marks_it() {
    let (server, installed) = installed();
    let is_live = || installed.is_live().expect("it can be locked");
    assert!(!is_live());
    let (first, second) = (installed.mark_live().expect("it can be locked"), installed.mark_live());
    assert!(is_live());
    drop(first);
    assert!(is_live(), "two processes had marked it");
    drop(second.expect("it can be locked by several"));
    assert!(!is_live());
    // Any user who can read the store can hold the lock: that ends with an error, not with a wait.
    let index = installed.module().digest.hex();
    let path = server.path("installed").join(index);
    let directory = fs::File::open(&path).expect("it exists");
    directory.lock().expect("no other process has it");
    let error = installed.mark_live().expect_err("it is locked");
    assert_eq!(error.to_string(), format!("cannot lock `{}`", path.display()));
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
    assert!(matches!(&error, StoreError::Open { path: missing, .. } if *missing == path), "{error}");
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
