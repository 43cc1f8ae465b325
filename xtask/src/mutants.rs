//! `cargo xtask mutants`: which small changes to the code that decides no test notices. In: the files of `CODE`, and
//! `tests/mutants.toml` with the survivors that are known. Out: for each file how many are caught, and every survivor that
//! is not known. By hand: all of it takes hours. Never here: a change to the files of this checkout; a copy of them is
//! changed.

use crate::setup;
use anyhow::{Context, Result, bail, ensure};
use isomer_testing::root;
use isomer_testing::shell::{read, run};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files that are changed, and the tests that should notice.
struct Code {
    package: &'static str,
    files: &'static [&'static str],
    /// The test targets, as options of `cargo test`. Each is linked anew for each mutant.
    tests: &'static [&'static str],
}

/// The code that decides what is trusted, chosen, verified and kept.
const CODE: [Code; 4] = [
    Code {
        package: "isomer-contract",
        files: &[
            "crates/contract/src/check.rs",
            "crates/contract/src/cost.rs",
            "crates/contract/src/demand.rs",
            "crates/contract/src/embedder.rs",
            "crates/contract/src/limit.rs",
            "crates/contract/src/select.rs",
            "crates/contract/src/requirements.rs",
        ],
        tests: &["--lib", "--test=check", "--test=requirements", "--test=select"],
    },
    Code {
        package: "isomer-trust",
        files: &[
            "crates/trust/src/dsse.rs",
            "crates/trust/src/evaluate.rs",
            "crates/trust/src/evaluate/**/*.rs",
            "crates/trust/src/policy.rs",
            "crates/trust/src/policy/**/*.rs",
        ],
        tests: &["--lib"],
    },
    Code {
        package: "isomer-runtime",
        files: &["crates/run/src/verify.rs", "crates/run/src/sealed.rs"],
        tests: &["--lib", "--test=artifacts"],
    },
    Code { package: "isomer-store", files: &["crates/store/src/**/*.rs"], tests: &["--lib", "--test=store"] },
];

/// Named beside each package, so that all are tested with the same features of the same dependencies, built once. None of
/// its own tests is among those of [`Code::tests`].
const FEATURES_OF: &str = "isomer-run";

/// The least share of viable mutants that tests must catch.
const CAUGHT_PERCENT_MIN: f64 = 95.0;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these packages
    packages: Vec<String>,
    /// Only mutants whose name matches this regular expression; `cargo mutants --list` has the names
    #[arg(long)]
    re: Vec<String>,
    /// Only this part of them, `0/4` to `3/4`
    #[arg(long, value_name = "K/N")]
    shard: Option<String>,
}

/// `tests/mutants.toml`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    #[serde(default)]
    survivor: Vec<Survivor>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Survivor {
    /// As cargo-mutants names it, without line and column.
    mutant: String,
    #[allow(dead_code, reason = "for people")]
    why: String,
}

pub(crate) fn run_mutants(args: &Args) -> Result<()> {
    let program = setup::cargo_mutants()?;
    let path = root().join("tests/mutants.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
    let known: Known = toml::from_str(&text).with_context(|| format!("could not read {}", path.display()))?;
    let checkout = check_out()?;
    let (mut caught, mut missed) = (Vec::new(), Vec::new());
    for code in CODE {
        if !args.packages.is_empty() && !args.packages.iter().any(|name| name == code.package) {
            continue;
        }
        let lists = mutate(&program, &checkout, &code, args)?;
        caught.extend(lines(&lists, "caught.txt")?);
        caught.extend(lines(&lists, "timeout.txt")?);
        missed.extend(lines(&lists, "missed.txt")?);
    }
    let results = Results::of(&caught, &missed, known.survivor.into_iter().map(|row| row.mutant).collect());
    ensure!(!results.files.is_empty(), "no mutant was viable");
    println!("{results}");
    let all = args.packages.is_empty() && args.re.is_empty() && args.shard.is_none();
    results.new.iter().for_each(|mutant| println!("survives: {mutant}"));
    if !results.new.is_empty() {
        bail!("{} survivors are not in tests/mutants.toml", results.new.len());
    }
    if all {
        results.stale.iter().for_each(|mutant| println!("in tests/mutants.toml, but it does not survive: {mutant}"));
        ensure!(results.stale.is_empty(), "{} rows of tests/mutants.toml are stale", results.stale.len());
        let share = results.caught_percent();
        ensure!(share >= CAUGHT_PERCENT_MIN, "{share:.1} % are caught, expected {CAUGHT_PERCENT_MIN} %");
    }
    Ok(())
}

/// What became of the mutants.
#[derive(Default)]
struct Results {
    /// By file.
    files: BTreeMap<String, Counts>,
    /// The survivors that are not known.
    new: Vec<String>,
    /// The known ones that did not survive.
    stale: Vec<String>,
}

#[derive(Default, Debug, PartialEq, Eq)]
struct Counts {
    caught: usize,
    known: usize,
    new: usize,
}

impl Results {
    /// Each row of `known` accounts for one survivor of that name.
    fn of(caught: &[String], missed: &[String], known: Vec<String>) -> Results {
        let mut results = Results { stale: known, ..Results::default() };
        for mutant in caught {
            let (file, _) = without_position(mutant);
            results.files.entry(file.to_owned()).or_default().caught += 1;
        }
        for mutant in missed {
            let (file, what) = without_position(mutant);
            let (counts, name) = (results.files.entry(file.to_owned()).or_default(), format!("{file}: {what}"));
            match results.stale.iter().position(|row| *row == name) {
                Some(row) => {
                    results.stale.remove(row);
                    counts.known += 1;
                }
                None => {
                    counts.new += 1;
                    results.new.push(mutant.clone());
                }
            }
        }
        results
    }

    fn caught_percent(&self) -> f64 {
        let caught: usize = self.files.values().map(|counts| counts.caught).sum();
        let viable: usize = self.files.values().map(Counts::viable).sum();
        100.0 * caught as f64 / viable as f64
    }
}

impl Counts {
    fn viable(&self) -> usize {
        self.caught + self.known + self.new
    }
}

/// A table of the files.
impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.files.keys().map(String::len).max().unwrap_or_default();
        writeln!(f, "{:width$}  viable  caught  listed  not listed", "")?;
        for (file, counts) in &self.files {
            let Counts { caught, known, new } = counts;
            writeln!(f, "{file:width$}  {:6}  {caught:6}  {known:6}  {new:10}", counts.viable())?;
        }
        write!(f, "{:.1} % are caught", self.caught_percent())
    }
}

