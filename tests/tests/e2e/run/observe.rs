//! What is seen of a guest from inside: profiles, core dumps, statistics, more and less of what happens.

use super::{guests, run, settings};
use insta::assert_snapshot;
use isomer_tests::scratch;
use serde_json::Value;
use std::fs;

#[test]
fn the_guest_profiler_names_the_functions_that_were_executed() {
    let directory = scratch();
    let file = directory.path().join("profile.json");
    let ran = run(&format!("--profile guest={} --timeout 500ms spin.epoch.cwasm", file.display())).run();
    assert_eq!(ran.code(), 124, "{ran}");
    let profile: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let samples = &profile["threads"][0]["samples"];
    let count = samples["length"].as_u64().or(samples["stack"].as_array().map(|all| all.len() as u64));
    assert!(count.is_some_and(|count| count > 5), "{samples}");
    let refused = run("--profile guest spin.cwasm").fails();
    assert!(refused.stderr().contains("epoch-interruption"), "{refused}");
}

#[test]
fn jitdump_holds_the_code() {
    let directory = scratch();
    let guest = guests().join("sha256.cwasm");
    let line = format!("run --allow-unsigned --profile jitdump {}", guest.display());
    isomer_tests::isomer_run().line(&line).dir(directory.path()).stdin("abc").ok();
    let dumps: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(dumps.iter().any(|name| name.to_string_lossy().starts_with("jit-")), "{dumps:?}");
}

#[test]
fn a_trap_leaves_a_core_dump_and_an_end_leaves_none() {
    let directory = scratch();
    let file = directory.path().join("core");
    let line = |guest: &str| format!("--coredump={} {guest}", file.display());
    run(&line("reactor.cwasm")).ok();
    assert!(!file.exists());
    let ran = run(&line("traps.cwasm")).run();
    assert_eq!(ran.code(), 134, "{ran}");
    let dump = fs::read(&file).unwrap();
    assert!(dump.starts_with(b"\0asm") && dump.windows(9).any(|bytes| bytes == b"corestack"), "{} bytes", dump.len());
    fs::remove_file(&file).unwrap();
    // Wasmtime 48 panics over composed components: an error message less, and not one more.
    let composed = run(&line("composed.cwasm")).run();
    assert_eq!(composed.code(), 134, "{composed}");
    assert!(!composed.stderr().contains("bug"), "{composed}");
    assert!(file.exists() || composed.stderr().contains("there is no core dump"), "{composed}");
}

#[test]
fn statistics_are_text_or_json() {
    let ran = run("--stats=json sha256.cwasm").stdin("abc").ok();
    let stats: Value = serde_json::from_str(ran.stderr().trim()).unwrap_or_else(|error| panic!("{error}\n{ran}"));
    assert_eq!(stats["module"], "sha256.cwasm");
    for key in ["load-microseconds", "instantiate-microseconds", "run-microseconds", "process-memory-bytes-peak"] {
        assert!(stats[key].as_u64().is_some_and(|value| value > 0), "{key}: {stats}");
    }
    assert!(stats["guest-memory-bytes"].as_u64().is_some_and(|bytes| bytes >= 65536), "{stats}");
    assert_eq!(stats.get("fuel"), None);
    let fuel = run("--stats=json --fuel 5000 spin.fuel.cwasm").run().stderr();
    assert!(fuel.lines().any(|line| line.contains("\"fuel\":5000")), "{fuel}");
    let text = run("--stats sha256.cwasm").stdin("abc").ok().stderr();
    let names: Vec<_> = text.lines().map(|line| line[..16].trim().to_owned()).collect();
    assert_eq!(
        names,
        [
            "module",
            "target",
            "load path",
            "select",
            "verify",
            "load",
            "instantiate",
            "run",
            "guest memory",
            "process memory"
        ]
    );
}

#[test]
fn warnings_are_silenced_by_q_and_v_shows_more() {
    let _settings = settings();
    let line = "--max-memory 10MiB gives-up.cwasm";
    let quiet = run(&format!("-q {line}")).run();
    assert_eq!((quiet.code(), quiet.stderr()), (3, String::new()));
    let warned = run(line).run();
    assert_snapshot!("run_refused_warning", warned.shown(guests()));
    let file = scratch();
    let core = file.path().join("core").display().to_string();
    let verbose = run(&format!("-v --coredump={core} traps.cwasm")).run().stderr();
    assert!(verbose.contains("info: the core dump is in"), "{verbose}");
}
