//! `cargo xtask suites DIR…`: the public suites, from checkouts that a user makes with git: wasi-testsuite, wasmtime's own
//! scripts, the component model's. Each is compiled, written, loaded and run. Fails on what is not a known failure, and on
//! a known failure that passes; `tests/conformance/expected` lists those.

use crate::test;
use anyhow::{Context, Result};
use isomer_testing::shell::{cargo, run};
use std::env;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Checkouts; docs/testing.md names the repositories and branches
    #[arg(required = true, value_name = "DIR")]
    directories: Vec<PathBuf>,
    /// Only these profiles, with commas between them [default: for scripts, each that this machine runs; for programs,
    /// the best of them and Pulley]
    #[arg(long, value_name = "NAMES")]
    profiles: Option<String>,
}

pub(crate) fn run_suites(args: &Args) -> Result<()> {
    test::build_binaries()?;
    run_tests(&args.directories, args.profiles.as_deref(), None)
}

/// Runs the suites with the binaries that were built; `parts` is where the proof's parts go.
pub(crate) fn run_tests(directories: &[PathBuf], profiles: Option<&str>, parts: Option<&Path>) -> Result<()> {
    let directories = directories.iter().map(|directory| {
        directory.canonicalize().with_context(|| format!("cannot open the checkout {}", directory.display()))
    });
    let directories = directories.collect::<Result<Vec<_>>>()?;
    let mut cargo = cargo();
    cargo.args(["test", "--quiet", "--locked"]);
    // As in `cargo xtask test`, so that nothing is built with other features.
    test::CALLERS.iter().for_each(|package| {
        cargo.args(["--package", package]);
    });
    cargo.args(["--test", "public", "the_public_suites_pass", "--", "--ignored", "--nocapture"]);
    cargo.env("ISOMER_SUITES", env::join_paths(directories)?);
    if let Some(profiles) = profiles {
        cargo.env("ISOMER_SUITES_PROFILES", profiles);
    }
    if let Some(parts) = parts {
        cargo.env("ISOMER_PROOF", parts);
    }
    run(&mut cargo).context("the suites did not pass")
}
