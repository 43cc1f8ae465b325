//! In: scripts, profiles, a machine. Out: what passes, as the list of skips says.

use crate::profiles::Profile;
use crate::script;
use crate::skips::Skips;
use crate::suite::Script;
use anyhow::Result;
use isomer_tests::foreign::Machine;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;

/// What came out for one profile in one place.
#[derive(Debug, Default, Serialize)]
pub struct Counts {
    /// The profile.
    pub profile: String,
    /// The CPU.
    pub on: String,
    /// The scripts that pass.
    pub passed: usize,
    /// The scripts that are listed as skipped, and fail.
    pub skipped: usize,
    /// The commands of those that pass: modules, calls, and what is asserted.
    pub commands: usize,
    /// The others, by script: why.
    pub failed: BTreeMap<String, String>,
    /// Why nothing was run.
    pub reason: Option<String>,
}

impl Counts {
    /// Nothing yet.
    pub fn of(profile: &str, on: &str) -> Counts {
        Counts { profile: profile.to_owned(), on: on.to_owned(), ..Counts::default() }
    }

    /// Adds what came of a script: the number of its commands.
    fn add(&mut self, script: &str, result: Result<usize>, skips: &Skips) {
        match (result, skips.reason(script, &self.profile)) {
            (Ok(commands), None) => {
                self.passed += 1;
                self.commands += commands;
            }
            (Err(_), Some(_)) => self.skipped += 1,
            (Err(error), None) => _ = self.failed.insert(script.to_owned(), format!("{error:#}")),
            (Ok(_), Some(_)) => {
                let stale = "passes, but skips.toml says that it does not: remove it there";
                self.failed.insert(script.to_owned(), stale.to_owned());
            }
        }
    }
}

/// Runs every script for those of the profiles that `wanted` says, on all cores.
pub fn conform(
    scripts: &[Script],
    places: &[(Profile, Machine, String)],
    skips: &Skips,
    wanted: impl Fn(&Script, &Profile) -> bool + Sync,
) -> Vec<Counts> {
    let counts = places.iter().map(|(profile, _, on)| Counts::of(&profile.name, on)).collect::<Vec<_>>();
    let (counts, work) = (Mutex::new(counts), Mutex::new(scripts.iter()));
    let worker = || {
        loop {
            let next = work.lock().expect("no holder panics").next();
            let Some(script) = next else { break };
            for (place, result) in run(script, places, &wanted) {
                counts.lock().expect("no holder panics")[place].add(&script.name, result, skips);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(worker);
        }
    });
    counts.into_inner().expect("no holder panics")
}

/// Compiles once for all profiles; the result for each place, by its number.
fn run(
    script: &Script,
    places: &[(Profile, Machine, String)],
    wanted: impl Fn(&Script, &Profile) -> bool,
) -> Vec<(usize, Result<usize>)> {
    let wanted = places.iter().enumerate().filter(|(_, (profile, ..))| wanted(script, profile));
    let wanted: Vec<_> = wanted
        .map(|(number, (profile, machine, _))| {
            let with = script.proposal.map(|proposal| profile.with(proposal));
            (number, with.unwrap_or_else(|| profile.clone()), machine)
        })
        .collect();
    let profiles: Vec<_> = wanted.iter().map(|(_, profile, _)| profile.clone()).collect();
    let compiled = script::compile(script, &profiles).map_err(|error| format!("{error:#}"));
    let result = |profile: &Profile, machine: &Machine| match &compiled {
        Ok(compiled) => compiled.run(profile, machine),
        Err(error) => Err(anyhow::anyhow!("{error}")),
    };
    wanted.into_iter().map(|(number, profile, machine)| (number, result(&profile, machine))).collect()
}
