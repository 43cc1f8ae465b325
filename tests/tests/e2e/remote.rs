//! Releases through a remote cache and a remote farm, a real `buildbox-casd`: the same bytes as here, and remotes that
//! are away, or lie.

use insta::assert_snapshot;
use isomer_testing::casd::Casd;
use isomer_tests::{Call, Ran, SECONDS, contents, guest, isomer, scratch, snapshot_settings_with, wait_until};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A directory with a manifest of two modules for four targets.
fn project() -> TempDir {
    let directory = scratch();
    for name in ["numbers", "matmul"] {
        fs::copy(guest(name), directory.path().join(format!("{name}.wasm"))).unwrap();
    }
    let targets = "['x86-64-v2', 'x86-64-v3', 'x86-64-v4', 'neoverse-n1', 'pulley64']";
    let modules = "[[module]]\npath = 'numbers.wasm'\n[[module]]\npath = 'matmul.wasm'\n";
    let manifest = format!("[release]\nname = 'r'\nversion = '1.0.0'\ntargets = {targets}\n{modules}");
    fs::write(directory.path().join("isomer.toml"), manifest).unwrap();
    directory
}

/// A call whose own cache is empty.
fn call(directory: &Path, line: &str) -> Call {
    isomer().line(line).dir(directory)
}

/// No job that is done on this machine ends so soon: what succeeds with it came from elsewhere.
const NOTHING_HERE: &str = "--job-timeout 1ms";

#[test]
fn the_same_bytes_here_in_shards_through_a_cache_and_on_a_farm() {
    let test = "the_same_bytes_here_in_shards_through_a_cache_and_on_a_farm";
    let (Some(cache), Some(farm)) = (Casd::start(test), Casd::start(test)) else { return };
    let project = project();
    let made = |output: &str, options: &str| {
        let ran = call(project.path(), &format!("release --json -o {output} {options}")).ok();
        let json = ran.json();
        let compiled = json["cells"].as_array().unwrap().iter().filter(|cell| cell["compiled"] == true).count();
        assert_eq!(compiled == 0, options.contains(NOTHING_HERE) && output != "farm", "{output}: {json}");
        contents(&project.path().join(output))
    };
    let here = made("here", "--no-cache");
    made("part-1", "--shard 1/2");
    made("part-2", "--shard 2/2");
    call(project.path(), "merge part-1 part-2 -o merged").ok();
    assert_eq!(contents(&project.path().join("merged")), here, "shards");

    let of = |option: &str, casd: &Casd| format!("{option} {}", casd.url());
    call(project.path(), &format!("release -o none {NOTHING_HERE}")).fails();
    assert_eq!(made("cache", &of("--remote-cache", &cache)), here, "filling the cache");
    let filled = cache.results().len();
    let from_cache = format!("{} {NOTHING_HERE}", of("--remote-cache", &cache));
    assert_eq!(made("cached", &from_cache), here, "from the cache");
    assert_eq!(cache.results().len(), filled);

    let on_farm = format!("{} {NOTHING_HERE}", of("--remote-exec", &farm));
    assert_eq!(made("farm", &on_farm), here, "on the farm");
    assert_eq!(farm.results().len(), filled, "the farm did the jobs");
    // Both have the same actions.
    let from_farm = format!("{} {NOTHING_HERE}", of("--remote-cache", &farm));
    assert_eq!(made("farmed", &from_farm), here, "from the farm's cache");
    let compared = format!("{} --distrust 100%", of("--remote-exec", &farm));
    call(project.path(), &format!("release -o compared {compared}")).ok();
    assert_eq!(contents(&project.path().join("compared")), here, "compared");
    // Where nothing can be done here, nothing can be compared.
    call(project.path(), &format!("release -o none {compared} {NOTHING_HERE}")).fails();

    let compile = |output: &str, options: &str| {
        call(project.path(), &format!("compile numbers.wasm -t z15 -o {output} {options}")).ok();
        fs::read(project.path().join(output)).unwrap()
    };
    assert_eq!(compile("z15.here", ""), compile("z15.farm", &on_farm));
}

