//! The specification's test suite, for every profile that this machine runs: compiled, written, loaded, run. What is
//! not listed in skips.toml passes, and what is listed there does not.

use isomer_conformance::conform::conform;
use isomer_conformance::profiles::{Profile, of_this_machine};
use isomer_conformance::script;
use isomer_conformance::skips::Skips;
use isomer_conformance::suite::{Script, scripts};
use isomer_tests::foreign::Machine;
use isomer_tests::{isomer, proof, skip};
use std::collections::BTreeSet;

#[test]
fn the_suite_passes_for_every_profile_of_this_machine() {
    let skips = Skips::read().unwrap();
    let (here, elsewhere) = of_this_machine();
    for profile in &elsewhere {
        let reason = format!("this CPU does not run {}", profile.name);
        skip("the_suite_passes_for_every_profile_of_this_machine", &reason);
    }
    let runs: Vec<_> = here.into_iter().map(|profile| (profile, Machine::here(), "this machine".to_owned())).collect();
    let results = conform("specification", &scripts(), &runs, &skips, |_, _| true);
    proof::record("conformance", &results);
    proof::record("skips", &skips.skip);
    results.iter().for_each(|counts| println!("{counts}"));
    assert!(results.iter().all(|counts| counts.failed.is_empty()), "see above");
    assert!(results.len() >= 2, "Pulley and one native profile run everywhere");
    let least = results.iter().map(|counts| counts.passed).min();
    assert!(least > Some(250), "{least:?} scripts are not the suite");
}

#[test]
fn every_skip_is_about_scripts_and_profiles_that_exist() {
    let names: BTreeSet<_> = scripts().into_iter().map(|script| script.name).collect();
    let targets = isomer().line("targets").ok().stdout();
    for skip in Skips::read().unwrap().skip {
        assert!(!skip.reason.trim().is_empty() && !skip.scripts.is_empty());
        skip.scripts.iter().for_each(|script| assert!(names.contains(script), "no script {script}"));
        let known = |name: &String| targets.lines().any(|line| line.split_whitespace().next() == Some(name));
        skip.profiles.iter().for_each(|name| assert!(known(name), "no profile {name}"));
    }
}

/// What would pass whatever isomer did proves nothing.
#[test]
fn a_script_that_expects_something_else_fails() {
    let profile = Profile::shipped("pulley64");
    let run = |text: &str| {
        let script = Script { name: "here/one.wast".to_owned(), text: text.to_owned(), settings: Vec::new() };
        script::compile(&script, std::slice::from_ref(&profile)).unwrap().run(&profile, &Machine::here())
    };
    let fault = |text: &str| format!("{:#}", run(text).expect_err(text));
    const ADDER: &str =
        "(module (func (export \"add\") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))";
    let sum =
        |sum: i32| format!("{ADDER} (assert_return (invoke \"add\" (i32.const 1) (i32.const 2)) (i32.const {sum}))");
    assert_eq!(run(&sum(3)).unwrap(), 2);
    assert!(fault(&sum(4)).contains("line 1: Values([I32(3)])"));
    let trap = "(module (func (export \"f\") unreachable)) (assert_trap (invoke \"f\") \"integer divide by zero\")";
    assert!(fault(trap).contains("unreachable"));
    assert!(fault("(assert_invalid (module (func)) \"type mismatch\")").contains("should be refused"));
    assert!(fault("(assert_malformed (module quote \"(func)\") \"unexpected token\")").contains("should be refused"));
    assert!(fault("(module (func (result i32)))").contains("is refused"));
}
