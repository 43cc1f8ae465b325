//! What `collect` removes and keeps.

use crate::farm::{Farm, Released, Server, artifact, flip, overwrite};
use isomer_store::{Collection, Garbage, GarbageKind};
use std::fs;

const ALL: [&str; 6] = ["pulley64", "pulley64-epoch", "x86-64", "x86-64-fuel", "x86-64-epoch", "x86-64-nan"];

const NONE: Collection = Collection { keep: 9, damaged: false, dry_run: false };

/// `sum:1.0.0` to `sum:1.5.0`, pulled in this order. The first `active` of them were activated.
fn with(active: usize) -> (Server, Vec<Released>) {
    let (farm, server) = (Farm::new(), Server::new());
    let releases: Vec<_> =
        ALL.iter().enumerate().map(|(at, name)| farm.release_of(&format!("1.{at}.0"), at as u64, name)).collect();
    for (at, release) in releases.iter().enumerate() {
        let activate = at < active;
        server.pull_as(&release.source(), &farm.trust(), None, activate).expect("it is trusted");
    }
    (server, releases)
}

fn collect(server: &Server, collection: Collection) -> Vec<Garbage> {
    server.store.collect(collection).expect("it can be read")
}

/// The minor versions of the modules, and the number of artifacts.
fn modules(garbage: &[Garbage]) -> (Vec<String>, usize) {
    let mut references: Vec<_> = garbage
        .iter()
        .filter_map(|it| match &it.kind {
            GarbageKind::Module { reference, .. } => Some(reference.clone()),
            _ => None,
        })
        .collect();
    references.sort();
    (references, garbage.iter().filter(|it| it.kind == GarbageKind::Artifact).count())
}

fn left(server: &Server) -> Vec<String> {
    let (all, damaged) = server.store.installed().expect("it can be read");
    assert_eq!(damaged.len(), 0);
    let mut references: Vec<_> = all.iter().map(|it| it.module().reference.clone()).collect();
    references.sort();
    references
}

#[test]
fn the_active_version_and_those_around_it_stay() {
    // 1.4.0 is active, 1.5.0 was pulled after it.
    let (server, _releases) = with(5);
    let dry = collect(&server, Collection { keep: 1, dry_run: true, ..NONE });
    assert_eq!(left(&server).len(), 6);
    let removed = collect(&server, Collection { keep: 1, ..NONE });
    assert_eq!(dry, removed);
    assert_eq!(modules(&removed), (["sum:1.0.0", "sum:1.1.0", "sum:1.2.0"].map(str::to_owned).to_vec(), 3));
    assert_eq!(left(&server), ["sum:1.3.0", "sum:1.4.0", "sum:1.5.0"]);
    for (name, stays) in ALL.iter().zip([false, false, false, true, true, true]) {
        assert_eq!(server.artifact_path(name).exists(), stays, "{name}");
    }
    let artifacts = removed.iter().filter(|it| it.kind == GarbageKind::Artifact);
    let sizes: u64 = artifacts.map(|it| it.size_bytes).sum();
    assert_eq!(sizes, ALL[..3].iter().map(|name| artifact(name).len() as u64).sum::<u64>());
    for it in removed.iter().filter(|it| matches!(it.kind, GarbageKind::Module { .. })) {
        assert!(it.size_bytes > 1000 && it.path.starts_with(server.path("installed")), "{it:?}");
    }
    assert_eq!(server.store.rollback("sum").expect("it was kept").module().reference, "sum:1.3.0");
    assert_eq!(collect(&server, NONE), []);
    // After the rollback to the oldest, all that was pulled later may be activated yet.
    assert_eq!(collect(&server, Collection { keep: 0, ..NONE }), []);
    server.store.activate("sum:1.5.0").expect("it is installed");
    let removed = collect(&server, Collection { keep: 0, ..NONE });
    assert_eq!(modules(&removed), (["sum:1.3.0", "sum:1.4.0"].map(str::to_owned).to_vec(), 2));
}