#[test]
fn wrong_results_of_a_remote_cache_are_detected() {
    let Some(casd) = Casd::start("wrong_results_of_a_remote_cache_are_detected") else { return };
    let _settings = settings();
    let project = project();
    let compile = |module: &str, target: &str, more: &str| {
        let line = format!("compile {module}.wasm -t {target} -o out --remote-cache {} {more}", casd.url());
        call(project.path(), &line)
    };
    let result_of = |module: &str, target: &str| {
        let before = casd.results();
        compile(module, target, "").ok();
        let after = casd.results();
        after.into_iter().find(|result| !before.contains(result)).expect("a new result")
    };
    let numbers = result_of("numbers", "x86-64-v3");
    let right = fs::read(project.path().join("out")).unwrap();
    let matmul = result_of("matmul", "x86-64-v3");
    let pulley = result_of("numbers", "pulley64");

    // An artifact that requires what the profile promises, and has other code.
    fs::copy(&matmul, &numbers).unwrap();
    let ran = compile("numbers", "x86-64-v3", "--distrust 100%").fails();
    assert_snapshot!("remote_lies", ran.shown(project.path()));
    // One for another target needs no distrust.
    fs::copy(&pulley, &numbers).unwrap();
    let execute = format!("compile numbers.wasm -t x86-64-v3 -o none --remote-exec {}", casd.url());
    assert_snapshot!("remote_executes_another", call(project.path(), &execute).fails().shown(project.path()));
    assert!(!project.path().join("none").exists());
    let ran = compile("numbers", "x86-64-v3", "").ok();
    assert_snapshot!("remote_has_another_target", ran.stderr());
    assert_eq!(fs::read(project.path().join("out")).unwrap(), right);
    // It was mended.
    compile("numbers", "x86-64-v3", NOTHING_HERE).ok();
    assert_eq!(fs::read(project.path().join("out")).unwrap(), right);
}

#[test]
fn a_cache_that_goes_away_costs_only_time() {
    let Some(casd) = Casd::start("a_cache_that_goes_away_costs_only_time") else { return };
    let project = project();
    call(project.path(), "release -o here").ok();
    let running = call(project.path(), &format!("release -j 1 --remote-cache {}", casd.url())).start();
    wait_until("a worker", || !running.children().is_empty());
    drop(casd);
    let ran = running.wait();
    assert_eq!(ran.code(), 0, "{ran}");
    let warnings = ["goes on without the remote cache", "nothing more is stored in the remote cache this time"];
    let times: Vec<_> = warnings.iter().map(|warning| ran.stderr().matches(warning).count()).collect();
    assert!(times.iter().sum::<usize>() > 0 && times.iter().all(|times| *times <= 1), "{ran}");
    assert_eq!(contents(&project.path().join("dist")), contents(&project.path().join("here")));
}

/// Snapshots without what differs from run to run.
fn settings() -> insta::internals::SettingsBindDropGuard {
    snapshot_settings_with(&[
        (r"127\.0\.0\.1:\d+", "[ADDRESS]"),
        (r"\w+ failed 6 times in \d+\.\d s, the last time with .*", "[CALL] failed 6 times: [REASON]"),
        SECONDS,
    ])
    .bind_to_scope()
}

/// A farm that is gone after its first result, and what a call of `line` then says of it.
fn lose_farm(test: &str, project: &Path, line: &str) -> Option<Ran> {
    let casd = Casd::start(test)?;
    let running = call(project, &format!("{line} --remote-exec {}", casd.url())).start();
    wait_until("a result", || !casd.results().is_empty());
    drop(casd);
    let lost = Instant::now();
    let ran = running.wait();
    // A job waits for six seconds; if each did, it would be more than a minute.
    assert!(lost.elapsed() < Duration::from_secs(25), "{:?}: {ran}", lost.elapsed());
    Some(ran)
}

#[test]
fn a_farm_that_goes_away_ends_the_release_with_one_error() {
    let _settings = settings();
    let project = project();
    let all = "[release]\nname = 'r'\nversion = '1.0.0'\ntargets = ['all']\n[[module]]\npath = 'numbers.wasm'\n";
    fs::write(project.path().join("isomer.toml"), all).unwrap();
    let test = "a_farm_that_goes_away_ends_the_release_with_one_error";
    for jobs in [1, 4] {
        let line = format!("release --json -j {jobs} --no-cache");
        let Some(ran) = lose_farm(test, project.path(), &line) else { return };
        assert_eq!(ran.code(), 1, "{ran}");
        let json = ran.json();
        let failures: Vec<_> = json["cells"].as_array().unwrap().iter().map(|cell| cell["failure"].as_str()).collect();
        let count = |wanted: &str| failures.iter().filter(|failure| **failure == Some(wanted)).count();
        assert_eq!((count("remote-lost"), count("remote"), count("interrupted")), (1, 0, 0), "{ran}");
        assert!(count("not-tried") > 10, "{ran}");
        assert_snapshot!("remote_farm_lost", ran.stderr());
        assert!(!project.path().join("dist").exists());
    }
}

#[test]
fn with_a_fallback_a_farm_that_goes_away_costs_only_time() {
    let _settings = settings();
    let project = project();
    let test = "with_a_fallback_a_farm_that_goes_away_costs_only_time";
    call(project.path(), "release -o here").ok();
    let Some(ran) = lose_farm(test, project.path(), "release -j 3 --remote-fallback") else { return };
    assert_eq!(ran.code(), 0, "{ran}");
    assert_snapshot!("remote_farm_lost_fallback", ran.stderr());
    assert_eq!(contents(&project.path().join("dist")), contents(&project.path().join("here")));

    // One that was never there.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ran = call(project.path(), &format!("release -o away --remote-fallback --remote-exec grpc://{gone}")).ok();
    assert_snapshot!("remote_unreachable_fallback", ran.stderr());
    assert_eq!(contents(&project.path().join("away")), contents(&project.path().join("here")));
    // What is wrong with the call itself stays an error.
    call(project.path(), "release -o none --remote-fallback --remote-exec ftp://host").fails();
}

