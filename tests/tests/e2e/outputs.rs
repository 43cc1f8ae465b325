//! Outputs, caches and keys in directories whose owner is another user. That user may put links there, and exchange what is
//! there at any moment; what lies elsewhere is neither written nor removed. `ISOMER_RACE_TRIES=10000` makes the races long.

use insta::assert_snapshot;
use isomer_tests::farm::{Farm, settings};
use isomer_tests::users::User;
use isomer_tests::{contents, skip};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown, symlink};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

fn tries() -> usize {
    std::env::var("ISOMER_RACE_TRIES").ok().and_then(|tries| tries.parse().ok()).unwrap_or(60)
}

/// A user's release and other files, and a directory of another user's beside it.
struct Scene {
    farm: Farm,
    attacker: User,
    /// The attacker's.
    parent: PathBuf,
    /// A release of this user's that is not to be touched.
    other: PathBuf,
}

impl Scene {
    fn new(test: &str) -> Option<Scene> {
        let Some([attacker]) = User::several() else {
            skip(test, "it takes root, and setpriv");
            return None;
        };
        let farm = Farm::with_modules();
        fs::set_permissions(farm.path(), fs::Permissions::from_mode(0o755)).unwrap();
        farm.manifest("['pulley64']", &["numbers"]);
        farm.isomer("release -o other").ok();
        farm.manifest("['pulley64']", &["matmul"]);
        let parent = attacker.directory(farm.path().join("theirs"), 0o755);
        let other = farm.path().join("other");
        Some(Scene { farm, attacker, parent, other })
    }

    /// A link of the attacker's.
    fn link(&self, name: &str, target: &Path) -> PathBuf {
        let link = self.parent.join(name);
        symlink(target, &link).unwrap();
        lchown(&link, Some(self.attacker.id), Some(self.attacker.id)).unwrap();
        link
    }

    /// Has the attacker exchange `name` and `evil` without end while `victim` works.
    fn exchanging(&self, name: &str, victim: impl FnOnce()) {
        let (done, here, evil) = (AtomicBool::new(false), self.parent.join(name), self.parent.join("evil"));
        thread::scope(|scope| {
            let attack = scope.spawn(|| {
                self.attacker.become_in_this_thread();
                let mut exchanged = 0_u32;
                while !done.load(Ordering::Relaxed) {
                    renameat_with(CWD, &here, CWD, &evil, RenameFlags::EXCHANGE).unwrap();
                    exchanged += 1;
                    thread::sleep(Duration::from_micros(50 + u64::from(exchanged % 16) * 25));
                }
                exchanged
            });
            // Also where it panics: the scope waits for the attacker.
            let ended = catch_unwind(AssertUnwindSafe(victim));
            done.store(true, Ordering::Relaxed);
            assert!(attack.join().unwrap() > 0);
            ended.unwrap_or_else(|panic| resume_unwind(panic));
        });
    }
}

#[test]
fn a_link_of_another_user_leads_no_output_to_another_file() {
    let _settings = settings();
    let Some(scene) = Scene::new("a_link_of_another_user_leads_no_output_to_another_file") else { return };
    let before = contents(&scene.other);
    let file = scene.farm.path().join("file");
    fs::write(&file, "this user's").unwrap();
    scene.link("dist", &scene.other);
    scene.link("file.cwasm", &file);
    scene.link("page.html", &file);
    let empty = scene.farm.path().join("empty");
    fs::create_dir(&empty).unwrap();
    scene.link("cache", &empty);
    scene.link("state", &empty);
    for (name, line) in [
        ("release", "release -o theirs/dist"),
        ("check_reproducible", "release --check-reproducible -o theirs/dist"),
        ("compile", "compile matmul.wasm -t pulley64 -o theirs/file.cwasm"),
        ("timings", "compile matmul.wasm -t pulley64 -o matmul.cwasm --timings theirs/page.html"),
    ] {
        let ran = scene.farm.isomer(line).fails();
        assert_snapshot!(format!("link_of_another_user_{name}"), scene.farm.shown(&ran));
    }
    // A cache is not needed: it is reported, and not used.
    let compile = || scene.farm.isomer("compile matmul.wasm -t pulley64 -o matmul.cwasm");
    for variable in ["ISOMER_CACHE", "ISOMER_STATE"] {
        let directory = if variable == "ISOMER_CACHE" { "theirs/cache" } else { "theirs/state" };
        let ran = compile().env(variable, scene.farm.path().join(directory)).ok();
        assert!(ran.stderr().contains("is a symbolic link of the user 61000"), "{variable}: {ran}");
    }
    assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);
    assert_eq!(contents(&scene.other), before);
    assert_eq!(fs::read(&file).unwrap(), b"this user's");
    // A link of this user's own is followed, wherever it lies.
    lchown(scene.parent.join("dist"), Some(0), Some(0)).unwrap();
    scene.farm.isomer("release -o theirs/dist").ok();
    assert_ne!(contents(&scene.other), before);
}

