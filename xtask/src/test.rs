//! `cargo xtask test`: everything that CI runs. Installs what tests need, checks the house's rules, builds the two
//! binaries, lints and tests every package, and prints what was skipped and where the time went.
//!
//! Clippy and rustdoc run as part of the builds: on their own they would compile every dependency once more, wasmtime and
//! Cranelift twice, for metadata that the builds have already. `clippy-driver` is a compiler that also lints, and
//! `rustdoc` is called for the documentation's examples anyway, with all that it takes to check the documentation.

use crate::languages::{self, Language};
use crate::{foreign, setup, tidy};
use anyhow::{Result, bail, ensure};
use isomer_testing::shell::{cargo, run, tools};
use isomer_testing::{has_program, root};
use output::Counts;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use times::Times;

mod output;
pub(crate) mod rustdoc;
mod skips;
mod times;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Skip formatting, lints and documentation
    #[arg(long)]
    no_lints: bool,
    /// Run only tests whose name contains this
    filter: Option<String>,
}

/// Packages that are tested together share one set of wasmtime's features; `isomer-compile` adds the compiler. The last
/// link neither and call the binaries. What fails cheaply comes first.
const UNITS: [&[&str]; 3] = [
    &[
        "isomer-contract",
        "isomer-file",
        "isomer-layout",
        "isomer-terminal",
        "isomer-trust",
        "isomer-registry",
        "isomer-runtime",
        "isomer-store",
        "isomer-guest",
        "isomer-run",
        "isomer-loader",
    ],
    &["isomer-compile", "isomer", "isomer-remote"],
    &CALLERS,
];

/// Packages that link no wasmtime and call the binaries.
pub(crate) const CALLERS: [&str; 5] = ["isomer-testing", "isomer-tests", "isomer-conformance", "xtask", "xtask-guests"];

pub(crate) fn run_tests(args: &Args) -> Result<()> {
    let mut times = Times::default();
    if !args.no_lints {
        ensure!(has_program("clippy-driver"), "clippy is not installed: `rustup component add clippy`");
        times.measure("tidy", tidy::check)?;
        times.measure("formatting", || run(cargo().args(["fmt", "--all", "--check"])))?;
    }
    times.measure("installation", setup::install_for_tests);
    fs::create_dir_all(tools())?;
    let log = tools().join("skipped.txt");
    fs::write(&log, "")?;
    times.measure("the binaries", || build(!args.no_lints))?;
    let foreign = times.measure("emulators", foreign::set_up_emulators)?;
    let installed = programs();
    let mut counts = Counts::default();
    let mut failed = Vec::new();
    for packages in UNITS {
        let mut test = linting(!args.no_lints);
        test.args(["test", "--locked", "--no-fail-fast"]).env("ISOMER_SKIP_LOG", &log).env("ISOMER_FOREIGN", &foreign);
        if !args.no_lints {
            rustdoc::wrap(&mut test)?;
        }
        test.envs(installed.iter().map(|(name, path)| (name, path)));
        if packages == CALLERS {
            // They wait for programs half of their time: on deadlines, on servers, on the disk.
            test.env("RUST_TEST_THREADS", (2 * thread::available_parallelism()?.get()).to_string());
        }
        packages.iter().for_each(|package| {
            test.args(["--package", package]);
        });
        test.args(&args.filter);
        if !output::run(test, &mut counts, &mut times)? {
            failed.push(packages.join(", "));
        }
    }
    println!("{times}");
    let skipped = skips::read(&log)?;
    for skip in &skipped {
        println!("skipped: {}: {}", skip.test, skip.reason);
    }
    // A test that reports itself as skipped has passed as far as libtest knows.
    let passed = counts.passed.saturating_sub(skipped.len() as u64);
    println!("{passed} passed, {} failed, {} skipped", counts.failed, skipped.len() as u64 + counts.ignored);
    let unexpected = skips::unexpected(&skipped, &root().join("tests/skips.toml"), &skips::Machine::look())?;
    if !unexpected.is_empty() {
        failed.push(format!("tests/skips.toml, which allows no skip of {}", unexpected.join(", ")));
    }
    if failed.is_empty() { Ok(()) } else { bail!("tests failed in {}", failed.join("; ")) }
}

/// The programs of others that tests call, by the variable that names them. One that cannot be had is reported with its
/// reason: its tests are skipped, which `tests/skips.toml` does not allow in CI.
fn programs() -> Vec<(&'static str, PathBuf)> {
    let wanted = [
        ("ISOMER_UPSTREAM_WASMTIME", setup::wasmtime()),
        ("ISOMER_CASD", setup::casd()),
        ("ISOMER_COSIGN", setup::cosign()),
        ("ISOMER_HTTP_JAVASCRIPT", languages::build(Language::Javascript)),
        ("ISOMER_HTTP_PYTHON", languages::build(Language::Python)),
    ];
    let mut installed = Vec::new();
    for (name, found) in wanted {
        match found {
            Ok(path) => installed.push((name, path)),
            Err(error) => println!("{name} names nothing, and its tests are skipped: {error:#}"),
        }
    }
    installed
}

/// The programs that tests call.
pub(crate) fn build_binaries() -> Result<()> {
    build(false)
}

/// Packages are built one by one: together, cargo would unite their features and link the compiler into `isomer-run`.
/// The loader and the examples of `isomer-runtime` have the features of `isomer-run`.
fn build(lints: bool) -> Result<()> {
    let run_side = ["isomer-run", "isomer-loader", "isomer-runtime"];
    for (packages, kinds) in [(&["isomer"][..], &[][..]), (&run_side, &["--bins", "--examples"])] {
        let mut build = linting(lints);
        build.args(["build", "--locked"]).args(kinds);
        packages.iter().for_each(|package| {
            build.args(["--package", package]);
        });
        run(&mut build)?;
    }
    Ok(())
}

/// cargo, with a compiler that also lints this workspace's packages, and denies warnings.
fn linting(lints: bool) -> Command {
    let mut cargo = cargo();
    if lints {
        // As `cargo clippy` does.
        cargo.env("RUSTC_WORKSPACE_WRAPPER", Path::new("clippy-driver"));
        cargo.env("CLIPPY_ARGS", "--deny__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__");
    }
    cargo
}

/// Whether this is CI, where more must run than on a developer's machine.
fn is_ci() -> bool {
    env::var_os("CI").is_some_and(|value| !value.is_empty())
}
