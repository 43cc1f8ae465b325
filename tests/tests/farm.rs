//! The build farm: jobs that misbehave, workers and parents that are killed, interruptions, the cache, shards.

use insta::assert_snapshot;
use isomer_tests::{
    Call, Ran, contents, guest, has_program, is_alive, isomer, program, scratch, signal, skip, snapshot_settings,
    wait_until,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A module with one function that keeps the compiler busy for minutes, and wants gigabytes.
fn endless() -> Vec<u8> {
    branches(60_000)
}

/// A module with one function of so many branches: the time that it takes grows with their square.
fn branches(count: usize) -> Vec<u8> {
    let branch = "local.get 0 if local.get 0 i32.const 1 i32.add local.set 0 end ";
    let body = branch.repeat(count);
    wat::parse_str(format!("(module (func (export \"f\") (param i32) (result i32) {body} local.get 0))")).unwrap()
}

/// A directory with a manifest, modules and a cache.
struct Farm {
    directory: TempDir,
}

impl Farm {
    fn new() -> Farm {
        let farm = Farm { directory: scratch() };
        for name in ["numbers", "matmul", "traps"] {
            farm.put(&format!("{name}.wasm"), fs::read(guest(name)).unwrap());
        }
        farm
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path().join(name), bytes).unwrap();
    }

    /// Writes the manifest.
    fn manifest(&self, targets: &str, modules: &[&str]) {
        let modules: String = modules.iter().map(|name| format!("[[module]]\npath = '{name}.wasm'\n")).collect();
        let text = format!("[release]\nname = 'r'\nversion = '1.0.0'\ntargets = {targets}\n{modules}");
        self.put("isomer.toml", text);
    }

    fn isomer(&self, line: &str) -> Call {
        isomer().line(line).dir(self.path()).env("ISOMER_CACHE", self.path().join("cache"))
    }

    /// The files of a kind in the cache.
    fn cached(&self, kind: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path().join("cache/v1").join(kind)).into_iter().flatten();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| !path.file_name().unwrap().to_string_lossy().starts_with(".tmp-"));
        files.sort();
        files
    }

    fn shown(&self, ran: &Ran) -> String {
        ran.shown(self.path())
    }
}

const FOUR: &str = "['x86-64-v2', 'x86-64-v3', 'neoverse-n1', 'pulley64']";

fn compiled(json: &Value) -> usize {
    json["cells"].as_array().unwrap().iter().filter(|cell| cell["compiled"] == true).count()
}

fn settings() -> insta::internals::SettingsBindDropGuard {
    let mut settings = snapshot_settings();
    settings.add_filter(r"\b\d+\.\d\d s\b", "[TIME]");
    // Which file has no room first is chance.
    settings.add_filter(r"v1/\w+/[0-9a-f]{64}(\.json)?", "v1/[FILE]");
    settings.add_filter(r"changed from [0-9a-f]{12} to [0-9a-f]{12}", "changed from [HEX] to [HEX]");
    settings.bind_to_scope()
}

#[test]
fn a_job_that_takes_too_much_is_one_failed_cell() {
    let _settings = settings();
    let farm = Farm::new();
    farm.put("endless.wasm", endless());
    let compile = "compile endless.wasm numbers.wasm -t x86-64-v3 --no-cache --out-dir out";
    for (name, limit) in [("time", "--job-timeout 2s"), ("memory", "--job-memory 48MiB --job-timeout 30s")] {
        let begun = Instant::now();
        let ran = farm.isomer(compile).line(limit).fails();
        assert!(begun.elapsed() < Duration::from_secs(25), "{ran}");
        assert_snapshot!(format!("limit_{name}"), farm.shown(&ran));
        assert!(farm.path().join("out/numbers.x86-64-v3.cwasm").exists());
        assert!(!farm.path().join("out/endless.x86-64-v3.cwasm").exists());
        fs::remove_dir_all(farm.path().join("out")).unwrap();
    }
    let ran = farm.isomer(compile).line("--job-timeout 1s --job-memory 1kB").fails();
    assert_snapshot!("limit_malformed", farm.shown(&ran));
}

