//! Every guest, with every input of `tests/guests/guests.toml`: from a release, and as a single artifact for every
//! target that this machine can run. Output, exit code and trap are what the table says.

use isomer_tests::{Call, Ran, examples, guest, isomer, isomer_run, root, scratch, skip};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

#[derive(Deserialize)]
struct Table {
    guest: Vec<Guest>,
}

#[derive(Deserialize)]
struct Guest {
    name: String,
    kind: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    invoke: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    stdin: String,
    #[serde(default)]
    env: BTreeMap<String, String>,
    dir: Option<String>,
    #[serde(default)]
    stdout: String,
    #[serde(default)]
    exit: i32,
    trap: Option<String>,
    #[serde(default)]
    frames: Vec<String>,
}

fn guests() -> Vec<Guest> {
    let text = fs::read_to_string(root().join("tests/guests/guests.toml")).unwrap();
    toml::from_str::<Table>(&text).unwrap().guest
}

/// `what` are the arguments that name the artifact.
fn run_case(what: &[&str], case: &Case) -> Ran {
    let mut call: Call = isomer_run().arg("run").arg("--allow-unsigned").stdin(case.stdin.clone());
    if let Some(directory) = &case.dir {
        call = call.arg("--dir").arg(format!("{}::.", root().join("tests/guests").join(directory).display()));
    }
    for (name, value) in &case.env {
        call = call.arg("--env").arg(format!("{name}={value}"));
    }
    if let Some(export) = &case.invoke {
        call = call.arg("--invoke").arg(export);
    }
    call.args(what).arg("--").args(&case.args).run()
}

#[track_caller]
fn check_case(what: &str, case: &Case, ran: &Ran) {
    assert_eq!(ran.stdout(), case.stdout, "{what}: {ran}");
    assert_eq!(ran.code(), case.exit, "{what}: {ran}");
    let stderr = ran.stderr();
    if let Some(trap) = &case.trap {
        assert!(stderr.contains(trap.as_str()), "{what}: no trap `{trap}`: {ran}");
    }
    // Innermost first; others may lie between.
    let mut left = stderr.as_str();
    for frame in &case.frames {
        let at = left.find(&format!("!{frame}")).unwrap_or_else(|| panic!("{what}: no frame {frame}: {ran}"));
        left = &left[at + 1..];
    }
}

#[test]
fn from_a_release_the_best_form_runs() {
    let release = examples().to_str().unwrap();
    for guest in guests() {
        for case in &guest.cases {
            check_case(&guest.name, case, &run_case(&[release, &guest.name], case));
        }
    }
}

#[test]
fn every_target_that_this_machine_has_runs_every_guest() {
    let directory = scratch();
    let inputs: Vec<_> = guests().iter().map(|entry| guest(&entry.name)).collect();
    // Some cells are not expressible, so the call as a whole fails; the others are written.
    isomer().arg("compile").args(&inputs).args(["-t", "all", "--out-dir"]).arg(directory.path()).fails();
    let host = isomer_run().line("host").ok().stdout();
    let mut ran_on: BTreeMap<&str, usize> = BTreeMap::new();
    for target in ["x86-64-v1", "x86-64-v2", "x86-64-v3", "x86-64-v4", "icelake-server", "pulley64"] {
        for entry in guests() {
            let artifact = directory.path().join(format!("{}.{target}.cwasm", entry.name));
            if !artifact.exists() || !runs_here(&artifact) {
                continue;
            }
            for case in &entry.cases {
                let what = format!("{} for {target} ({})", entry.name, entry.kind);
                check_case(&what, case, &run_case(&[artifact.to_str().unwrap()], case));
                *ran_on.entry(target).or_default() += 1;
            }
        }
        if !ran_on.contains_key(target) {
            skip("every_target_that_this_machine_has_runs_every_guest", &format!("this CPU does not run {target}"));
        }
    }
    // The interpreter runs everywhere, and so does the level that this test was compiled for.
    assert!(ran_on["pulley64"] > 50, "{ran_on:?} on {host}");
    if cfg!(target_arch = "x86_64") {
        assert!(ran_on["x86-64-v1"] > 50, "{ran_on:?} on {host}");
    }
}

fn runs_here(artifact: &Path) -> bool {
    isomer_run().arg("check").arg(artifact).run().code() == 0
}
