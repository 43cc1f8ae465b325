//! Every WebAssembly operator for every shipped target, and for the same targets with every proposal that they accept
//! switched on: what `express` lets through must compile. Nothing may be left for the compiler's panics to find.
//!
//! The modules come from `isomer_testing::operators`. An operator that none of them uses fails the test.

use isomer_compile::express::express;
use isomer_compile::{Analysis, Compiler, Input, schedule};
use isomer_contract::profile::{ProfileText, find_shipped, shipped_names};
use isomer_contract::proposals::PROPOSALS;
use isomer_contract::{Digest, Profile};
use isomer_testing::operators::{Case, simple, special};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::Path;
use std::sync::LazyLock;

/// All cases as modules; the pool of threads is set up before it is used for them.
static INPUTS: LazyLock<Vec<Input>> = LazyLock::new(|| {
    schedule::prepare(schedule::default_parallelism()).unwrap();
    let cases: Vec<Case> = simple::cases().into_iter().chain(special::cases()).collect();
    let input = |case: &Case| Input::from_bytes(Path::new("case.wat"), &case.name, case.text.clone().into());
    let malformed = |case: &Case| Some(format!("{}: {:?}", case.name, input(case).err()?.source()?.to_string()));
    let malformed: Vec<_> = cases.iter().filter_map(malformed).collect();
    assert!(malformed.is_empty(), "{}", malformed.join("\n"));
    cases.iter().filter_map(|case| input(case).ok()).collect()
});

/// The shipped profiles, each as it is and with every proposal that it accepts.
fn profiles() -> Vec<[Profile; 2]> {
    let mut profiles: BTreeMap<Digest, [Profile; 2]> = BTreeMap::new();
    for name in shipped_names() {
        let shipped = Profile::shipped(name).unwrap();
        let mut lines = String::new();
        for proposal in PROPOSALS.iter().filter(|proposal| !shipped.features.contains(proposal.feature)) {
            let line = format!("{} = true\n", proposal.key);
            if resolve(name, &line).is_some() {
                lines += &line;
            }
        }
        let everything = resolve(name, &lines).expect("what is accepted alone is accepted together");
        // Some shipped profiles differ in name only.
        profiles.insert(shipped.digest(), [shipped, everything]);
    }
    profiles.into_values().collect()
}

fn resolve(parent: &str, wasm: &str) -> Option<Profile> {
    let name = format!("{parent}-everything");
    let text = format!("inherits = '{parent}'\n[wasm]\n{wasm}");
    Profile::resolve(&ProfileText { path: format!("{name}.toml"), name, text }, &find_shipped).ok()
}

/// The profile of the two that can express the module, the shipped one if both can.
fn expressing<'a>(analysis: &Analysis<'_>, profiles: &'a [Profile; 2]) -> Option<&'a Profile> {
    profiles.iter().find(|profile| matches!(express(analysis, profile), Ok(Ok(()))))
}

#[test]
fn what_is_expressible_compiles() {
    let (inputs, profiles) = (&*INPUTS, profiles());
    let compiler = |profile: &Profile| (profile.digest(), Compiler::new(profile).unwrap());
    let compilers: BTreeMap<Digest, Compiler> = profiles.iter().flatten().map(compiler).collect();
    let failures = |input: &Input| {
        let analysis = Analysis::of(&input.wasm);
        let mut failed: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for profile in profiles.iter().filter_map(|profiles| expressing(&analysis, profiles)) {
            if let Err(error) = compilers[&profile.digest()].compile(input) {
                failed.entry(error.to_string()).or_default().push(&profile.name);
            }
        }
        let line = |(error, targets): (String, Vec<&str>)| format!("{}: {}: {error}", input.name, targets.join(", "));
        failed.into_iter().map(line).collect::<Vec<_>>()
    };
    let failed: Vec<String> = inputs.par_iter().flat_map_iter(failures).collect();
    assert!(failed.is_empty(), "{} of {} modules:\n{}", failed.len(), inputs.len(), failed.join("\n"));
}

/// What is refused for one target is compiled for another: nothing that wasmtime can run is lost.
#[test]
fn every_operator_is_expressible_somewhere() {
    let profiles = profiles();
    for input in INPUTS.iter() {
        let analysis = Analysis::of(&input.wasm);
        let somewhere = profiles.iter().any(|profiles| expressing(&analysis, profiles).is_some());
        assert!(somewhere, "{}: {:?}", input.name, express(&analysis, &profiles[0][1]));
    }
}

#[test]
fn every_operator_has_a_case() {
    let mut used = BTreeSet::new();
    for input in INPUTS.iter() {
        for payload in wasmparser::Parser::new(0).parse_all(&input.wasm) {
            if let Ok(wasmparser::Payload::CodeSectionEntry(body)) = payload {
                let operators = body.get_operators_reader().unwrap();
                used.extend(operators.into_iter().map(|operator| simple::name_of(&operator.unwrap())));
            }
        }
    }
    let missing: Vec<_> = simple::all().filter(|name| !used.contains(name) && !special::is_left_out(name)).collect();
    assert!(missing.is_empty(), "no case uses {missing:?}");
}
