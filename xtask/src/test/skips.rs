//! Which tests may be skipped. In: the log of skipped tests, `tests/skips.toml`, what this machine is. Out: the skips that
//! the file does not allow here. Never here: a test's own condition.

use anyhow::{Context, Result};
use serde::Deserialize;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// A line of the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Skip {
    pub(super) test: String,
    pub(super) reason: String,
}

/// `tests/skips.toml`; its first lines say what each field means.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    skip: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    tests: Vec<String>,
    #[serde(rename = "where")]
    condition: Condition,
    #[serde(default)]
    reason: String,
    #[allow(dead_code, reason = "for people")]
    why: String,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
enum Condition {
    Anywhere,
    OutsideCi,
    Unprivileged,
    OtherArchitecture,
}

/// What conditions are about.
pub(super) struct Machine {
    pub(super) ci: bool,
    pub(super) unprivileged: bool,
    pub(super) x86_64: bool,
}

impl Machine {
    /// The one that this runs on.
    pub(super) fn look() -> Machine {
        let mut mount = Command::new("unshare");
        mount.args(["--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).stderr(Stdio::null());
        Machine {
            ci: super::is_ci(),
            unprivileged: !mount.status().is_ok_and(|status| status.success()),
            x86_64: cfg!(target_arch = "x86_64"),
        }
    }

    fn meets(&self, condition: Condition) -> bool {
        match condition {
            Condition::Anywhere => true,
            Condition::OutsideCi => !self.ci,
            Condition::Unprivileged => self.unprivileged,
            Condition::OtherArchitecture => !self.x86_64,
        }
    }
}

/// The log.
pub(super) fn read(log: &Path) -> Result<Vec<Skip>> {
    let text = fs::read_to_string(log).with_context(|| format!("could not read {}", log.display()))?;
    Ok(text.lines().map(skip_of).collect())
}

/// `TEST: REASON`; a test's own name has no space.
fn skip_of(line: &str) -> Skip {
    let (test, reason) = line.split_once(": ").unwrap_or((line, ""));
    Skip { test: test.to_owned(), reason: reason.to_owned() }
}

/// The skips that `file` does not allow on `machine`.
pub(super) fn unexpected(skipped: &[Skip], file: &Path, machine: &Machine) -> Result<Vec<String>> {
    let text = fs::read_to_string(file).with_context(|| format!("could not read {}", file.display()))?;
    let table: Table = toml::from_str(&text).with_context(|| format!("could not read {}", file.display()))?;
    let allowed = |skip: &&Skip| {
        let here = table.skip.iter().filter(|row| machine.meets(row.condition) && skip.reason.contains(&row.reason));
        here.flat_map(|row| &row.tests).any(|test| names(test, &skip.test))
    };
    Ok(skipped.iter().filter(|skip| !allowed(skip)).map(|skip| skip.test.clone()).collect())
}

/// Whether a name of the file means the test: the whole name, or its beginning before a `*`.
fn names(pattern: &str, test: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => test.starts_with(beginning),
        None => test == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isomer_testing::root;

    fn unexpected_on(machine: &Machine, line: &str) -> Vec<String> {
        unexpected(&[skip_of(line)], &root().join("tests/skips.toml"), machine).unwrap()
    }

    #[test]
    fn a_skip_is_allowed_only_where_the_file_says() {
        let ci = Machine { ci: true, unprivileged: false, x86_64: true };
        let desk = Machine { ci: false, unprivileged: true, x86_64: true };
        let skopeo = "skopeo_reads_and_copies_it: skopeo is not installed";
        assert_eq!(unexpected_on(&ci, skopeo), ["skopeo_reads_and_copies_it"]);
        assert!(unexpected_on(&desk, skopeo).is_empty());
        assert_eq!(unexpected_on(&desk, "a_new_test: it is Monday"), ["a_new_test"]);
        let row = "every_guest_runs_on_every_target: z15: `cargo xtask foreign` has not been run";
        assert!(unexpected_on(&ci, row).is_empty());
    }
}
