//! The cache of finished work: shared, damaged, full, read-only, another user's.

use insta::assert_snapshot;
use isomer_tests::farm::{FOUR, Farm, compiled, settings};
use isomer_tests::{OtherUser, Ran, contents, program, skip};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

#[test]
fn damaged_cache_entries_are_rebuilt_and_reported() {
    let farm = Farm::with_modules();
    farm.manifest(FOUR, &["numbers"]);
    farm.isomer("release -o first").ok();
    let before = contents(&farm.path().join("first"));
    for kind in ["actions", "artifacts", "profiles"] {
        for path in farm.cached(kind) {
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
            fs::write(path, bytes).unwrap();
        }
        let ran = farm.isomer("release --json").ok();
        let jobs = if kind == "profiles" { 0 } else { 4 };
        assert_eq!(compiled(&ran.json()), jobs, "{kind}: {ran}");
        assert_eq!(ran.stderr().matches("is damaged: ").count(), jobs, "{kind}: {ran}");
        assert_eq!(contents(&farm.path().join("dist")), before, "{kind}");
        fs::remove_dir_all(farm.path().join("dist")).unwrap();
    }
    // It is whole again.
    let ran = farm.isomer("release --json").ok();
    assert_eq!((compiled(&ran.json()), ran.stderr().as_str()), (0, ""), "{ran}");
}

#[test]
fn compile_and_release_share_the_cache_and_many_processes_do() {
    let farm = Farm::with_modules();
    farm.manifest(FOUR, &["numbers", "traps"]);
    let running = ["a", "b"].map(|output| farm.isomer(&format!("release --json -o {output}")).start());
    let ran = running.map(isomer_tests::Running::wait);
    assert!(ran.iter().all(|ran| ran.code() == 0 && ran.stderr().is_empty()), "{}{}", ran[0], ran[1]);
    let [a, b] = ["a", "b"].map(|output| contents(&farm.path().join(output)));
    assert_eq!(a, b);
    let cells = farm.isomer("compile numbers.wasm -t x86-64-v3,z15 --json --out-dir out").ok().json();
    let cached: Vec<_> = cells.as_array().unwrap().iter().map(|cell| cell["cached"] == true).collect();
    assert_eq!(cached, [true, false]);
    let plain = "compile numbers.wasm -t x86-64-v3 --no-cache -o plain.cwasm";
    farm.isomer(plain).ok();
    let read = |name: &str| fs::read(farm.path().join(name)).unwrap();
    assert_eq!(read("plain.cwasm"), read("out/numbers.x86-64-v3.cwasm"));

    let info = farm.isomer("cache info --json").ok().json();
    assert_eq!(info["jobs"], 9, "{info}");
    let ran = farm.isomer("cache gc --max-size 0").ok();
    assert!(ran.stdout().starts_with("removed 9 jobs, "), "{ran}");
    assert!(ran.stdout().ends_with("left 0 jobs, 0 B\n"), "{ran}");
    let shown = farm.isomer("cache dir").ok().stdout();
    assert_eq!(shown.trim(), farm.path().join("cache").display().to_string());
}

/// A small file system, or none where this user may not have one.
struct Mounted(PathBuf);

impl Mounted {
    fn new(path: PathBuf) -> Option<Mounted> {
        fs::create_dir_all(&path).unwrap();
        let ran = program("mount").line("-t tmpfs -o size=64k,mode=755 tmpfs").arg(&path).run();
        (ran.code() == 0).then_some(Mounted(path))
    }

    fn remount_read_only(&self) {
        program("mount").line("-o remount,ro").arg(&self.0).ok();
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        program("umount").arg(&self.0).run();
    }
}

#[test]
fn an_unwritable_cache_does_not_fail_the_build() {
    let _settings = settings();
    let farm = Farm::with_modules();
    farm.manifest("['x86-64-v3', 'z15']", &["numbers", "matmul"]);
    farm.isomer("release --no-cache -o plain").ok();
    let right = contents(&farm.path().join("plain"));
    let release = |name: &str, cache: &Path| {
        let output = format!("out-{name}");
        let ran = farm.isomer("release -o").arg(&output).env("ISOMER_CACHE", cache).ok();
        assert_eq!(contents(&farm.path().join(output)), right, "{name}");
        assert_snapshot!(format!("cache_{name}"), ran.stderr().replace(&farm.path().display().to_string(), "[DIR]"));
    };
    farm.put("file", "no directory");
    release("is_a_file", &farm.path().join("file"));
    let open = farm.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    release("of_everybody", &open);
    let Some(small) = Mounted::new(farm.path().join("small")) else {
        return skip("an_unwritable_cache_does_not_fail_the_build", "only root may mount a full file system");
    };
    release("full", &small.0);
    small.remount_read_only();
    release("read_only", &small.0);
}

