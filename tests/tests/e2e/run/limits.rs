//! What a guest may use up: each limit with a guest that would use more, and the words that a person reads.

use super::{run, settings};
use insta::assert_snapshot;
use std::time::{Duration, Instant};

/// As timeout(1) has it.
const TIMEOUT: i32 = 124;
/// As a trap has it.
const TRAP: i32 = 134;

#[test]
fn each_limit_says_what_and_how_much_and_which_option_raises_it() {
    let _settings = settings();
    for (name, line) in [
        ("memory", "--max-memory 10MiB grow.cwasm"),
        ("memory_at_start", "--max-memory 1B traps.cwasm"),
        ("memory_refused", "--max-memory 10MiB gives-up.cwasm"),
        ("table", "--max-table-elements 5000 table.cwasm"),
        ("instances", "--max-instances 1 composed.cwasm"),
        ("stack", "--max-stack 64KiB recurse.cwasm"),
        ("handles", "--max-handles 100 handles.cwasm"),
        ("output", "--max-output 2500B --stdout null write.cwasm"),
        ("fuel", "--fuel 100000 spin.fuel.cwasm"),
        ("timeout", "--timeout 200ms spin.epoch.cwasm"),
        ("timeout_of_a_host_function", "--timeout 200ms waits.cwasm"),
        ("timeout_of_a_stuck_guest", "--timeout 200ms spin.cwasm"),
        ("fuel_not_compiled", "--fuel 100000 spin.cwasm"),
        ("shared_memory", "--max-memory 10MiB shared.cwasm"),
    ] {
        // What waits for input gets none, and no end.
        let call = if line.contains("waits") { waiting(line) } else { run(line).run() };
        assert_snapshot!(format!("run_limit_{name}"), call.shown(super::guests()));
    }
}

/// Runs a guest whose standard input stays open.
fn waiting(line: &str) -> isomer_tests::Ran {
    let program = isomer_tests::binaries().join("isomer-run");
    let script = format!("exec 3< <(sleep 20 2>/dev/null); {} run --allow-unsigned {line} <&3", program.display());
    let started = Instant::now();
    let ran = isomer_tests::program("bash").args(["-c", &script]).dir(super::guests()).run();
    assert!(started.elapsed() < Duration::from_secs(15), "{ran}");
    ran
}

#[test]
fn a_deadline_ends_guests_that_execute_wait_or_cannot_be_interrupted() {
    for line in ["--timeout 300ms spin.epoch.cwasm", "--timeout 300ms spin.cwasm", "-W timeout=1 spin.cwasm"] {
        let started = Instant::now();
        let ran = run(line).run();
        assert_eq!(ran.code(), TIMEOUT, "{ran}");
        assert!(started.elapsed() < Duration::from_secs(20), "{ran}");
    }
    // One that ends in time is not touched.
    run("--timeout 1h reactor.cwasm").ok();
    run("--timeout 1h --invoke get reactor.cwasm").ok();
}

#[test]
fn limits_that_are_not_reached_change_nothing() {
    let all = "--timeout 1m --max-memory 64MiB --max-table-elements 1000 --max-instances 10 --max-stack 1MiB \
               --max-handles 100 --max-output 1MiB";
    let ran = run(&format!("{all} sha256.cwasm")).stdin("abc").ok();
    assert!(ran.stdout().contains("ba7816bf"), "{ran}");
    assert_eq!(ran.stderr(), "");
    assert_eq!(run("--fuel 10 --invoke get reactor.cwasm").run().code(), 1);
    assert_eq!(run("-W max-memory-size=1048576 grow.cwasm").run().code(), TRAP);
    run("p3.fuel.cwasm").ok();
}

#[test]
fn a_limit_takes_the_form_that_keeps_it_and_nothing_else_does() {
    let directory = isomer_tests::scratch();
    let path = directory.path();
    std::fs::write(path.join("spin.wat"), include_str!("guests/spin.wat")).unwrap();
    let manifest = format!(
        "[release]\nname = 'forms'\nversion = '1.0.0'\ntargets = ['{}']\n[[module]]\npath = 'spin.wat'\n\
         limits = ['none', 'epoch', 'fuel']\n",
        isomer_tests::native::native().baseline
    );
    std::fs::write(path.join("isomer.toml"), manifest).unwrap();
    isomer_tests::isomer().line("release -o dist").dir(path).ok();
    let call = |line: &str| {
        let line = format!("run --allow-unsigned --explain {line} dist/ spin");
        isomer_tests::isomer_run().line(&line).dir(path).run()
    };
    let timed = call("--timeout 200ms");
    assert!(
        timed.code() == TIMEOUT && timed.stderr().contains("+epoch") && timed.stderr().contains("interrupt"),
        "{timed}"
    );
    let fuelled = call("--fuel 10000");
    assert!(fuelled.code() == TRAP && fuelled.stderr().contains("+fuel"), "{fuelled}");
    let plain =
        call("--timeout 200ms --target TARGET".replace("TARGET", isomer_tests::native::native().baseline).as_str());
    assert!(plain.code() == TIMEOUT && plain.stderr().contains("its process is ended"), "{plain}");
    let hint = format!("the form `{}+epoch` would trap there", isomer_tests::native::native().baseline);
    assert!(plain.stderr().contains(&hint), "{plain}");
}

/// A named pipe without a writer, in a granted directory, is waited for as by any program, and not beyond a deadline.
#[test]
fn a_guest_that_waits_for_a_pipe_ends_at_its_deadline() {
    let directory = isomer_tests::scratch();
    isomer_tests::program("mkfifo").arg(directory.path().join("pipe")).ok();
    for (access, guest) in [(":ro", "sha256.cwasm"), (":rw", "sha256.cwasm")] {
        let grant = format!("--timeout 300ms --dir {}::/d{access} {guest} /d/pipe", directory.path().display());
        let ran = run(&grant).run();
        assert_eq!(ran.code(), 124, "{ran}");
    }
}
