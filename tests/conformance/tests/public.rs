//! The public suites, from checkouts that `cargo xtask suites` names; and small suites of the same layout, so that it is
//! known what their runner notices.

use isomer_conformance::checkout::Checkout;
use isomer_conformance::conform::Counts;
use isomer_conformance::profiles::{Profile, of_this_machine};
use isomer_conformance::public;
use isomer_conformance::skips::{Skip, Skips};
use isomer_tests::{host, proof, scratch};
use std::env;
use std::fs;
use std::path::Path;

#[test]
#[ignore = "needs checkouts: cargo xtask suites DIR…"]
fn the_public_suites_pass() {
    let directories = env::var_os("ISOMER_SUITES").expect("ISOMER_SUITES names checkouts, as PATH does directories");
    let only: Option<Vec<String>> =
        env::var("ISOMER_SUITES_PROFILES").ok().map(|names| names.split(',').map(str::to_owned).collect());
    let shipped = |names: Vec<String>| names.iter().map(|name| Profile::shipped(name)).collect::<Vec<_>>();
    let (profiles, for_programs) = match only {
        Some(names) => (shipped(names.clone()), shipped(names)),
        None => (of_this_machine().0, best_and_pulley()),
    };
    let mut all = Vec::new();
    let mut known = Vec::new();
    for directory in env::split_paths(&directories) {
        let checkout = Checkout::find(&directory).unwrap_or_else(|error| panic!("{error:#}"));
        let skips = Skips::of(checkout.kind.name()).unwrap();
        let counts =
            public::run(&checkout, &skips, &profiles, &for_programs).unwrap_or_else(|error| panic!("{error:#}"));
        counts.iter().for_each(|counts| println!("{counts}"));
        all.extend(counts);
        known.extend(skips.skip);
    }
    proof::record("public", &all);
    proof::record("known", &known);
    let failed: usize = all.iter().map(|counts| counts.failed.len()).sum();
    assert_eq!(failed, 0, "see above: unexpected failures, or known ones that pass");
}

/// What a server with this CPU would take, and what any server can.
fn best_and_pulley() -> Vec<Profile> {
    let profiles = of_this_machine().0;
    let pulley = profiles.iter().filter(|profile| profile.name.starts_with("pulley"));
    let native: Vec<_> = profiles.iter().filter(|profile| !profile.name.starts_with("pulley")).collect();
    let generic = format!("{}-", host()["arch"].as_str().expect("a host has an architecture").replace('_', "-"));
    let best = native.iter().rfind(|profile| profile.name.starts_with(&generic)).or(native.last());
    best.into_iter().copied().chain(pulley).cloned().collect()
}

#[test]
fn every_known_failure_has_a_reason_and_an_issue() {
    for suite in ["wasi-testsuite", "wasmtime", "component-model"] {
        for Skip { reason, issue, scripts, .. } in Skips::of(suite).unwrap().skip {
            assert!(!reason.trim().is_empty() && !scripts.is_empty(), "{suite}");
            assert!(issue.is_some_and(|issue| issue.starts_with("https://")), "{suite}: {reason}");
        }
    }
}

