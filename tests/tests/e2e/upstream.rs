//! Upstream's own `wasmtime`, from PyPI: its artifacts load here, ours load there, and with the same settings the
//! same code comes out.

use isomer_tests::native::native;
use isomer_tests::{guest, host, isomer, isomer_run, program, scratch, skip, upstream};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;

const CASES: [(&str, &str, &str); 3] = [
    ("sha256", "abc", "ba7816bf"),
    ("component", "one two", "stdin: 0 lines, 2 words"),
    ("matmul", "", "product 64x64"),
];

#[test]
fn artifacts_that_upstream_made_check_and_run() {
    let Some(wasmtime) = upstream() else {
        return skip("artifacts_that_upstream_made_check_and_run", "upstream's wasmtime is not installed");
    };
    let directory = scratch();
    for (name, stdin, expected) in CASES {
        let artifact = directory.path().join(format!("{name}.cwasm"));
        program(&wasmtime).arg("compile").arg(guest(name)).arg("-o").arg(&artifact).ok();
        isomer_run().arg("check").arg(&artifact).ok();
        let ran = isomer_run().line("run --allow-unsigned").arg(&artifact).stdin(stdin).ok();
        assert!(ran.stdout().contains(expected), "{ran}");
    }
    // Flags that upstream needs again on the run side are read from the artifact.
    let artifact = directory.path().join("tuned.cwasm");
    let flags = "compile -W fuel=1000000000 -O memory-reservation=65536 -O memory-guard-size=65536 -C collector=null -W epoch-interruption=n";
    program(&wasmtime).line(flags).arg(guest("sha256")).arg("-o").arg(&artifact).ok();
    let ran = isomer_run().line("run --allow-unsigned").arg(&artifact).stdin("abc").run();
    assert!(ran.stdout().starts_with("ba7816bf"), "{ran}");
}

#[test]
fn artifacts_of_shipped_profiles_load_in_an_engine_of_default_configuration() {
    let Some(wasmtime) = upstream() else {
        return skip(
            "artifacts_of_shipped_profiles_load_in_an_engine_of_default_configuration",
            "upstream's wasmtime is not installed",
        );
    };
    let directory = scratch();
    for (name, stdin, expected) in CASES {
        let artifact = directory.path().join(format!("{name}.cwasm"));
        isomer().arg("compile").arg(guest(name)).args(["-t", native().baseline, "-o"]).arg(&artifact).ok();
        let ran = program(&wasmtime).args(["run", "--allow-precompiled"]).arg(&artifact).stdin(stdin).ok();
        assert!(ran.stdout().contains(expected), "{ran}");
    }
}

#[test]
fn check_agrees_with_upstream_about_a_missing_extension() {
    let Some(wasmtime) = upstream() else {
        return skip("check_agrees_with_upstream_about_a_missing_extension", "upstream's wasmtime is not installed");
    };
    let newest = native().newest;
    let names = |list: &Value| list.as_array().unwrap().iter().map(|name| name.to_string()).collect::<BTreeSet<_>>();
    let has = names(&host()["isa"]);
    let shown = isomer().args(["targets", "show", "--json", newest]).ok().json();
    let needs = shown["isa"].as_array().unwrap().iter().map(|extension| extension["name"].to_string()).collect();
    let missing: BTreeSet<String> = &needs - &has;
    let directory = scratch();
    let artifact = directory.path().join("newest.cwasm");
    isomer().arg("compile").arg(guest("sha256")).args(["-t", newest, "-o"]).arg(&artifact).ok();
    let theirs = program(&wasmtime).args(["run", "--allow-precompiled"]).arg(&artifact).stdin("abc").run();
    let ours = isomer_run().arg("check").arg(&artifact).run();
    if missing.is_empty() {
        assert_eq!((ours.code(), theirs.code()), (0, 0), "{ours}\n{theirs}");
        return;
    }
    assert_eq!((ours.code(), theirs.code()), (1, 1), "{ours}\n{theirs}");
    assert!(theirs.stderr().contains("not available on the host"), "{theirs}");
    for name in &missing {
        assert!(ours.stderr().contains(name.trim_matches('"')), "no {name}: {ours}");
    }
}

#[test]
fn refused_like_upstream_but_before_compiling() {
    let Some(wasmtime) = upstream() else {
        return skip("refused_like_upstream_but_before_compiling", "upstream's wasmtime is not installed");
    };
    let directory = scratch();
    for (name, text, reason, upstreams) in [
        (
            "legacy",
            "(module (tag $t) (func try throw $t catch $t end))",
            "legacy-exceptions",
            "legacy_exceptions feature",
        ),
        ("invalid", "(module (func (result i32)))", "type mismatch", "type mismatch"),
        ("pages", "(module (memory 1 (pagesize 1)))", "custom-page-sizes", "custom page sizes proposal"),
    ] {
        let wat = directory.path().join(format!("{name}.wat"));
        fs::write(&wat, text).unwrap();
        let out = directory.path().join("out.cwasm");
        let theirs = program(&wasmtime).arg("compile").arg(&wat).arg("-o").arg(&out).fails();
        assert!(theirs.stderr().contains(upstreams), "{theirs}");
        let ours = isomer().arg("compile").arg(&wat).args(["-t", native().baseline, "-o"]).arg(&out).fails();
        assert!(ours.stderr().contains(reason), "{ours}");
    }
}