#[test]
fn a_release_that_is_exchanged_while_it_is_written_changes_no_other_one() {
    let Some(scene) = Scene::new("a_release_that_is_exchanged_while_it_is_written_changes_no_other_one") else {
        return;
    };
    let before = contents(&scene.other);
    scene.farm.isomer("release -o theirs/dist").ok();
    let right = contents(&scene.parent.join("dist"));
    let evil = scene.attacker.directory(scene.parent.join("evil"), 0o755);
    scene.link("evil/blobs", &scene.other.join("blobs"));
    assert_eq!(fs::metadata(&evil).unwrap().uid(), scene.attacker.id);
    scene.exchanging("dist", || {
        for number in 0..tries() {
            let ran = scene.farm.isomer("release -o theirs/dist").run();
            assert!(matches!(ran.code(), 0 | 1), "{ran}");
            assert_eq!(contents(&scene.other), before, "after {number} tries: {ran}");
        }
    });
    let dist = ["dist", "evil"]
        .map(|name| scene.parent.join(name))
        .into_iter()
        .find(|it| fs::metadata(it).unwrap().uid() == 0);
    assert_eq!(contents(&dist.unwrap()), right);
}

#[test]
fn a_cache_that_is_exchanged_while_it_is_trimmed_empties_no_other_directory() {
    let test = "a_cache_that_is_exchanged_while_it_is_trimmed_empties_no_other_directory";
    let Some(scene) = Scene::new(test) else { return };
    let cache = scene.parent.join("cache");
    scene.farm.isomer("release").env("ISOMER_CACHE", &cache).ok();
    let elsewhere = scene.farm.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    scene.attacker.directory(scene.parent.join("evil"), 0o755);
    scene.attacker.directory(scene.parent.join("evil/v1"), 0o755);
    for name in ["actions", "artifacts", "functions", "profiles"] {
        scene.link(&format!("evil/v1/{name}"), &elsewhere);
    }
    scene.exchanging("cache", || {
        for number in 0..2 * tries() {
            let file = elsewhere.join("file");
            fs::write(&file, "root's").unwrap();
            let ran = scene.farm.isomer("cache gc --max-size 0").env("ISOMER_CACHE", &cache).run();
            assert!(matches!(ran.code(), 0 | 1), "{ran}");
            assert!(file.exists(), "after {number} tries: {ran}");
        }
    });
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1);
}

/// A limit on the size of files is an error like a full disk.
#[test]
fn a_limit_on_the_size_of_files_is_an_error() {
    let _settings = settings();
    let farm = Farm::with_modules();
    farm.manifest("['pulley64']", &["numbers"]);
    let limited = |line: &str| {
        let isomer = isomer_tests::binaries().join("isomer");
        isomer_tests::program("prlimit").arg("--fsize=100").arg(isomer).line(line).dir(farm.path())
    };
    if !isomer_tests::has_program("prlimit") {
        return skip("a_limit_on_the_size_of_files_is_an_error", "prlimit is not installed");
    }
    for (name, line) in [("release", "release --no-cache"), ("keygen", "keygen -o key")] {
        assert_snapshot!(format!("file_size_limit_{name}"), farm.shown(&limited(line).fails()));
    }
    assert!(!farm.path().join("key.key").exists() && !farm.path().join("key.pub").exists());
    assert!(!farm.path().join("dist").exists());
}
