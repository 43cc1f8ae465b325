//! In: the files that tests left in `target/proof/parts`. Out: one value with all that the report says, in the order
//! in which it says it.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// All of it.
#[derive(Default, Serialize)]
pub(crate) struct Report {
    /// Each guest on each target.
    pub matrix: Vec<Cell>,
    /// CPUs that lack an extension.
    pub refusals: Vec<Refusal>,
    /// What happens there without the check: target, CPU, how it ended.
    pub controls: Vec<(String, String, String)>,
    /// The specification's test suite, by profile and machine.
    pub conformance: Vec<Suite>,
    /// Scripts of the suite that are known not to pass.
    pub skips: Vec<Skip>,
    /// The public suites whose checkouts were named.
    pub public: Vec<Suite>,
    /// What of them is known not to pass.
    pub known: Vec<Skip>,
    /// Random modules.
    pub differential: Vec<Compared>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    Passed,
    Failed,
    Skipped,
    Inexpressible,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cell {
    pub target: String,
    pub guest: String,
    pub on: String,
    pub state: State,
    pub cases: usize,
    pub reason: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refusal {
    pub target: String,
    pub cpu: String,
    pub lacks: BTreeSet<String>,
    pub state: State,
    pub output: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Suite {
    pub suite: String,
    pub profile: String,
    pub on: String,
    pub passed: usize,
    pub skipped: usize,
    pub commands: usize,
    pub failed: BTreeMap<String, String>,
    /// Why it was not run at all.
    pub reason: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Skip {
    pub reason: String,
    /// Where upstream is told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issue: Option<String>,
    pub scripts: Vec<String>,
    pub profiles: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Compared {
    pub on: String,
    pub modules: usize,
    pub profiles: usize,
    pub steps: usize,
    pub divergences: Vec<String>,
    pub reason: Option<String>,
}

impl Report {
    /// Parts that no test has left are empty.
    pub(crate) fn read(parts: &Path) -> Result<Report> {
        Ok(Report {
            matrix: part(parts, "matrix")?,
            refusals: part(parts, "refusals")?,
            controls: part(parts, "controls")?,
            conformance: part(parts, "conformance")?.into_iter().chain(part(parts, "sample")?).collect(),
            skips: part(parts, "skips")?,
            public: part(parts, "public")?,
            known: part(parts, "known")?,
            differential: part(parts, "differential")?,
        })
    }

    pub(crate) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// The targets, each once, in the order of the table that the tests walk.
    pub(crate) fn targets(&self) -> Vec<&str> {
        in_order(self.matrix.iter().map(|cell| cell.target.as_str()), &self.row_order())
    }

    /// The guests, likewise.
    pub(crate) fn guests(&self) -> BTreeSet<&str> {
        self.matrix.iter().map(|cell| cell.guest.as_str()).collect()
    }

    pub(crate) fn cell(&self, target: &str, guest: &str) -> Option<&Cell> {
        self.matrix.iter().find(|cell| cell.target == target && cell.guest == guest)
    }

    /// How many guests on targets are in this state.
    pub(crate) fn count(&self, state: State) -> usize {
        self.matrix.iter().filter(|cell| cell.state == state).count()
    }

    /// Everything that went wrong.
    pub(crate) fn failed(&self) -> usize {
        let refusals = self.refusals.iter().filter(|refusal| refusal.state == State::Failed).count();
        let scripts: usize = self.conformance.iter().chain(&self.public).map(|suite| suite.failed.len()).sum();
        let divergences: usize = self.differential.iter().map(|compared| compared.divergences.len()).sum();
        self.count(State::Failed) + refusals + scripts + divergences
    }

    /// The numbers, for a terminal.
    pub(crate) fn summary(&self) -> String {
        let [passed, failed, skipped, inexpressible] =
            [State::Passed, State::Failed, State::Skipped, State::Inexpressible].map(|state| self.count(state));
        let mut text = format!(
            "guests on targets: {passed} passed, {failed} failed, {skipped} skipped, {inexpressible} not expressible\n"
        );
        for Suite { suite, profile, on, passed, skipped, commands, failed, .. } in
            self.conformance.iter().chain(&self.public)
        {
            let failed = failed.len();
            text += &format!(
                "{suite} for {profile} ({on}): {passed} passed ({commands} commands), {failed} failed, {skipped} known failures\n"
            );
        }
        for compared in &self.differential {
            let Compared { on, modules, steps, divergences, .. } = compared;
            let divergences = divergences.len();
            text += &format!("random modules on {on}: {modules}, {steps} steps compared, {divergences} divergences\n");
        }
        text
    }

    fn row_order(&self) -> Vec<String> {
        let text = fs::read_to_string(isomer_testing::root().join("tests/matrix.toml")).unwrap_or_default();
        let names = text.lines().filter_map(|line| line.strip_prefix("target")?.split('"').nth(1).map(str::to_owned));
        names.collect()
    }
}

fn in_order<'a>(names: impl Iterator<Item = &'a str>, order: &[String]) -> Vec<&'a str> {
    let names: BTreeSet<_> = names.collect();
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort_by_key(|name| order.iter().position(|other| other == name).unwrap_or(order.len()));
    names
}

fn part<T: DeserializeOwned>(parts: &Path, name: &str) -> Result<Vec<T>> {
    let path = parts.join(name).with_extension("json");
    let Ok(text) = fs::read_to_string(&path) else { return Ok(Vec::new()) };
    serde_json::from_str(&text).with_context(|| format!("{} is not what the tests write", path.display()))
}
