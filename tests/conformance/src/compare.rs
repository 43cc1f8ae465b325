//! In: a module and profiles. Out: whether it does the same under all of them: every result, trap and byte of memory.

use crate::artifacts::{self, Made};
use crate::profiles::Profile;
use crate::{execution, random};
use anyhow::{Context, Result, bail};
use isomer_testing::protocol::{Outcome, Step};
use isomer_tests::foreign::Machine;

/// Two profiles under which a module did different things.
#[derive(Debug)]
pub struct Divergence {
    /// The profile that the others are held against: the first.
    pub one: String,
    /// The other.
    pub other: String,
    /// The step of the script.
    pub step: Step,
    /// What each did, in their order.
    pub did: [String; 2],
}

/// How many steps were compared, or what differed. A module that a profile cannot express is compared under the
/// others.
pub fn compare(wasm: &[u8], runs: &[(Profile, Machine)]) -> Result<Result<usize, Box<Divergence>>> {
    let functions = random::functions(wasm)?;
    let profiles: Vec<_> = runs.iter().map(|(profile, _)| profile.clone()).collect();
    let modules = [("module.wasm".to_owned(), wasm.to_vec())].into();
    let artifacts = artifacts::compile(&modules, &profiles)?;
    let mut first: Option<(&Profile, Vec<Outcome>)> = None;
    let mut compared = 0;
    for (profile, machine) in runs {
        let artifact = match artifacts.of("module.wasm", profile) {
            Made::Artifact(artifact) => artifact,
            Made::Refused(_) => continue,
            Made::Failed(why) => bail!("{}: {why}", profile.name),
        };
        let script = random::script(&functions, &artifact);
        let outcomes = execution::run(machine, &script).with_context(|| profile.name.clone())?;
        let Some((one, expected)) = &first else {
            first = Some((profile, outcomes));
            continue;
        };
        let alike = expected.iter().zip(&outcomes).take_while(|(one, other)| same(one, other)).count();
        // How deep a stack reaches is the code generator's own; from there on stores may differ.
        let inconclusive = exhausted(expected.get(alike)) || exhausted(outcomes.get(alike));
        if alike < script.steps.len() && !inconclusive {
            let did = [expected.get(alike), outcomes.get(alike)].map(|outcome| format!("{outcome:?}"));
            let (one, other) = (one.name.clone(), profile.name.clone());
            return Ok(Err(Box::new(Divergence { one, other, step: script.steps[alike].clone(), did })));
        }
        compared += alike;
    }
    Ok(Ok(compared))
}

fn exhausted(outcome: Option<&Outcome>) -> bool {
    matches!(outcome, Some(Outcome::Trap(trap)) if trap.contains("stack exhausted"))
}

/// Errors name addresses and limits of the machine: that there is one is enough.
fn same(one: &Outcome, other: &Outcome) -> bool {
    one == other || matches!((one, other), (Outcome::Error(_), Outcome::Error(_)))
}
