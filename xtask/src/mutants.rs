//! `cargo xtask mutants`: which small changes to the code that decides no test notices. In: the files of `FILES`, and
//! `tests/mutants.toml` with the survivors that are known. Out: the share that is caught, and every survivor that is not
//! known. By hand: it takes an hour. Needs `cargo install cargo-mutants`.

use crate::shell::{on_path, root, tools};
use crate::test::cargo;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::fs;
use std::path::Path;

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
    ("isomer-trust", &["crates/trust/src/evaluate.rs", "crates/trust/src/policy.rs", "crates/trust/src/policy/*.rs"]),
    ("isomer-runtime", &["crates/run/src/verify.rs", "crates/run/src/sealed.rs"]),
    ("isomer-store", &["crates/store/src/*.rs"]),
];

/// The least share of viable mutants that tests must catch.
const CAUGHT_PERCENT_MIN: f64 = 95.0;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these packages
    packages: Vec<String>,
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
    ensure!(on_path("cargo-mutants"), "cargo-mutants is not installed: `cargo install cargo-mutants`");
    let path = root().join("tests/mutants.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
    let known: Known = toml::from_str(&text).with_context(|| format!("could not read {}", path.display()))?;
    let (mut caught, mut missed) = (0, Vec::new());
    for (package, files) in FILES {
        if !args.packages.is_empty() && !args.packages.iter().any(|name| name == package) {
            continue;
        }
        let directory = tools().join("mutants").join(package);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory)?;
        let mut mutants = cargo();
        // The copy takes the builds along: without them each package would begin with wasmtime.
        mutants.args(["mutants", "--copy-target=true", "--package", package, "--output"]).arg(&directory);
        files.iter().for_each(|file| {
            mutants.args(["--file", file]);
        });
        // It fails when a mutant survives, which is what the lists are read for.
        mutants.status().with_context(|| format!("could not start {mutants:?}"))?;
        let lists = directory.join("mutants.out");
        caught += lines(&lists, "caught.txt")?.len() + lines(&lists, "timeout.txt")?.len();
        missed.extend(lines(&lists, "missed.txt")?);
    }
    let viable = caught + missed.len();
    ensure!(viable > 0, "no mutant was viable");
    let share = 100.0 * caught as f64 / viable as f64;
    println!("{caught} of {viable} viable mutants are caught: {share:.1} %");
    let is_known = |mutant: &String| known.survivor.iter().any(|row| row.mutant == without_position(mutant));
    let new: Vec<_> = missed.into_iter().filter(|mutant| !is_known(mutant)).collect();
    new.iter().for_each(|mutant| println!("survives: {mutant}"));
    if !new.is_empty() || share < CAUGHT_PERCENT_MIN {
        bail!("{} survivors are not in tests/mutants.toml, {share:.1} % are caught", new.len());
    }
    Ok(())
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