#[test]
fn with_fail_fast_nothing_begins_after_a_failure() {
    let farm = Farm::new();
    farm.put("endless.wasm", endless());
    farm.manifest(FOUR, &["endless", "numbers"]);
    let ran = farm.isomer("release --json -j 1 --job-timeout 1s --fail-fast").fails();
    let status = |wanted: &str| {
        let json = ran.json();
        json["cells"].as_array().unwrap().iter().filter(|cell| cell["failure"] == wanted).count()
    };
    assert_eq!((status("timeout"), status("not-tried")), (1, 7), "{ran}");
    assert!(!farm.path().join("dist").exists());
    let ran = farm.isomer("release --json -j 2 --job-timeout 1s --keep-going").fails();
    let all = ran.json()["cells"].as_array().unwrap().iter().filter(|cell| cell["failure"] == "timeout").count();
    assert_eq!((all, farm.cached("actions").len()), (4, 4), "{ran}");
}

/// The worker that does the only job.
fn worker(running: &isomer_tests::Running) -> u32 {
    let mut worker = None;
    wait_until("a worker", || {
        worker = running.children().into_iter().find(|child| {
            let arguments = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
            arguments.split(|byte| *byte == 0).any(|argument| argument == b"worker") && is_alive(*child)
        });
        worker.is_some()
    });
    worker.unwrap()
}

#[test]
fn a_worker_that_is_killed_is_replaced_once() {
    let _settings = settings();
    let farm = Farm::new();
    farm.put("endless.wasm", endless());
    farm.put("slow.wasm", branches(8_000));
    let running = farm.isomer("compile slow.wasm -t x86-64-v3 --no-cache").start();
    signal(worker(&running), "KILL");
    let ran = running.wait();
    assert_eq!(ran.code(), 0, "{ran}");

    let running = farm.isomer("compile endless.wasm -t x86-64-v3 --no-cache").start();
    let first = worker(&running);
    signal(first, "KILL");
    wait_until("the end of the first worker", || !is_alive(first));
    signal(worker(&running), "KILL");
    let ran = running.wait();
    assert_eq!(ran.code(), 1, "{ran}");
    assert_snapshot!("killed_worker", farm.shown(&ran));
}

/// What a process has read.
fn read_bytes(process: u32) -> usize {
    let io = fs::read_to_string(format!("/proc/{process}/io")).unwrap_or_default();
    io.lines().find_map(|line| line.strip_prefix("rchar: ")?.parse().ok()).unwrap_or(0)
}

/// No valid module is known to take the compiler as deep as the stack that it has here: expressions of a million levels
/// do not, and blocks that nest so deep take hours. So the worker gets a stack that is too small.
#[test]
fn a_stack_that_overflows_is_one_failed_cell() {
    let _settings = settings();
    if !has_program("prlimit") {
        return skip("a_stack_that_overflows_is_one_failed_cell", "prlimit is not installed");
    }
    let farm = Farm::new();
    let endless = endless();
    farm.put("endless.wasm", &endless);
    farm.put("slow.wasm", branches(12_000));
    let line = "compile endless.wasm slow.wasm -t x86-64-v3 -j 2 --no-cache --out-dir out";
    let running = farm.isomer(line).start();
    let mut deep = None;
    wait_until("both jobs to begin", || {
        deep = running.children().into_iter().find(|child| read_bytes(*child) > endless.len());
        deep.is_some() && running.children().len() == 2
    });
    // The next worker inherits this.
    program("prlimit").arg(format!("--pid={}", running.id())).arg("--stack=65536:").ok();
    signal(deep.unwrap(), "KILL");
    let ran = running.wait();
    assert_eq!(ran.code(), 1, "{ran}");
    assert_snapshot!("stack_overflow", farm.shown(&ran));
    assert!(farm.path().join("out/slow.x86-64-v3.cwasm").exists());
    assert!(!farm.path().join("out/endless.x86-64-v3.cwasm").exists());
}

