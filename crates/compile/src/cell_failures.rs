//! What failed in a matrix of modules and targets, told briefly.

use isomer_terminal::Failure;
use std::collections::BTreeMap;

/// What failed cell by cell: a reason that many targets share is said once for a module.
#[derive(Default)]
pub(crate) struct CellFailures<'a> {
    by_module_and_reason: BTreeMap<(String, String), FailedTargets<'a>>,
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

    /// One failure for each module and reason; `consequence` ends each message.
    pub(crate) fn into_failures(self, consequence: &str) -> Vec<Failure> {
        let failures = self.by_module_and_reason.into_iter().map(|((path, reason), failed)| {
            let message = format!("{path} has no artifact for {}{consequence}", failed.targets.join(", "));
            Failure::new(message).caused_by(reason).hint(failed.hint)
        });
        failures.collect()
    }
}
