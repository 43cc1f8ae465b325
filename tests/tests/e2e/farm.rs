//! The build farm: jobs that misbehave, workers and parents that are killed, interruptions, plans, timings.

use insta::assert_snapshot;
use isomer_tests::farm::{FOUR, Farm, compiled, settings};
use isomer_tests::{contents, guest, is_alive, program, signal, wait_until};
use serde_json::json;
use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

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

#[test]
fn a_job_that_takes_too_much_is_one_failed_cell() {
    let _settings = settings();
    let farm = Farm::with_modules();
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
    let ran = farm.isomer(compile).line("--job-timeout 1s --job-memory 1kB").misused();
    assert_snapshot!("limit_malformed", farm.shown(&ran));
}

/// What one job may take is no matter of how its worker begins the next.
#[test]
fn a_sufficient_memory_limit_always_suffices() {
    let farm = Farm::with_modules();
    for _ in 0..4 {
        let compile = "compile numbers.wasm matmul.wasm traps.wasm -t all --no-cache --out-dir out --job-memory 64MiB";
        let ran = farm.isomer(compile).run();
        // Not every target has SIMD.
        assert!(!ran.stderr().contains("--job-memory") && !ran.stderr().contains("worker"), "{ran}");
    }
}

#[test]
fn with_fail_fast_nothing_begins_after_a_failure() {
    let farm = Farm::with_modules();
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
    let farm = Farm::with_modules();
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

/// No valid module is known to take the compiler as deep as its stack: expressions of a million levels do not, and blocks
/// that nest so deep take hours. So the worker ends as Rust's runtime ends a process: with this line, then SIGABRT.
#[test]
fn a_stack_that_overflows_is_one_failed_cell() {
    let _settings = settings();
    let farm = Farm::with_modules();
    let endless = endless();
    farm.put("endless.wasm", &endless);
    farm.put("slow.wasm", branches(9_000));
    let line = "compile endless.wasm slow.wasm -t x86-64-v3 -j 2 --no-cache --out-dir out";
    let running = farm.isomer(line).start();
    let mut deep = None;
    wait_until("both jobs to begin", || {
        deep = running.children().into_iter().find(|child| read_bytes(*child) > endless.len());
        deep.is_some() && running.children().len() == 2
    });
    let deep = deep.unwrap();
    let mut stderr = fs::OpenOptions::new().write(true).open(format!("/proc/{deep}/fd/2")).unwrap();
    stderr.write_all(b"\nthread 'main' has overflowed its stack\nfatal runtime error: stack overflow\n").unwrap();
    // Its end is waited for.
    drop(stderr);
    signal(deep, "ABRT");
    let ran = running.wait();
    assert_eq!(ran.code(), 1, "{ran}");
    assert_snapshot!("stack_overflow", farm.shown(&ran));
    assert!(farm.path().join("out/slow.x86-64-v3.cwasm").exists());
    assert!(!farm.path().join("out/endless.x86-64-v3.cwasm").exists());
}

#[test]
fn nothing_outlives_a_parent_that_is_killed() {
    let farm = Farm::with_modules();
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
    // No lock is left, nothing that disturbs the next release in the directory, and finished jobs are not lost.
    farm.manifest(targets, &["numbers", "matmul", "traps"]);
    assert_eq!(compiled(&farm.isomer("release --json").ok().json()), 2, "only the new module's");
    farm.isomer("release --no-cache -o elsewhere").ok();
    assert_eq!(contents(&farm.path().join("dist")), contents(&farm.path().join("elsewhere")));
}

#[test]
fn an_interrupted_release_goes_on_where_it_stopped() {
    let _settings = settings();
    let farm = Farm::with_modules();
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
    let farm = Farm::with_modules();
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
    assert_eq!(ran.code(), 143, "{ran}");
    assert!(farm.cached("actions").len() < 400, "it went on to the end");
}

#[test]
fn a_plan_says_what_changed() {
    let _settings = settings();
    let farm = Farm::with_modules();
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
    // Without the cache the keys are not known.
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
fn check_reproducible_finds_equal_bytes() {
    let farm = Farm::with_modules();
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
    let farm = Farm::with_modules();
    farm.manifest(FOUR, &["numbers", "matmul"]);
    farm.isomer("release --timings timings.html").ok();
    let page = fs::read_to_string(farm.path().join("timings.html")).unwrap();
    for words in ["numbers x86-64-v3, ", "matmul pulley64, ", "cells compiled", "<svg ", "prefers-color-scheme:dark"] {
        assert!(page.contains(words), "no `{words}`: {page}");
    }
    assert!(!page.contains("http") && !page.contains("<script"), "it needs nothing else");
    // It is well-formed, which is more than a browser requires.
    let parse = "import sys, xml.etree.ElementTree as tree; tree.parse(sys.argv[1])";
    program("python3").args(["-c", parse, "timings.html"]).dir(farm.path()).ok();
    let ran = farm.isomer("compile numbers.wasm -t z15 --timings no/such/timings.html").fails();
    assert!(ran.stderr().contains("`no/such`") && !farm.path().join("numbers.z15.cwasm").exists(), "{ran}");
    let ran = farm.isomer("release -o other --timings cache").fails();
    assert!(ran.stderr().contains("is a directory") && !farm.path().join("other").exists(), "{ran}");
    // What was made is told, though the page is not there.
    for line in ["release", "compile numbers.wasm -t z15"] {
        let ran = farm.isomer(line).line("--timings /dev/full").fails();
        assert!(ran.stdout().starts_with("module "), "{ran}");
        assert_eq!(ran.stderr(), TIMINGS_FAILED, "{ran}");
    }
}

const TIMINGS_FAILED: &str = "\
error: cannot write the page of timings; everything else succeeded
  caused by: cannot write `/dev/full`
  caused by: No space left on device (os error 28)
  hint: name another file with --timings
";