fn write(directory: &Path, file: &str, content: impl AsRef<[u8]>) {
    let path = directory.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn run(directory: &Path, skips: &Skips) -> Counts {
    let profiles = [Profile::shipped("pulley64")];
    let checkout = Checkout::find(directory).unwrap();
    public::run(&checkout, skips, &profiles, &profiles).unwrap().swap_remove(0)
}

fn known(script: &str) -> Skips {
    let skip =
        Skip { reason: "a test".to_owned(), issue: None, profiles: Vec::new(), scripts: vec![script.to_owned()] };
    Skips { skip: vec![skip] }
}

#[test]
fn a_checkout_of_another_repository_is_refused() {
    let directory = scratch();
    let error = Checkout::find(directory.path()).unwrap_err().to_string();
    assert!(error.contains("expected a checkout of wasi-testsuite"), "{error}");
}

#[test]
fn scripts_with_components_and_settings_are_run() {
    let directory = scratch();
    let script = |name: &str, text: &str| write(directory.path(), &format!("tests/misc_testsuite/{name}.wast"), text);
    let component = r#"
        (component
          (import "host" (instance $host
            (export "nested" (instance (export "return-four" (func (result u32)))))
            (export "simple-module" (core module (export "f" (func (result i32)))))))
          (alias export $host "simple-module" (core module $m))
          (core instance $i (instantiate $m))
          (func (export "one-hundred-and-one") (result u32) (canon lift (core func $i "f")))
        )
        (assert_return (invoke "one-hundred-and-one") (u32.const NUMBER))"#;
    script("right", &component.replace("NUMBER", "101"));
    script("wrong", &component.replace("NUMBER", "102"));
    script("setting", ";;! custom_page_sizes = true\n(module (memory 1 (pagesize 1)))");
    script("no-setting", "(module (memory 1 (pagesize 1)))");
    let counts = run(directory.path(), &Skips::default());
    let failed: Vec<_> = counts.failed.iter().collect();
    assert_eq!((counts.passed, failed.len()), (2, 2), "{counts}");
    assert!(failed[0].0 == "no-setting.wast" && failed[0].1.contains("custom-page-sizes"), "{counts}");
    assert!(failed[1].0 == "wrong.wast" && failed[1].1.contains("U32(101)"), "{counts}");
}

/// A program in WASI 0.1 that writes `text` and ends with `code`.
fn program(text: &str, code: u32) -> Vec<u8> {
    let length = text.len();
    wat::parse_str(format!(
        r#"(module
          (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (memory (export "memory") 1)
          (data (i32.const 0) "\10\00\00\00\{length:02x}\00\00\00")
          (data (i32.const 16) "{text}")
          (func (export "_start")
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
            (call $exit (i32.const {code}))))"#
    ))
    .unwrap()
}

#[test]
fn programs_are_held_to_what_is_written_beside_them() {
    let directory = scratch();
    let put = |file: &str, content: &[u8]| {
        write(directory.path(), &format!("tests/rust/testsuite/wasm32-wasip1/{file}"), content)
    };
    put("manifest.json", br#"{ "name": "small", "version": "wasm32-wasip1" }"#);
    put("exits.wasm", &program("", 3));
    put("exits.json", br#"{ "exit_code": 3 }"#);
    put("prints.wasm", &program("hello", 0));
    put(
        "prints.json",
        br#"{ "operations": [{ "type": "run" }, { "type": "read", "payload": "hello" }, { "type": "wait" }] }"#,
    );
    put("fails.wasm", &program("oh", 1));
    put("says-other.wasm", &program("bye", 0));
    put("says-other.json", br#"{ "stdout": "hello" }"#);
    let counts = run(directory.path(), &Skips::default());
    let failed: Vec<_> = counts.failed.iter().collect();
    assert_eq!((counts.passed, counts.commands, failed.len()), (2, 5, 2), "{counts}");
    assert!(failed[0].1.contains("expected the exit code 0, found 1"), "{counts}");
    assert!(failed[1].1.contains("bye"), "{counts}");
    // What is listed must fail, and be there.
    let listed = run(directory.path(), &known("rust/wasm32-wasip1/fails"));
    assert_eq!((listed.skipped, listed.failed.len()), (1, 1), "{listed}");
    let stale = run(directory.path(), &known("rust/wasm32-wasip1/prints"));
    assert!(stale.failed["rust/wasm32-wasip1/prints"].contains("passes, but is listed"), "{stale}");
    let gone = run(directory.path(), &known("rust/wasm32-wasip1/gone"));
    assert!(gone.failed["rust/wasm32-wasip1/gone"].contains("not in the checkout"), "{gone}");
}