#[test]
fn what_was_active_before_counts_before_what_was_only_pulled() {
    let (server, _releases) = with(2);
    // 1.0.0 was active before 1.5.0, 1.2.0 to 1.4.0 never were.
    server.store.activate("sum:1.0.0").expect("it is installed");
    server.store.activate("sum:1.5.0").expect("it is installed");
    collect(&server, Collection { keep: 2, ..NONE });
    assert_eq!(left(&server), ["sum:1.0.0", "sum:1.1.0", "sum:1.5.0"]);
    // Then the latest of those that never were.
    let (server, _releases) = with(1);
    server.store.activate("sum:1.5.0").expect("it is installed");
    collect(&server, Collection { keep: 3, ..NONE });
    assert_eq!(left(&server), ["sum:1.0.0", "sum:1.3.0", "sum:1.4.0", "sum:1.5.0"]);
}

#[test]
fn the_versions_of_each_module_are_counted_alone() {
    let server = Server::new();
    for (module, first) in [("sum", 0), ("resize", 3)] {
        let farm = Farm::of(module);
        for (at, name) in ALL[first..first + 3].iter().enumerate() {
            let release = farm.release_of(&format!("1.{at}.0"), at as u64, name);
            server.pull_as(&release.source(), &farm.trust(), None, at == 2 && module == "sum").expect("it is trusted");
        }
    }
    assert_eq!(collect(&server, NONE), []);
    let removed = collect(&server, Collection { keep: 1, ..NONE });
    let expected = ["resize:1.0.0", "resize:1.1.0", "sum:1.0.0"].map(str::to_owned).to_vec();
    assert_eq!(modules(&removed), (expected, 3));
    assert_eq!(left(&server), ["resize:1.2.0", "sum:1.1.0", "sum:1.2.0"]);
    // A damaged version keeps those of its own module alone.
    overwrite(&server.artifact_path(ALL[5]), b"short");
    assert_eq!(modules(&collect(&server, Collection { keep: 0, ..NONE })), (vec!["sum:1.1.0".to_owned()], 1));
    assert_eq!(left(&server), ["resize:1.2.0", "sum:1.2.0"]);
}

#[test]
fn without_an_active_version_the_latest_stay() {
    for (keep, expected) in [(0, 1), (1, 1), (2, 2)] {
        let (server, _releases) = with(0);
        collect(&server, Collection { keep, ..NONE });
        let names: Vec<_> = (6 - expected..6).map(|minor| format!("sum:1.{minor}.0")).collect();
        assert_eq!(left(&server), names, "{keep}");
    }
    // The record of the active version names one that is gone.
    let (server, releases) = with(3);
    fs::remove_dir_all(server.path(&format!("installed/{}", releases[2].index.hex()))).expect("it is ours");
    collect(&server, Collection { keep: 1, ..NONE });
    assert_eq!(left(&server), ["sum:1.5.0"]);
}

#[test]
fn unfinished_files_go_unless_their_process_lives() {
    let (server, _releases) = with(1);
    fs::create_dir(server.path("tmp/.tmp1_1")).expect("it is ours");
    fs::write(server.path("tmp/.tmp1_1/layout"), [0; 300]).expect("it is ours");
    fs::create_dir(server.path("tmp/.tmp2_2")).expect("it is ours");
    fs::create_dir_all(server.path("partial")).expect("it is ours");
    let locked = ["tmp/.tmp2_2/owner", "partial/live"].map(|name| {
        let file = fs::File::create(server.path(name)).expect("it is ours");
        file.lock().expect("no other process has it");
        file
    });
    fs::write(server.path("partial/dead"), [0; 70]).expect("it is ours");
    let removed = collect(&server, NONE);
    let found: Vec<_> = removed.iter().map(|it| (it.kind.clone(), it.path.clone(), it.size_bytes)).collect();
    let unfinished = |name, size_bytes| (GarbageKind::Unfinished, server.path(name), size_bytes);
    assert_eq!(found, [unfinished("tmp/.tmp1_1", 300), unfinished("partial/dead", 70)]);
    assert_eq!((server.names("tmp"), server.names("partial")), (vec![".tmp2_2".into()], vec!["live".into()]));
    drop(locked);
    assert_eq!(collect(&server, NONE).len(), 2);
    // What a killed process left is removed by the next change, too.
    fs::create_dir(server.path("tmp/.tmp1_1")).expect("it is ours");
    server.store.activate("sum:1.1.0").expect("it is installed");
    assert_eq!(server.names("tmp"), [""; 0]);
}

