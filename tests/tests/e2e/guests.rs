//! Every guest, with every input of `tests/guests/guests.toml`: from a release, and as a single artifact for every
//! target that this machine can run. Output, exit code and trap are what the table says.

use isomer_tests::foreign::Machine;
use isomer_tests::guests::{fault, guests, run};
use isomer_tests::{examples, guest, isomer, isomer_run, scratch, skip};
use std::collections::BTreeMap;
use std::path::Path;

#[test]
fn run_selects_the_best_variant_of_a_release() {
    let release = examples().to_str().unwrap();
    for guest in guests() {
        for case in &guest.cases {
            let fault = fault(case, &run(case, &Machine::here(), &[release, &guest.name]));
            assert_eq!(fault, None, "{}", guest.name);
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
                let what = format!("{} for {target} ({:?})", entry.name, entry.kind);
                let ran = run(case, &Machine::here(), &[artifact.to_str().unwrap()]);
                assert_eq!(fault(case, &ran), None, "{what}");
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
