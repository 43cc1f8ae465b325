//! In: the cells of a build that failed. Out: failures for a person, one for each module and reason.

use isomer_terminal::Failure;
use std::collections::BTreeMap;

/// The cells that failed. A reason that many targets of a module share becomes one failure.
#[derive(Default)]
pub(crate) struct CellFailures<'a> {
    by_module_and_reason: BTreeMap<(String, String), FailedTargets<'a>>,
    /// How the farm was lost, and what would help.
    lost: Option<(String, Option<String>)>,
}

#[derive(Default)]
struct FailedTargets<'a> {
    targets: Vec<&'a str>,
    hint: Option<String>,
}

impl<'a> CellFailures<'a> {
    /// The module in the file `path` has no artifact for `target`.
    pub(crate) fn add(&mut self, path: String, target: &'a str, reason: String, hint: Option<String>) {
        let failed = self.by_module_and_reason.entry((path, reason)).or_default();
        failed.targets.push(target);
        failed.hint = hint;
    }

    /// The farm is lost, and with it every remaining cell.
    pub(crate) fn lose_farm(&mut self, problem: &str, hint: Option<String>) {
        self.lost = Some((problem.to_owned(), hint));
    }

    /// One failure for each module and reason; `consequence` ends each message.
    pub(crate) fn into_failures(self, consequence: &str) -> Vec<Failure> {
        let failures = self.by_module_and_reason.into_iter().map(|((path, reason), failed)| {
            let message = format!("{path} has no artifact for {}{consequence}", failed.targets.join(", "));
            Failure::new(message).caused_by(reason).hint(failed.hint)
        });
        let lost = self.lost.map(|(problem, hint)| {
            Failure::new(format!("the remote farm is lost{consequence}")).caused_by(problem).hint(hint)
        });
        failures.chain(lost).collect()
    }
}