/// Where the files are changed: those of the index, so that what is staged is tested and nothing of this checkout changes.
/// Files that are the same as in the call before are not written again, and what was built of them stays valid.
fn check_out() -> Result<PathBuf> {
    let checkout = directory().join("checkout");
    fs::create_dir_all(&checkout)?;
    let tree = read(Command::new("git").current_dir(root()).arg("write-tree"))?;
    let mut git = Command::new("git");
    git.current_dir(root()).env("GIT_WORK_TREE", &checkout).env("GIT_INDEX_FILE", directory().join("index"));
    run(git.args(["read-tree", "--reset", "-u", tree.trim()]))?;
    Ok(checkout)
}

fn directory() -> PathBuf {
    root().join("target").join("mutants")
}

/// Changes the files of `code` one mutant at a time, and runs its tests on each. The directory of the lists of the results.
fn mutate(program: &Path, checkout: &Path, code: &Code, args: &Args) -> Result<PathBuf> {
    let output = directory().join(code.package);
    let _ = fs::remove_dir_all(&output);
    fs::create_dir_all(&output)?;
    let mut mutants = Command::new(program);
    mutants.args(["mutants", "--in-place", "--package", code.package]).arg("--dir").arg(checkout);
    mutants.arg("--output").arg(&output);
    for file in code.files {
        mutants.args(["--file", file]);
    }
    for re in &args.re {
        mutants.args(["--re", re]);
    }
    if let Some(shard) = &args.shard {
        mutants.args(["--shard", shard]);
    }
    for option in [format!("--package={FEATURES_OF}").as_str()].iter().chain(code.tests) {
        mutants.arg("--cargo-arg").arg(option);
    }
    // The dependencies stay built from one call to the next. A mutant may well be code that a lint denies.
    mutants.env("CARGO_TARGET_DIR", directory().join("target")).env("CARGO_PROFILE_DEV_DEBUG", "false");
    mutants.env("CARGO", env!("CARGO")).env_remove("RUSTC_WORKSPACE_WRAPPER");
    let status = mutants.status().with_context(|| format!("could not start {mutants:?}"))?;
    // 2 and 3 mean that a mutant survives or hangs, which is what the lists are read for.
    ensure!(matches!(status.code(), Some(0 | 2 | 3)), "{mutants:?} ended with {status}");
    Ok(output.join("mutants.out"))
}

fn lines(directory: &Path, name: &str) -> Result<Vec<String>> {
    let path = directory.join(name);
    let text = fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// `src/a.rs:12:5: replace f with ()` without line and column, which any edit above changes: the file, and what is changed.
fn without_position(mutant: &str) -> (&str, &str) {
    let (position, what) = mutant.split_once(": ").unwrap_or((mutant, ""));
    (position.split(':').next().unwrap_or(position), what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REVOKED: &str = "crates/trust/src/policy.rs:12:5: replace is_revoked -> bool with true";

    #[test]
    fn a_mutant_is_known_wherever_it_moves_to() {
        let expected = ("crates/trust/src/policy.rs", "replace is_revoked -> bool with true");
        assert_eq!(without_position(REVOKED), expected);
        let (file, what) = expected;
        let results = Results::of(&[], &[REVOKED.to_owned()], vec![format!("{file}: {what}")]);
        assert_eq!((results.new, results.stale), (vec![], vec![]));
    }

    #[test]
    fn a_row_accounts_for_one_survivor() {
        let caught = ["a.rs:1:1: replace x".to_owned(), "b.rs:2:2: replace y".to_owned()];
        let missed = ["a.rs:3:1: replace z".to_owned(), "a.rs:4:1: replace z".to_owned()];
        let known = vec!["a.rs: replace z".to_owned(), "b.rs: replace y".to_owned()];
        let results = Results::of(&caught, &missed, known);
        assert_eq!(results.new, ["a.rs:4:1: replace z"]);
        assert_eq!(results.stale, ["b.rs: replace y"]);
        assert_eq!(results.files["a.rs"], Counts { caught: 1, known: 1, new: 1 });
        assert_eq!(results.caught_percent(), 50.0);
        let table = "      viable  caught  listed  not listed\na.rs       3       1       1           1\n\
                     b.rs       1       1       0           0\n50.0 % are caught";
        assert_eq!(results.to_string(), table);
    }
}