#[test]
fn nothing_outlives_a_parent_that_is_killed() {
    let farm = Farm::new();
    farm.put("endless.wasm", endless());
    let targets = "['x86-64-v3', 'z15']";
    farm.manifest(targets, &["endless", "numbers", "matmul"]);
    // The two endless jobs begin first.
    let running = farm.isomer("release -j 3").start();
    wait_until("four finished jobs", || farm.cached("actions").len() == 4);
    let workers = running.children();
    assert!(workers.len() >= 2, "{workers:?}");
    running.signal("KILL");
    assert_eq!(running.wait().code(), 137);
    wait_until("the workers' end", || !workers.iter().any(|worker| is_alive(*worker)));
    assert!(!farm.path().join("dist/index.json").exists(), "something half-written is left");
    // No lock is left, nothing that a release in the same place would trip over, and what was finished is not lost.
    farm.manifest(targets, &["numbers", "matmul", "traps"]);
    assert_eq!(compiled(&farm.isomer("release --json").ok().json()), 2, "only the new module's");
    farm.isomer("release --no-cache -o elsewhere").ok();
    assert_eq!(contents(&farm.path().join("dist")), contents(&farm.path().join("elsewhere")));
}

#[test]
fn an_interrupted_release_goes_on_where_it_stopped() {
    let _settings = settings();
    let farm = Farm::new();
    farm.put("endless.wasm", endless());
    farm.manifest("['x86-64-v3', 'z15', 'neoverse-n1']", &["endless", "numbers", "matmul"]);
    // Two of the three endless jobs begin first; with four workers the others are done beside the third.
    let running = farm.isomer("release -j 4").start();
    wait_until("six finished jobs", || farm.cached("actions").len() == 6);
    let (workers, begun) = (running.children(), Instant::now());
    running.signal("INT");
    let ran = running.wait();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(ran.code(), 130, "{ran}");
    assert_snapshot!("interrupted", farm.shown(&ran));
    assert!(!farm.path().join("dist").exists(), "something half-written is left");
    wait_until("the workers' end", || !workers.iter().any(|worker| is_alive(*worker)));
    farm.manifest("['x86-64-v3', 'z15', 'neoverse-n1']", &["numbers", "matmul", "traps"]);
    assert_eq!(compiled(&farm.isomer("release --json").ok().json()), 3, "only the new module's");
}

/// Jobs of milliseconds leave no time to wait for an answer in which one could look for a signal.
#[test]
fn many_short_jobs_are_interrupted_too() {
    let farm = Farm::new();
    let names: Vec<_> = (0..60).map(|n| format!("m{n}")).collect();
    for (n, name) in names.iter().enumerate() {
        let text = format!("(module (func (export \"f\") (result i32) i32.const {n}))");
        farm.put(&format!("{name}.wasm"), wat::parse_str(text).unwrap());
    }
    farm.manifest("['all']", &names.iter().map(String::as_str).collect::<Vec<_>>());
    let running = farm.isomer("release -j 2").start();
    wait_until("some finished jobs", || farm.cached("actions").len() > 4);
    running.signal("TERM");
    let begun = Instant::now();
    let ran = running.wait();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(ran.code(), 130, "{ran}");
    assert!(farm.cached("actions").len() < 400, "it went on to the end");
}

#[test]
fn every_damage_to_the_cache_is_mended_and_said() {
    let farm = Farm::new();
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
    let farm = Farm::new();
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
fn a_cache_that_cannot_be_written_stops_nobody() {
    let _settings = settings();
    let farm = Farm::new();
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
        return skip("a_cache_that_cannot_be_written_stops_nobody", "only root may mount a full file system");
    };
    release("full", &small.0);
    small.remount_read_only();
    release("read_only", &small.0);
}

/// Calls as a user who may do nothing, where this one may become anybody.
struct Nobody {
    isomer: PathBuf,
}

