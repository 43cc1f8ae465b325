//! `isomer-run` as the first process of a container, for which the kernel has no default actions: what stops it elsewhere
//! stops it there, at once and with the same exit code, and it leaves no zombies.

use isomer_tests::native::native;
use isomer_tests::{Call, Running, is_alive, isomer, program, scratch, signal, skip, wait_until};
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// It turns in circles.
const SPINS: &str = r#"(module (func (export "_start") (loop (br 0))))"#;
/// It waits for a clock, for an hour.
const SLEEPS: &str = r#"(module
    (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "_start")
        (i32.store (i32.const 16) (i32.const 1))
        (i64.store (i32.const 24) (i64.const 3600000000000))
        (drop (call $poll (i32.const 0) (i32.const 100) (i32.const 1) (i32.const 200)))))"#;

fn artifact(name: &str) -> PathBuf {
    static MADE: OnceLock<TempDir> = OnceLock::new();
    let directory = MADE.get_or_init(|| {
        let directory = scratch();
        for (name, text) in [("spins", SPINS), ("sleeps", SLEEPS)] {
            fs::write(directory.path().join(format!("{name}.wat")), text).unwrap();
            let line = format!("compile {name}.wat -t {} -o {name}.cwasm", native().baseline);
            isomer().line(&line).dir(directory.path()).ok();
        }
        directory
    });
    directory.path().join(format!("{name}.cwasm"))
}

/// Whether this machine makes namespaces for processes.
fn available(test: &str) -> bool {
    let works = program("unshare").args(["--pid", "--fork", "true"]).run().code() == 0;
    if !works {
        skip(test, "no namespace for processes can be made here");
    }
    works
}

/// `command` as the first process of a namespace.
fn as_first_process() -> Call {
    program("unshare").args(["--pid", "--fork", "--kill-child"])
}

fn isomer_run_path() -> PathBuf {
    isomer_tests::binaries().join("isomer-run")
}

/// The first process, once it is `isomer-run` and its guest runs.
fn first_process(running: &Running) -> u32 {
    let mut found = None;
    wait_until("the guest runs", || {
        found = running.children().first().copied().filter(|process| is_running_its_guest(*process));
        found.is_some()
    });
    found.unwrap()
}

/// A mapping of the artifact's copy says that it was loaded.
fn is_running_its_guest(process: u32) -> bool {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap_or_default();
    maps.lines().any(|line| line.contains("memfd:isomer") && line.contains("r-xp"))
}

#[test]
fn a_first_process_exits_at_once_with_the_usual_codes() {
    if !available("a_first_process_exits_at_once_with_the_usual_codes") {
        return;
    }
    for guest in ["spins", "sleeps"] {
        for (name, code) in [("TERM", 143), ("INT", 130), ("HUP", 129), ("QUIT", 131)] {
            let run = as_first_process().arg(isomer_run_path()).args(["run", "--allow-unsigned"]).arg(artifact(guest));
            let running = run.start();
            let process = first_process(&running);
            let begun = Instant::now();
            signal(process, name);
            let ran = running.wait();
            assert_eq!(ran.code(), code, "{guest}, SIG{name}: {ran}");
            // A tenth of a second, on a machine that does nothing else.
            assert!(begun.elapsed() < Duration::from_secs(2), "{guest}, SIG{name}: {:?}", begun.elapsed());
        }
    }
}

#[test]
fn another_process_ends_by_the_signal() {
    for (name, code) in [("TERM", 143), ("INT", 130)] {
        // A test that is started in the background inherits signals that are ignored.
        let running = program("env").arg("--default-signal=INT,TERM").arg(isomer_run_path());
        let running = running.args(["run", "--allow-unsigned"]).arg(artifact("sleeps")).start();
        wait_until("the guest runs", || is_running_its_guest(running.id()));
        running.signal(name);
        let ran = running.wait();
        assert_eq!((ran.code(), ran.output.status.code()), (code, None), "SIG{name}: {ran}");
    }
}

#[test]
fn children_that_it_inherits_leave_no_zombies() {
    if !available("children_that_it_inherits_leave_no_zombies") {
        return;
    }
    // One child ends before the shell becomes `isomer-run`, one after.
    let script = "true & sleep 1 & exec \"$0\" run --allow-unsigned \"$1\"";
    let running = as_first_process().args(["sh", "-c", script]).arg(isomer_run_path()).arg(artifact("sleeps")).start();
    let process = first_process(&running);
    let children = || fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap();
    wait_until("children are reaped", || children().trim().is_empty());
    assert!(is_alive(process));
    signal(process, "TERM");
    assert_eq!(running.wait().code(), 143);
}
