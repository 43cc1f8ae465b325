//! A user who owns a directory above a store, or may write it, and exchanges the store while it is in use. A few hundred
//! tries each; `ISOMER_RACE_TRIES=10000` makes it so many.

use super::isomer_run_path;
use isomer_tests::farm::{ABC, Farm};
use isomer_tests::users::User;
use isomer_tests::{copy_program, skip};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use std::fs;
use std::mem::MaybeUninit;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

fn tries() -> usize {
    std::env::var("ISOMER_RACE_TRIES").ok().and_then(|tries| tries.parse().ok()).unwrap_or(300)
}

/// A directory in which an attacker has a store with what the attacker likes.
struct Scene {
    farm: Farm,
    /// The program, where every user can read it.
    program: PathBuf,
    parent: PathBuf,
}

impl Scene {
    fn store(&self) -> PathBuf {
        self.parent.join("store")
    }

    /// `parent` is a directory of `owner`, and the store in it the attacker's.
    fn new(attacker: User, owner: u32, mode: u32) -> Scene {
        let farm = Farm::two_releases();
        fs::set_permissions(farm.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let program = farm.path().join("isomer-run");
        copy_program(&isomer_run_path(), &program);
        let parent = attacker.directory(farm.path().join("parent"), 0o755);
        let scene = Scene { farm, program, parent };
        let pull = "pull oci-dir:old:sha256 --allow-unsigned --activate --store";
        attacker.program(&scene.program).line(pull).arg(scene.store()).dir(scene.farm.path()).ok();
        chown(&scene.parent, Some(owner), Some(attacker.id)).unwrap();
        fs::set_permissions(&scene.parent, fs::Permissions::from_mode(mode)).unwrap();
        scene
    }

    /// Has the attacker exchange the store, in `exchange`, each time that the file `name` in `dir` of the store was
    /// closed, while `victim` works.
    fn attack(
        &self,
        attacker: User,
        (dir, name): (PathBuf, &'static str),
        exchange: impl Fn(&Path, usize) + Send + Sync,
        victim: impl FnOnce(),
    ) -> usize {
        let (done, exchange, parent) = (AtomicBool::new(false), &exchange, &self.parent);
        let exchanged = thread::scope(|scope| {
            let attack = scope.spawn(|| {
                attacker.become_in_this_thread();
                let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap();
                inotify::add_watch(&watch, &dir, WatchFlags::CLOSE_NOWRITE).unwrap();
                let mut buffer = [MaybeUninit::uninit(); 4096];
                let mut events = inotify::Reader::new(&watch, &mut buffer);
                let closed = |event: inotify::Event<'_>| {
                    event.events().contains(ReadFlags::CLOSE_NOWRITE)
                        && event.file_name().is_some_and(|closed| closed.to_bytes() == name.as_bytes())
                };
                let mut exchanged = 0;
                while !done.load(Ordering::Relaxed) {
                    // It must not sleep: the moment is short.
                    if events.next().is_ok_and(closed) {
                        exchange(parent, exchanged);
                        exchanged += 1;
                    }
                }
                exchanged
            });
            victim();
            done.store(true, Ordering::Relaxed);
            attack.join().unwrap()
        });
        println!("exchanged {exchanged} times");
        exchanged
    }
}

fn spin(micros: usize) {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_micros(micros as u64) {
        std::hint::spin_loop();
    }
}

/// The store is away for a moment, and comes back.
fn away_and_back(parent: &Path, number: usize) {
    let (store, away) = (parent.join("store"), parent.join("away"));
    if fs::rename(&store, &away).is_ok() {
        spin(40 + 30 * (number % 16));
        fs::rename(&away, &store).unwrap();
    }
}

fn installed(store: &Path) -> PathBuf {
    fs::read_dir(store.join("installed")).unwrap().next().unwrap().unwrap().path()
}

#[test]
fn a_store_that_is_renamed_while_root_reads_it_runs_nothing() {
    let Some([attacker]) = User::several() else {
        return skip("a_store_that_is_renamed_while_root_reads_it_runs_nothing", "it takes root, and setpriv");
    };
    let scene = Scene::new(attacker, attacker.id, 0o755);
    let store = scene.store();
    let mut foreign = 0;
    scene.attack(attacker, (installed(&store), "install.json"), away_and_back, || {
        for _ in 0..tries() {
            let ran = scene.farm.call("run --store").arg(&store).arg("sha256").run();
            foreign += usize::from(ran.stdout().starts_with(ABC));
            assert!(ran.code() == 1 || foreign > 0, "{ran}");
        }
    });
    assert_eq!(foreign, 0, "of {} starts by root ran the code of another user", tries());
}

#[test]
fn a_store_that_is_renamed_in_a_directory_of_a_group_runs_nothing() {
    let Some([attacker, victim]) = User::several() else {
        return skip("a_store_that_is_renamed_in_a_directory_of_a_group_runs_nothing", "it takes root, and setpriv");
    };
    let scene = Scene::new(attacker, 0, 0o775);
    let store = scene.store();
    let mut foreign = 0;
    scene.attack(attacker, (installed(&store), "install.json"), away_and_back, || {
        for _ in 0..tries() {
            let ran = victim.program(&scene.program).line("run --store").arg(&store).arg("sha256").stdin("abc").run();
            foreign += usize::from(ran.stdout().starts_with(ABC));
            assert!(ran.code() == 1 || foreign > 0, "{ran}");
        }
    });
    assert_eq!(foreign, 0, "of {} starts ran the code of another user", tries());
}

/// For a moment the store is missing, then a link to another directory.
fn away_and_a_link(parent: &Path, number: usize) {
    let [store, away, link] = ["store", "away", "link"].map(|name| parent.join(name));
    if fs::rename(&store, &away).is_ok() {
        spin(20 + 20 * (number % 32));
        let linked = fs::rename(&link, &store);
        spin(1500);
        if linked.is_ok() {
            fs::rename(&store, &link).unwrap();
        }
        fs::rename(&away, &store).unwrap();
    }
}

#[test]
fn a_store_that_becomes_a_link_while_root_activates_empties_no_other_directory() {
    let test = "a_store_that_becomes_a_link_while_root_activates_empties_no_other_directory";
    let Some([attacker]) = User::several() else { return skip(test, "it takes root, and setpriv") };
    let scene = Scene::new(attacker, attacker.id, 0o755);
    let store = scene.store();
    // What is root's, and lies elsewhere.
    let elsewhere = scene.farm.path().join("elsewhere");
    fs::create_dir_all(elsewhere.join("tmp/deep")).unwrap();
    fs::write(elsewhere.join("tmp/deep/file"), "root's").unwrap();
    symlink(&elsewhere, scene.parent.join("link")).unwrap();
    let mut harmed = 0;
    scene.attack(attacker, (store.clone(), "store.json"), away_and_a_link, || {
        for _ in 0..tries() {
            let ran = scene.farm.call("activate sha256 --store").arg(&store).run();
            assert_eq!(ran.code(), 1, "{ran}");
            let names: Vec<_> = fs::read_dir(&elsewhere).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            if names != ["tmp"] || !elsewhere.join("tmp/deep/file").exists() {
                harmed += 1;
                let _ = fs::remove_file(elsewhere.join("lock"));
                fs::create_dir_all(elsewhere.join("tmp/deep")).unwrap();
                fs::write(elsewhere.join("tmp/deep/file"), "root's").unwrap();
            }
        }
    });
    assert_eq!(harmed, 0, "of {} activations wrote or removed something elsewhere", tries());
}
