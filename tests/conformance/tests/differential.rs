//! Random modules under random profiles: the same results, traps and bytes of memory everywhere. What differs is made
//! small and kept in `cases`, and every case there is compared again.

use isomer_conformance::compare::{Divergence, compare};
use isomer_conformance::profiles::{self, Profile, extensions_here, of_this_machine};
use isomer_conformance::random;
use isomer_conformance::shrink::shrink;
use isomer_tests::foreign::{Foreign, Machine, Program};
use isomer_tests::proof;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::{env, fs};

/// How many modules CI compares.
const MODULES: u64 = 150;

/// Of so many, one is compared on foreign CPUs too.
const FOREIGN_EVERY: u64 = 10;

#[derive(Default, Serialize)]
struct Compared {
    on: String,
    modules: usize,
    profiles: usize,
    steps: usize,
    divergences: Vec<String>,
    reason: Option<String>,
}

/// The shipped profiles of this machine, with nothing left open, and a random one.
fn here(seed: u64) -> Vec<(Profile, Machine)> {
    let triple = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let random = profiles::random(&triple, &extensions_here(), seed);
    let closed = of_this_machine().0.into_iter().map(|profile| profile.closed());
    closed.chain([random]).map(|profile| (profile, Machine::here())).collect()
}

#[test]
fn random_modules_do_the_same_under_all_profiles() {
    let modules = env::var("ISOMER_PROVE_MODULES").ok().and_then(|text| text.parse().ok()).unwrap_or(MODULES);
    let mut compared = Compared { on: "this machine".to_owned(), ..Compared::default() };
    for seed in 0..modules {
        let bytes = random::bytes(seed);
        let Ok(wasm) = random::module(&bytes) else { continue };
        let profiles = here(seed);
        compared.modules += 1;
        compared.profiles = profiles.len();
        match compare(&wasm, &profiles).unwrap_or_else(|error| panic!("seed {seed}: {error:#}")) {
            Ok(steps) => compared.steps += steps,
            Err(divergence) => compared.divergences.push(keep(seed, bytes, &divergence)),
        }
    }
    let foreign = on_foreign_cpus(modules);
    println!("{} modules, {} steps compared", compared.modules, compared.steps);
    let (expected, found) = (modules as usize / 2, compared.modules);
    let divergences = [compared].into_iter().chain(foreign).collect::<Vec<_>>();
    proof::record("differential", &divergences);
    assert!(found > expected, "only {found} of {modules} seeds make a module");
    assert!(divergences[0].steps > 10 * found, "hardly anything was compared");
    let all: Vec<_> = divergences.iter().flat_map(|compared| &compared.divergences).collect();
    assert!(all.is_empty(), "{all:#?}");
}

/// One CPU of each architecture that `cargo xtask foreign` set up, with a random part of what it has.
fn on_foreign_cpus(modules: u64) -> Vec<Compared> {
    const AARCH64: &[&str] = &["dotprod", "fp16", "i8mm", "lse"];
    const RISCV64: &[&str] = &["v", "zba", "zbb", "zbs", "zca", "zcd", "zfa", "zicond", "zvbb"];
    let runs = [
        ("aarch64-unknown-linux-gnu", "aarch64", "neoverse-v1", AARCH64),
        ("riscv64gc-unknown-linux-gnu", "riscv64", "rva22u64,v=true,vlen=128,zfa=true,zicond=true,zvbb=true", RISCV64),
        ("s390x-unknown-linux-gnu", "s390x", "max", &[]),
    ];
    let foreign = Foreign::read();
    let first = here(0).swap_remove(0);
    let run = |(triple, arch, cpu, extensions): &(&str, &str, &str, &[&str])| {
        let mut compared = Compared { on: format!("qemu-{arch} -cpu {cpu}"), profiles: 2, ..Compared::default() };
        let machine = match foreign.machine(arch, cpu) {
            Ok(machine) if machine.has(Program::Loader) => machine,
            Ok(_) => return Compared { reason: Some("the loader is not built for it".to_owned()), ..compared },
            Err(reason) => {
                isomer_tests::skip(&format!("random_modules_do_the_same_under_all_profiles: {arch}"), &reason);
                return Compared { reason: Some(reason), ..compared };
            }
        };
        let extensions: BTreeSet<_> = extensions.iter().map(|name| (*name).to_owned()).collect();
        for seed in (0..modules).filter(|seed| seed % FOREIGN_EVERY == 0) {
            let Ok(wasm) = random::module(&random::bytes(seed)) else { continue };
            let there = profiles::random(triple, &extensions, seed);
            let profiles = [first.clone(), (there, machine.clone())];
            compared.modules += 1;
            match compare(&wasm, &profiles).unwrap_or_else(|error| panic!("seed {seed} on {arch}: {error:#}")) {
                Ok(steps) => compared.steps += steps,
                Err(divergence) => compared.divergences.push(format!("seed {seed}: {divergence:?}")),
            }
        }
        compared
    };
    runs.iter().map(run).collect()
}

fn cases() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("cases")
}

/// Makes the module small and writes it where the next run of tests finds it; what to tell people.
fn keep(seed: u64, bytes: Vec<u8>, divergence: &Divergence) -> String {
    let profiles = here(seed);
    let diverges =
        |bytes: &[u8]| random::module(bytes).is_ok_and(|wasm| matches!(compare(&wasm, &profiles), Ok(Err(_))));
    let wasm = random::module(&shrink(bytes, diverges)).expect("it was one a moment ago");
    let case = cases().join(format!("seed-{seed}.wasm"));
    fs::write(&case, wasm).expect("cases can be written");
    format!("{divergence:?}; kept as {}", case.display())
}

#[test]
fn every_case_does_the_same_under_all_profiles() {
    let mut count = 0;
    for entry in fs::read_dir(cases()).unwrap() {
        let path = entry.unwrap().path();
        let wasm = wat::parse_file(&path).unwrap();
        for seed in 0..8 {
            let steps = compare(&wasm, &here(seed)).unwrap();
            assert!(steps.as_ref().is_ok_and(|steps| *steps > 0), "{}: {steps:?}", path.display());
        }
        count += 1;
    }
    assert!(count > 0, "no cases");
}

/// Two profiles that must differ, because WebAssembly lets them: a comparison that found no difference there would
/// find none anywhere.
#[test]
fn a_difference_is_found() {
    let wasm = wat::parse_file(cases().join("edges.wat")).unwrap();
    let (open, machine) = (of_this_machine().0.swap_remove(0), Machine::here());
    let closed = open.closed();
    let divergence = compare(&wasm, &[(open, machine.clone()), (closed, machine)]).unwrap();
    let divergence = divergence.expect_err("the bits of a NaN are open in one of the profiles");
    assert!(divergence.did[0] != divergence.did[1] && divergence.did[1].contains("Values"), "{divergence:?}");
}