#[test]
fn an_unusable_remote_is_reported_before_any_work() {
    let _settings = settings();
    let project = project();
    // That port is closed now.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let release = |more: &str| call(project.path(), &format!("release {more}")).run().shown(project.path());
    assert_snapshot!("remote_unreachable", release(&format!("--remote-exec grpc://{gone}")));
    assert_snapshot!("remote_no_address", release("--remote-cache ftp://host"));
    assert_snapshot!("remote_malformed", release("--remote-cache grpc://host:1 --remote-header token"));
    fs::write(project.path().join("headers"), "x-key=a\nsecret\n").unwrap();
    assert_snapshot!("remote_header_file", release("--remote-cache grpc://host:1 --remote-header-file headers"));
    assert_snapshot!("remote_no_url", release("--distrust 5% --remote-ca ca.pem"));
    assert_snapshot!("remote_no_tool", release("--remote-cache grpc://host:1 --remote-tool nothing"));
    assert_snapshot!("remote_no_header_file", release("--remote-cache grpc://host:1 --remote-header-file nothing"));
    assert_snapshot!("remote_protocol_header", release("--remote-cache grpc://host:1 --remote-header te=x"));
    assert_snapshot!("remote_property", release("--remote-exec grpc://host:1 --remote-property linux"));
    assert_snapshot!("remote_no_scheme", release("--remote-cache 127.0.0.1:1"));
    assert_snapshot!("remote_no_port", release("--remote-cache grpc://host:99999"));
    assert_snapshot!("remote_no_host", release("--remote-cache grpc://:"));
    assert_snapshot!("remote_no_tls", release("--remote-cache grpc://host:1 --remote-ca /nonexistent"));
    assert!(!project.path().join("dist").exists());
}

/// A farm gets its tool, and no other file that a finger slipped to.
#[test]
fn only_a_program_is_sent_as_the_tool() {
    let _settings = settings();
    let project = project();
    // Whatever connects would be given a file.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let put = |name: &str, bytes: &[u8]| fs::write(project.path().join(name), bytes).unwrap();
    let mut program = fs::read(isomer_tests::binaries().join("isomer")).unwrap();
    program.truncate(100);
    put("empty", b"");
    put("key", b"-----BEGIN PRIVATE KEY-----\n");
    put("script", b"#!/bin/sh\nexec isomer \"$@\"\n");
    put("short", &program[..17]);
    program[4] = 1;
    put("of-32-bits", &program);
    call(project.path(), "compile numbers.wasm -t x86-64-v3 -o artifact").ok();
    fs::create_dir(project.path().join("directory")).unwrap();
    let files = ["empty", "key", "script", "short", "of-32-bits", "artifact", "directory", "/dev/null"];
    let refusals = files.map(|file| {
        let line = format!("release --remote-exec grpc://{address} --remote-tool {file}");
        call(project.path(), &line).fails().shown(project.path())
    });
    assert_snapshot!("remote_tool_refused", refusals.join("\n"));
    assert!(listener.accept().is_err(), "a connection was made");
}

/// It takes connections, as the system does for every listener, and never says a word.
#[test]
fn a_silent_remote_is_waited_for_until_the_deadline() {
    let _settings = settings();
    let project = project();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("grpc://{}", listener.local_addr().unwrap());
    let begun = Instant::now();
    let ran = call(project.path(), &format!("release --remote-timeout 4s --remote-cache {url}")).fails();
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}: {ran}", begun.elapsed());
    assert_snapshot!("remote_silent", ran.shown(project.path()));
    let ran =
        call(project.path(), &format!("release --remote-timeout 500ms --remote-fallback --remote-exec {url}")).ok();
    assert!(ran.stderr().contains("all jobs run on this machine"), "{ran}");
}

/// Bazel sends them too; what others can read on the way should not surprise.
#[test]
fn headers_without_tls_are_warned_of() {
    let project = project();
    let release = |url: &str| {
        let line = format!("release --remote-timeout 100ms --remote-cache {url} --remote-header x-api-key=s3cret");
        call(project.path(), &line).fails()
    };
    // An address reserved for documentation: no host has it.
    let ran = release("grpc://192.0.2.1:1");
    let warning = "warning: headers are sent to grpc://192.0.2.1:1 without TLS\n";
    assert!(ran.stderr().starts_with(warning) && !ran.stderr().contains("s3cret"), "{ran}");
    for url in ["grpcs://192.0.2.1:1", "grpc://127.0.0.1:1"] {
        assert!(!release(url).stderr().contains("warning"), "{url}");
    }
}
