//! In: checkouts and profiles. Out: the counts of each suite, and what the lists of known failures say that is not so.

use crate::checkout::Checkout;
use crate::conform::{Counts, conform};
use crate::profiles::Profile;
use crate::skips::Skips;
use crate::wasi;
use anyhow::Result;
use isomer_tests::foreign::Machine;
use std::collections::BTreeSet;

/// Runs a suite. Scripts are about code and run for all `profiles`; programs are about the runtime and run for those that
/// `for_programs` names.
///
/// # Errors
/// When the checkout cannot be read.
pub fn run(checkout: &Checkout, skips: &Skips, profiles: &[Profile], for_programs: &[Profile]) -> Result<Vec<Counts>> {
    let suite = checkout.kind.name();
    let (scripts, programs) = (checkout.scripts()?, checkout.programs()?);
    let mut counts = Vec::new();
    if !scripts.is_empty() {
        let run = |profile: &Profile| (profile.clone(), Machine::here(), HERE.to_owned());
        let runs: Vec<_> = profiles.iter().map(run).collect();
        counts.extend(conform(suite, &scripts, &runs, skips, |_, _| true));
    }
    if !programs.is_empty() {
        counts.extend(wasi::run(suite, &programs, for_programs, skips, HERE)?);
    }
    let names: BTreeSet<_> =
        scripts.iter().map(|script| &*script.name).chain(programs.iter().map(|p| &*p.name)).collect();
    let unknown = skips.unknown(&names);
    for counts in counts.iter_mut().filter(|_| !unknown.is_empty()) {
        let gone = "is listed as a known failure, and not in the checkout".to_owned();
        counts.failed.extend(unknown.iter().map(|name| ((*name).to_owned(), gone.clone())));
    }
    Ok(counts)
}

const HERE: &str = "this machine";