impl Nobody {
    fn new(farm: &Farm) -> Option<Nobody> {
        let nobody = Nobody { isomer: farm.path().join("isomer") };
        fs::copy(isomer_tests::binaries().join("isomer"), &nobody.isomer).unwrap();
        fs::set_permissions(farm.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let works = has_program("setpriv") && nobody.call("--version", farm).run().code() == 0;
        works.then_some(nobody)
    }

    fn call(&self, line: &str, farm: &Farm) -> Call {
        let become_nobody = "--reuid 65534 --regid 65534 --clear-groups";
        let call = program("setpriv").line(become_nobody).arg(&self.isomer).line(line).dir(farm.path());
        call.env("ISOMER_CACHE", farm.path().join("cache"))
    }
}

fn give(path: &Path, owner: &str) {
    program("chown").args(["-R", owner]).arg(path).ok();
}

#[test]
fn a_cache_of_somebody_else_is_believed_from_root_alone() {
    let test = "a_cache_of_somebody_else_is_believed_from_root_alone";
    let _settings = settings();
    let farm = Farm::new();
    farm.manifest("['x86-64-v3', 'z15']", &["numbers", "matmul"]);
    let Some(nobody) = Nobody::new(&farm) else {
        return skip(test, "it takes root, and setpriv, to become somebody else");
    };
    farm.isomer("release -o right").ok();
    let right = contents(&farm.path().join("right"));
    let releases = farm.path().join("releases");
    fs::create_dir(&releases).unwrap();
    give(&releases, "65534");
    let said = |ran: &Ran| ran.stderr().replace(&farm.path().display().to_string(), "[DIR]");

    // Root's can be read by those whom root lets.
    let ran = nobody.call("release --json -o releases/none", &farm).ok();
    assert_eq!(compiled(&ran.json()), 4, "{ran}");
    assert_snapshot!("cache_private", said(&ran));
    program("chmod").line("-R a+r").arg(farm.path().join("cache")).ok();
    let ran = nobody.call("release --json -o releases/a", &farm).ok();
    assert_eq!((compiled(&ran.json()), said(&ran).as_str()), (0, ""), "{ran}");
    // And not be written.
    farm.manifest("['x86-64-v3', 'z17']", &["numbers", "matmul"]);
    let ran = nobody.call("release --json -o releases/b", &farm).ok();
    assert_eq!(compiled(&ran.json()), 2, "{ran}");
    assert_snapshot!("cache_of_root", said(&ran));
    // Or not even be read.
    fs::set_permissions(farm.path().join("cache"), fs::Permissions::from_mode(0o700)).unwrap();
    let ran = nobody.call("release --json -o releases/c", &farm).ok();
    assert_eq!(compiled(&ran.json()), 4, "{ran}");
    assert_snapshot!("cache_unreadable", said(&ran));
    assert_eq!(contents(&releases.join("b")), contents(&releases.join("c")));

    // Another user could have put anything there.
    farm.manifest("['x86-64-v3', 'z15']", &["numbers", "matmul"]);
    give(&farm.path().join("cache"), "65534");
    let ran = farm.isomer("release --json").ok();
    assert_eq!(compiled(&ran.json()), 4, "{ran}");
    assert_snapshot!("cache_of_another_user", said(&ran));
    assert_eq!(contents(&farm.path().join("dist")), right);
    assert_snapshot!("cache_of_another_user_gc", farm.shown(&farm.isomer("cache gc --max-size 0").fails()));
}

#[test]
fn whatever_a_cache_file_has_become_it_is_made_again() {
    let farm = Farm::new();
    farm.manifest(FOUR, &["numbers"]);
    farm.isomer("release -o right").ok();
    let right = contents(&farm.path().join("right"));
    let damages: [(&str, fn(&Path, &Path)); 4] = [
        ("cut", |file, _| fs::write(file, &fs::read(file).unwrap()[..100]).unwrap()),
        ("empty", |file, _| fs::write(file, "").unwrap()),
        ("another", |file, other| fs::copy(other, file).map(drop).unwrap()),
        ("a directory", |file, _| fs::remove_file(file).and_then(|()| fs::create_dir(file)).unwrap()),
    ];
    for kind in ["actions", "artifacts"] {
        for (damage, apply) in damages {
            let files = farm.cached(kind);
            apply(&files[0], &files[1]);
            let ran = farm.isomer("release --json").ok();
            assert!(compiled(&ran.json()) >= 1, "{kind} {damage}: {ran}");
            assert!(ran.stderr().contains("warning: "), "{kind} {damage}: {ran}");
            assert_eq!(contents(&farm.path().join("dist")), right, "{kind} {damage}");
            fs::remove_dir_all(farm.path().join("dist")).unwrap();
            // What is no file at all stays, and costs the time each time.
            if farm.cached(kind)[0].is_dir() {
                fs::remove_dir(&farm.cached(kind)[0]).unwrap();
                continue;
            }
            let again = farm.isomer("release --json").ok();
            assert_eq!((compiled(&again.json()), again.stderr().as_str()), (0, ""), "{kind} {damage}: {again}");
            fs::remove_dir_all(farm.path().join("dist")).unwrap();
        }
    }
}

#[test]
fn a_plan_says_what_changed() {
    let _settings = settings();
    let farm = Farm::new();
    farm.put("own.toml", "inherits = 'x86-64-v3'\n");
    let targets = "['x86-64-v3', 'icelake-server', 'znver4', 'riscv64gc', 'pulley64', 'own.toml']";
    farm.manifest(targets, &["numbers", "matmul"]);
    assert_snapshot!("plan_new", farm.isomer("plan --why").ok().stdout());
    assert!(!farm.path().join("dist").exists(), "a plan writes nothing");
    farm.isomer("release").ok();
    assert_snapshot!("plan_kept", farm.isomer("plan --why").ok().stdout());
    fs::rename(farm.path().join("dist"), farm.path().join("elsewhere")).unwrap();
    assert_snapshot!("plan_cached", farm.isomer("plan --why").ok().stdout());
    fs::rename(farm.path().join("elsewhere"), farm.path().join("dist")).unwrap();

    // A module, a key of a profile, a new module, a new target.
    let mut wasm = fs::read(guest("matmul")).unwrap();
    wasm.extend([0, 5, 4, b'n', b'o', b't', b'e']);
    farm.put("matmul.wasm", &wasm);
    farm.put("own.toml", "inherits = 'x86-64-v3'\nisa = ['avxvnni']\n[optimize]\nopt-level = 'speed-and-size'\n");
    farm.manifest(&targets.replace("'znver4'", "'z15'"), &["numbers", "matmul", "traps"]);
    assert_snapshot!("plan_changed", farm.isomer("plan --why").ok().stdout());
    assert_snapshot!("plan_changed_brief", farm.isomer("plan").ok().stdout());
    let planned = farm.isomer("plan --json").ok().json();
    let jobs = planned["jobs"].as_array().unwrap().len();
    let of = |module: &str, target: &str| {
        let cells = planned["cells"].as_array().unwrap();
        cells.iter().find(|cell| cell["module"] == module && cell["target"] == target).unwrap().clone()
    };
    let why = &of("numbers", "own")["why"];
    assert_eq!(why[0]["reason"], "profile");
    assert_eq!(why[0]["changes"][1], json!({"key": "optimize.opt-level", "from": "speed", "to": "speed-and-size"}));
    assert_eq!(of("matmul", "x86-64-v3")["why"][0]["reason"], "module");
    assert_eq!(of("traps", "z15")["why"][0]["reason"], "new-module");
    assert_eq!(of("numbers", "z15")["why"][0]["reason"], "new-target");
    // Without the cache nobody knows the keys.
    let blind = farm.isomer("plan --json --no-cache").ok().json();
    let own = blind["cells"].as_array().unwrap().iter().find(|cell| cell["target"] == "own").unwrap().clone();
    assert_eq!(own["why"][0], json!({"reason": "profile", "changes": null}));

    // The release does what was planned.
    assert_eq!(compiled(&farm.isomer("release --json").ok().json()), jobs);
    let largest = contents(&farm.path().join("dist")).into_iter().max_by_key(|(_, bytes)| bytes.len()).unwrap().0;
    farm.put("dist/broken", "");
    fs::rename(farm.path().join("dist/broken"), farm.path().join("dist").join(largest)).unwrap();
    let ran = farm.isomer("plan --why --no-cache").ok();
    assert!(ran.stdout().contains("compile: it is damaged: "), "{ran}");
}

#[test]
fn shards_join_to_the_bytes_that_one_machine_makes() {
    let _settings = settings();
    let farm = Farm::new();
    farm.manifest("['all']", &["numbers", "matmul", "traps"]);
    farm.isomer("release --no-cache -o whole").ok();
    let mut jobs = 0;
    for number in 1..=3 {
        let line = format!("release --no-cache --json --shard {number}/3 -o part-{number}");
        jobs += compiled(&farm.isomer(&line).ok().json());
    }
    let planned = farm.isomer("plan --json --no-cache -o none").ok().json();
    assert_eq!(jobs, planned["jobs"].as_array().unwrap().len(), "each job is done once");
    farm.isomer("merge part-3 part-1 part-2 -o joined").ok();
    let whole = contents(&farm.path().join("whole"));
    assert_eq!(contents(&farm.path().join("joined")), whole);
    // Again, into the same place, and a second time out of the cache.
    farm.isomer("merge part-1 part-2 part-3 -o joined").ok();
    assert_eq!(contents(&farm.path().join("joined")), whole);

    let ran = farm.isomer("merge part-1 part-3 -o missing").fails();
    assert_snapshot!("merge_missing", farm.shown(&ran));
    farm.manifest("['x86-64-v3']", &["numbers"]);
    farm.isomer("release --no-cache --shard 2/3 -o other").ok();
    let ran = farm.isomer("merge part-1 other part-3 -o missing").fails();
    assert_snapshot!("merge_other_plan", farm.shown(&ran));
    let ran = farm.isomer("merge part-1 part-2 part-3 none -o missing").fails();
    assert_snapshot!("merge_no_release", farm.shown(&ran));
    let ran = farm.isomer("release --shard 4/3 -o missing").fails();
    assert_snapshot!("shard_malformed", farm.shown(&ran));
    assert!(!farm.path().join("missing").exists());
    isomer().line("keygen -o key").dir(farm.path()).env("ISOMER_PASSPHRASE", "secret").ok();
    let sign = isomer().line("sign part-1 --key key.key").dir(farm.path()).env("ISOMER_PASSPHRASE", "secret").fails();
    assert_snapshot!("sign_part", farm.shown(&sign));
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// Writes a document as a blob, and its digest and size into the descriptor.
fn put(directory: &Path, document: &Value, descriptor: &mut Value) {
    let text = document.to_string();
    descriptor["digest"] = digest(text.as_bytes()).into();
    descriptor["size"] = text.len().into();
    let hex = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap().to_owned();
    fs::write(directory.join("blobs/sha256").join(hex), text).unwrap();
}

/// Makes a release say of itself that wasmtime 47 made it.
fn pretend_older(directory: &Path) {
    let read = |path: PathBuf| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let blob = |digest: &Value| directory.join("blobs/sha256").join(digest.as_str().unwrap().replace("sha256:", ""));
    let mut root = read(directory.join("index.json"));
    for module in root["manifests"].as_array_mut().unwrap() {
        if module["mediaType"] != "application/vnd.oci.image.index.v1+json" {
            continue;
        }
        let mut index = read(blob(&module["digest"]));
        for descriptor in index["manifests"].as_array_mut().unwrap() {
            if descriptor["annotations"]["dev.isomer.engine"].is_null() {
                continue;
            }
            let mut manifest = read(blob(&descriptor["digest"]));
            let mut config = read(blob(&manifest["config"]["digest"]));
            config["engine"] = json!("47.0.0");
            config["requirements"]["engine"] = json!("47");
            let all = &config["requirements"];
            let compared = json!([
                all["engine"],
                all["kind"],
                all["arch"],
                all["os"],
                all["isa"],
                all["tunables"],
                all["wasm-features"],
                {}
            ]);
            config["compat"] = json!(digest(compared.to_string().as_bytes()));
            descriptor["annotations"]["dev.isomer.engine"] = json!("wasmtime 47.0.0");
            descriptor["annotations"]["dev.isomer.compat"] = config["compat"].clone();
            descriptor["annotations"]["dev.isomer.requirements"] = json!(config["requirements"].to_string());
            put(directory, &config, &mut manifest["config"]);
            put(directory, &manifest, descriptor);
        }
        put(directory, &index, module);
    }
    fs::write(directory.join("index.json"), root.to_string()).unwrap();
}

#[test]
fn releases_of_two_engines_join_and_each_server_finds_its_own() {
    let _settings = settings();
    let farm = Farm::new();
    farm.manifest("['x86-64-v1', 'x86-64-v3', 'pulley64']", &["numbers"]);
    for output in ["new", "old"] {
        farm.isomer("release -o").arg(output).ok();
    }
    pretend_older(&farm.path().join("old"));
    farm.isomer("merge old new -o both").ok();
    let json = farm.isomer("inspect both --json").ok().json();
    let variants = json[0]["variants"].as_array().unwrap();
    let of = |engine: &str| variants.iter().filter(|variant| variant["config"]["engine"] == engine).count();
    assert_eq!(of("47.0.0"), of("48.0.8"), "{json}");
    assert_eq!(of("47.0.0") + of("48.0.8"), variants.len());

    let mut host = isomer_tests::host();
    let chosen = |host: &Value| {
        farm.put("host.json", host.to_string());
        let select = isomer_tests::isomer_run().line("select both numbers --host host.json --json");
        select.dir(farm.path()).ok().json()["chosen"]["engine"].clone()
    };
    let ours = chosen(&host);
    host["engine"] = json!("47.0.0");
    let theirs = chosen(&host);
    assert_ne!(ours, theirs);

    // A different module under the same name is no part of it.
    farm.put("numbers.wasm", fs::read(guest("traps")).unwrap());
    farm.isomer("release -o third").ok();
    let ran = farm.isomer("merge new third -o missing").fails();
    assert_snapshot!("merge_other_module", farm.shown(&ran));
}

#[test]
fn what_is_built_twice_is_the_same() {
    let farm = Farm::new();
    farm.manifest(FOUR, &["numbers", "matmul"]);
    farm.isomer("release --no-cache -o once").ok();
    let ran = farm.isomer("release --check-reproducible --json").ok();
    assert!(ran.stderr().contains("every byte is the same"), "{ran}");
    assert_eq!(compiled(&ran.json()), 8, "{ran}");
    assert_eq!(contents(&farm.path().join("dist")), contents(&farm.path().join("once")));
    let left: Vec<_> = fs::read_dir(farm.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".isomer")), "{left:?}");
}

#[test]
fn timings_are_one_page_that_a_browser_reads() {
    let farm = Farm::new();
    farm.manifest(FOUR, &["numbers", "matmul"]);
    farm.isomer("release --timings timings.html").ok();
    let page = fs::read_to_string(farm.path().join("timings.html")).unwrap();
    for words in ["numbers x86-64-v3, ", "matmul pulley64, ", "cells compiled", "<svg ", "prefers-color-scheme:dark"] {
        assert!(page.contains(words), "no `{words}`: {page}");
    }
    assert!(!page.contains("http") && !page.contains("<script"), "it needs nothing else");
    // It is well-formed, which is more than a browser asks for.
    let parse = "import sys, xml.etree.ElementTree as tree; tree.parse(sys.argv[1])";
    program("python3").args(["-c", parse, "timings.html"]).dir(farm.path()).ok();
    let ran = farm.isomer("compile numbers.wasm -t z15 --timings no/such/timings.html").fails();
    assert!(ran.stderr().contains("`no/such`") && !farm.path().join("numbers.z15.cwasm").exists(), "{ran}");
}