#[test]
fn a_cache_is_of_use_to_the_user_alone_who_filled_it() {
    let test = "a_cache_is_of_use_to_the_user_alone_who_filled_it";
    let _settings = settings();
    let farm = Farm::with_modules();
    farm.manifest("['x86-64-v3', 'z15']", &["numbers", "matmul"]);
    let Some(other) = OtherUser::new() else {
        return skip(test, "it takes root, and setpriv, to become another user");
    };
    farm.isomer("release -o right").ok();
    let right = contents(&farm.path().join("right"));
    let cache = farm.path().join("cache");
    let releases = farm.path().join("releases");
    fs::create_dir(&releases).unwrap();
    other.own(&releases).unwrap();
    fs::set_permissions(farm.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let shown = |ran: &Ran| ran.stderr().replace(&farm.path().display().to_string(), "[DIR]");
    let release = |output: &str| {
        let call = other.isomer(&format!("release --json -o releases/{output}")).dir(farm.path());
        call.env("ISOMER_CACHE", &cache).ok()
    };

    // Root's cannot be read.
    let ran = release("unreadable");
    assert_eq!(compiled(&ran.json()), 4, "{ran}");
    assert_snapshot!("cache_unreadable", shown(&ran));
    // Where it can, its entries are sealed with root's key; and it cannot be written.
    program("chmod").line("-R a+rX").arg(&cache).ok();
    let ran = release("readable");
    assert_eq!(compiled(&ran.json()), 4, "{ran}");
    assert_snapshot!("cache_of_root", shown(&ran));
    assert_eq!(contents(&releases.join("readable")), right);

    // Another user could have put anything there.
    other.own(&cache).unwrap();
    let ran = farm.isomer("release --json").ok();
    assert_eq!(compiled(&ran.json()), 4, "{ran}");
    assert_snapshot!("cache_of_another_user", shown(&ran));
    assert_eq!(contents(&farm.path().join("dist")), right);
    assert_snapshot!("cache_of_another_user_gc", farm.shown(&farm.isomer("cache gc --max-size 0").fails()));
}

/// The first of two walls: what is in such a directory is not even looked at.
#[test]
fn what_other_users_could_have_written_is_not_used() {
    let _settings = settings();
    let farm = Farm::with_modules();
    farm.manifest("['x86-64-v3', 'z15']", &["numbers"]);
    // What isomer makes is its user's alone, also where files are shared with a group by default.
    let release = |output: &str| {
        let line = format!("umask 000 && exec \"$0\" release --json -o {output}");
        let call = program("sh").arg("-c").arg(line).arg(isomer_tests::binaries().join("isomer")).dir(farm.path());
        call.env("ISOMER_CACHE", farm.path().join("cache")).ok()
    };
    release("right");
    let again = release("again");
    assert_eq!((compiled(&again.json()), again.stderr().as_str()), (0, ""), "{again}");

    let chmod = |mode: &str, path: &str| drop(program("chmod").line(mode).arg(farm.path().join(path)).ok());
    for (name, mode, path) in [("actions_of_everybody", "0777", "cache/v1/actions"), ("of_group", "-R g+rwX", "cache")]
    {
        chmod(mode, path);
        let ran = farm.isomer(&format!("release --json -o {name}")).ok();
        assert_eq!(compiled(&ran.json()), 2, "{name}: {ran}");
        assert_snapshot!(format!("cache_{name}"), farm.shown(&ran).split("----- stderr").nth(1).unwrap());
        for command in ["info", "gc"] {
            let shown = farm.shown(&farm.isomer(&format!("cache {command}")).fails());
            assert_snapshot!(format!("cache_{name}_{command}"), shown);
        }
        let ran = farm.isomer("plan -o other").ok();
        assert!(ran.stdout().contains("2 to compile") && ran.stderr().contains("can be written by"), "{ran}");
        chmod("0700", "cache/v1/actions");
    }
    // With its directories closed again, the files in them still are as another user may have left them.
    for path in ["cache", "cache/v1", "cache/v1/artifacts", "cache/v1/functions", "cache/v1/profiles"] {
        chmod("0700", path);
    }
    let ran = farm.isomer("release --json -o mended").ok();
    assert_eq!((compiled(&ran.json()), ran.stderr().matches("is damaged: it can be written").count()), (2, 2), "{ran}");
    let ran = farm.isomer("release --json -o whole").ok();
    assert_eq!((compiled(&ran.json()), ran.stderr().as_str()), (0, ""), "{ran}");
    for name in ["again", "actions_of_everybody", "of_group", "mended", "whole"] {
        assert_eq!(contents(&farm.path().join(name)), contents(&farm.path().join("right")), "{name}");
    }
}

#[test]
fn any_damage_to_a_cache_file_is_rebuilt() {
    let farm = Farm::with_modules();
    farm.manifest(FOUR, &["numbers"]);
    farm.isomer("release -o right").ok();
    let right = contents(&farm.path().join("right"));
    let damage_file = |damage: &str, file: &Path, other: &Path| match damage {
        "cut" => fs::write(file, &fs::read(file).unwrap()[..100]).unwrap(),
        "empty" => fs::write(file, "").unwrap(),
        "another" => fs::copy(other, file).map(drop).unwrap(),
        _ => fs::remove_file(file).and_then(|()| fs::create_dir_all(file.join("full"))).unwrap(),
    };
    for kind in ["actions", "artifacts"] {
        for damage in ["cut", "empty", "another", "a directory"] {
            let files = farm.cached(kind);
            damage_file(damage, &files[0], &files[1]);
            let ran = farm.isomer("release --json").ok();
            assert!(compiled(&ran.json()) >= 1, "{kind} {damage}: {ran}");
            assert!(ran.stderr().contains("warning: "), "{kind} {damage}: {ran}");
            assert_eq!(contents(&farm.path().join("dist")), right, "{kind} {damage}");
            fs::remove_dir_all(farm.path().join("dist")).unwrap();
            let again = farm.isomer("release --json").ok();
            assert_eq!((compiled(&again.json()), again.stderr().as_str()), (0, ""), "{kind} {damage}: {again}");
            fs::remove_dir_all(farm.path().join("dist")).unwrap();
        }
    }
}

/// The mark of a cache makes backups pass over a directory, and tools that free space remove it.
#[test]
fn no_directory_becomes_a_cache_that_holds_something_else() {
    let _settings = settings();
    let farm = Farm::with_modules();
    farm.manifest("['x86-64-v3']", &["numbers"]);
    let thesis = farm.path().join("mine/thesis.txt");
    fs::create_dir(farm.path().join("mine")).unwrap();
    fs::write(&thesis, "data").unwrap();
    for command in ["info", "gc"] {
        let shown = farm.shown(&farm.isomer(&format!("cache {command} --cache mine")).fails());
        assert_snapshot!(format!("cache_not_ours_{command}"), shown);
    }
    let ran = farm.isomer("release --cache mine").ok();
    assert_snapshot!("cache_not_ours", ran.stderr());
    assert_eq!(contents(&farm.path().join("mine")).len(), 1, "{ran}");

    // Who asks what it holds makes none.
    fs::create_dir(farm.path().join("empty")).unwrap();
    for name in ["empty", "nowhere"] {
        assert_eq!(farm.isomer("cache info --cache").arg(name).ok().stdout(), format!("{name}: 0 jobs, 0 B\n"));
        let ran = farm.isomer("cache gc --cache").arg(name).ok();
        assert_eq!(ran.stdout(), "removed 0 jobs, 0 B; left 0 jobs, 0 B\n");
    }
    assert!(!farm.path().join("nowhere").exists() && contents(&farm.path().join("empty")).is_empty());
    // What is left of a cache is one.
    farm.isomer("release --cache empty -o other").ok();
    fs::remove_dir_all(farm.path().join("empty/v1")).unwrap();
    let ran = farm.isomer("release --cache empty --json -o third").ok();
    assert_eq!((compiled(&ran.json()), ran.stderr().as_str()), (1, ""), "{ran}");
}
