//! In: scripts, profiles, a machine. Out: what passes, as the list of skips says.

use crate::profiles::Profile;
use crate::script;
use crate::skips::Skips;
use crate::suite::Script;
use anyhow::Result;
use isomer_tests::foreign::Machine;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::thread;

/// What came out for one profile on one machine.
#[derive(Debug, Default, Serialize)]
pub struct Counts {
    /// The suite.
    pub suite: String,
    /// The profile.
    pub profile: String,
    /// The CPU.
    pub on: String,
    /// The scripts or programs that pass.
    pub passed: usize,
    /// Those that are listed as known failures, and fail.
    pub skipped: usize,
    /// The commands of those that pass: modules, calls, and what is asserted; of a program, what is done with it.
    pub commands: usize,
    /// The others, by script: why.
    pub failed: BTreeMap<String, String>,
    /// Why nothing was run.
    pub reason: Option<String>,
}

impl Counts {
    /// Nothing yet.
    pub fn of(suite: &str, profile: &str, on: &str) -> Counts {
        let [suite, profile, on] = [suite, profile, on].map(str::to_owned);
        Counts { suite, profile, on, ..Counts::default() }
    }

    /// Adds what came of a script: the number of its commands.
    pub(crate) fn add(&mut self, script: &str, result: Result<usize>, skips: &Skips) {
        match (result, skips.reason(script, &self.profile)) {
            (Ok(commands), None) => {
                self.passed += 1;
                self.commands += commands;
            }
            (Err(_), Some(_)) => self.skipped += 1,
            (Err(error), None) => _ = self.failed.insert(script.to_owned(), format!("{error:#}")),
            (Ok(_), Some(_)) => {
                let stale = "passes, but is listed as a known failure: remove it there";
                self.failed.insert(script.to_owned(), stale.to_owned());
            }
        }
    }
}

/// The numbers, and a line for each failure.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { suite, profile, on, passed, skipped, commands, failed, reason } = self;
        if let Some(reason) = reason {
            return write!(f, "{suite}: {profile} on {on}: skipped: {reason}");
        }
        let failures = failed.len();
        write!(f, "{suite}: {profile} on {on}: {passed} passed ({commands} commands), {failures} failed, ")?;
        write!(f, "{skipped} known failures")?;
        failed.iter().try_for_each(|(script, why)| write!(f, "\n  {script}: {why}"))
    }
}

/// Runs every script of a suite for those of the profiles that `wanted` says, on all cores.
pub fn conform(
    suite: &str,
    scripts: &[Script],
    runs: &[(Profile, Machine, String)],
    skips: &Skips,
    wanted: impl Fn(&Script, &Profile) -> bool + Sync,
) -> Vec<Counts> {
    let counts = runs.iter().map(|(profile, _, on)| Counts::of(suite, &profile.name, on)).collect::<Vec<_>>();
    let (counts, work) = (Mutex::new(counts), Mutex::new(scripts.iter()));
    let worker = || {
        loop {
            let next = work.lock().expect("no holder panics").next();
            let Some(script) = next else { break };
            for (number, result) in run(script, runs, &wanted) {
                counts.lock().expect("no holder panics")[number].add(&script.name, result, skips);
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

/// Compiles once for all profiles; the result for each run, by its number.
fn run(
    script: &Script,
    runs: &[(Profile, Machine, String)],
    wanted: impl Fn(&Script, &Profile) -> bool,
) -> Vec<(usize, Result<usize>)> {
    let wanted = runs.iter().enumerate().filter(|(_, (profile, ..))| wanted(script, profile));
    let wanted: Vec<_> =
        wanted.map(|(number, (profile, machine, _))| (number, profile.with(&script.settings), machine)).collect();
    let profiles: Vec<_> = wanted.iter().map(|(_, profile, _)| profile.clone()).collect();
    let compiled = script::compile(script, &profiles);
    let result = |profile: &Profile, machine: &Machine| match &compiled {
        Ok(compiled) => compiled.run(profile, machine),
        // One profile that cannot have the script's settings makes the whole call fail.
        Err(_) => script::compile(script, std::slice::from_ref(profile))?.run(profile, machine),
    };
    wanted.into_iter().map(|(number, profile, machine)| (number, result(&profile, machine))).collect()
}
