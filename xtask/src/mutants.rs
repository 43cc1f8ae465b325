//! `cargo xtask mutants`: which small changes to the code that decides no test notices. In: the files of `FILES`, and
//! `tests/mutants.toml` with the survivors that are known. Out: the share that is caught, and every survivor that is not
//! known. By hand: all of it takes hours. Never here: a change to the files of this checkout; a copy of them is changed.

use crate::setup;
use crate::shell::{root, run};
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The code that decides what is trusted, chosen, verified and kept, by package.
const FILES: [(&str, &[&str]); 4] = [
    (
        "isomer-contract",
        &[
            "crates/contract/src/check.rs",
            "crates/contract/src/cost.rs",
            "crates/contract/src/demand.rs",
            "crates/contract/src/embedder.rs",
            "crates/contract/src/limit.rs",
            "crates/contract/src/select.rs",
            "crates/contract/src/requirements.rs",
        ],
    ),
    (
        "isomer-trust",
        &["crates/trust/src/evaluate.rs", "crates/trust/src/policy.rs", "crates/trust/src/policy/**/*.rs"],
    ),
    ("isomer-runtime", &["crates/run/src/verify.rs", "crates/run/src/sealed.rs"]),
    ("isomer-store", &["crates/store/src/**/*.rs"]),
];

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
    let (mut caught, mut missed) = (0, Vec::new());
    for (package, files) in FILES {
        if !args.packages.is_empty() && !args.packages.iter().any(|name| name == package) {
            continue;
        }
        let lists = mutate(&program, &checkout, package, files, args)?;
        caught += lines(&lists, "caught.txt")?.len() + lines(&lists, "timeout.txt")?.len();
        missed.extend(lines(&lists, "missed.txt")?);
    }
    let viable = caught + missed.len();
    ensure!(viable > 0, "no mutant was viable");
    let share = 100.0 * caught as f64 / viable as f64;
    println!("{caught} of {viable} viable mutants are caught: {share:.1} %");
    let missed: Vec<_> = missed.iter().map(|mutant| without_position(mutant)).collect();
    let is_known = |mutant: &&String| known.survivor.iter().any(|row| row.mutant == **mutant);
    let new: Vec<_> = missed.iter().filter(|mutant| !is_known(mutant)).collect();
    new.iter().for_each(|mutant| println!("survives: {mutant}"));
    let all = args.packages.is_empty() && args.re.is_empty() && args.shard.is_none();
    let is_caught = |row: &&Survivor| all && !missed.contains(&row.mutant);
    let stale: Vec<_> = known.survivor.iter().filter(is_caught).collect();
    stale.iter().for_each(|row| println!("in tests/mutants.toml, but it does not survive: {}", row.mutant));
    if !new.is_empty() || !stale.is_empty() || all && share < CAUGHT_PERCENT_MIN {
        bail!(
            "{} survivors are not in tests/mutants.toml, {} that it lists do not survive, {share:.1} % are caught",
            new.len(),
            stale.len()
        );
    }
    Ok(())
}

/// Where the files are changed: those of the index, so that what is staged is tested and nothing of this checkout changes.
fn check_out() -> Result<PathBuf> {
    let checkout = directory().join("checkout");
    let _ = fs::remove_dir_all(&checkout);
    fs::create_dir_all(&checkout)?;
    let prefix = format!("--prefix={}/", checkout.display());
    run(Command::new("git").current_dir(root()).args(["checkout-index", "--all", "--force", &prefix]))?;
    Ok(checkout)
}

fn directory() -> PathBuf {
    root().join("target").join("mutants")
}

/// Changes `files` one mutant at a time, and runs the tests of `package` on each. The directory of the lists of the results.
fn mutate(program: &Path, checkout: &Path, package: &str, files: &[&str], args: &Args) -> Result<PathBuf> {
    let output = directory().join(package);
    let _ = fs::remove_dir_all(&output);
    fs::create_dir_all(&output)?;
    let mut mutants = Command::new(program);
    mutants.args(["mutants", "--in-place", "--package", package, "--dir"]).arg(checkout).arg("--output").arg(&output);
    for file in files {
        mutants.args(["--file", file]);
    }
    for re in &args.re {
        mutants.args(["--re", re]);
    }
    if let Some(shard) = &args.shard {
        mutants.args(["--shard", shard]);
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

/// `src/a.rs:12:5: replace f with ()` without line and column, which any edit above changes.
fn without_position(mutant: &str) -> String {
    let (position, what) = mutant.split_once(": ").unwrap_or((mutant, ""));
    let file = position.split(':').next().unwrap_or(position);
    format!("{file}: {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutant_is_known_wherever_it_moves_to() {
        let mutant = "crates/trust/src/policy.rs:12:5: replace is_revoked -> bool with true";
        assert_eq!(without_position(mutant), "crates/trust/src/policy.rs: replace is_revoked -> bool with true");
    }
}