#[test]
fn what_a_server_has_live_stays() {
    let (server, releases) = with(6);
    let live = |minor: usize| {
        let installed = server.store.find(&format!("sum:1.{minor}.0")).expect("it is installed");
        installed.mark_live().expect("its directory can be locked")
    };
    let (whole, to_be_damaged) = (live(0), live(1));
    flip(&server.artifact_path(ALL[1]));
    let none_kept = Collection { keep: 0, ..NONE };
    assert_eq!(collect(&server, Collection { dry_run: true, ..none_kept }).len(), 6);
    let removed = collect(&server, Collection { damaged: true, ..none_kept });
    assert_eq!(modules(&removed), (["sum:1.2.0", "sum:1.3.0", "sum:1.4.0"].map(str::to_owned).to_vec(), 3));
    for (name, stays) in ALL.iter().zip([true, true, false, false, false, true]) {
        assert_eq!(server.artifact_path(name).exists(), stays, "{name}");
    }
    // Once no server has it live, it goes as all others do.
    drop(to_be_damaged);
    let removed = collect(&server, Collection { damaged: true, ..none_kept });
    let gone = GarbageKind::Module { reference: "sum:1.1.0".to_owned(), index: releases[1].index };
    assert_eq!(removed.iter().map(|it| it.kind.clone()).collect::<Vec<_>>(), [gone, GarbageKind::Artifact]);
    drop(whole);
    assert_eq!(modules(&collect(&server, none_kept)), (vec!["sum:1.0.0".to_owned()], 1));
}

#[test]
fn damaged_modules_stay_unless_they_are_to_go() {
    let (server, releases) = with(5);
    // Its size is right: only the bytes show it.
    flip(&server.artifact_path(ALL[4]));
    let damaged = Collection { keep: 9, damaged: true, dry_run: false };
    assert_eq!(collect(&server, NONE), []);
    let removed = collect(&server, damaged);
    let kinds: Vec<_> = removed.iter().map(|it| it.kind.clone()).collect();
    assert_eq!(kinds, [GarbageKind::Damaged { index: releases[4].index }, GarbageKind::Artifact]);
    assert!(!server.artifact_path(ALL[4]).exists());
    assert_eq!(left(&server).len(), 5);
    assert_eq!(server.store.rollback("sum").expect("it is whole").module().reference, "sum:1.3.0");

    // Where a kept version is damaged, the others of its module stay, with their artifacts.
    overwrite(&server.artifact_path(ALL[3]), b"short");
    assert_eq!(collect(&server, Collection { keep: 0, ..NONE }), []);
    // One whose documents cannot be read may need any artifact.
    fs::write(server.path(&format!("installed/{}/index.json", releases[5].index.hex())), b"{").expect("it is ours");
    fs::write(server.path(&format!("artifacts/{}.cwasm", releases[0].index.hex())), b"stray").expect("it is ours");
    assert_eq!(collect(&server, Collection { keep: 0, ..NONE }), []);
    let removed = collect(&server, Collection { keep: 9, ..damaged });
    let kinds: Vec<_> = removed.iter().filter(|it| matches!(it.kind, GarbageKind::Damaged { .. })).collect();
    assert_eq!(kinds.len(), 2);
    assert_eq!(modules(&removed).1, 3, "two of damaged modules, and the stray one");
    assert_eq!(left(&server), ["sum:1.0.0", "sum:1.1.0", "sum:1.2.0"]);
    // A file whose name is not a digest is not an artifact of the store.
    fs::write(server.path("artifacts/notes.cwasm"), b"mine").expect("it is ours");
    assert_eq!(collect(&server, NONE), []);
}
