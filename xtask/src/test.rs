//! `cargo xtask test`: everything that CI runs. Installs what tests need, checks the house's order, builds the two
//! binaries one by one, runs every test, and counts what was skipped and why.

use crate::shell::{root, run, tools};
use crate::{foreign, setup, tidy};
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Skip formatting, lints and documentation
    #[arg(long)]
    no_lints: bool,
    /// Run only tests whose name contains this
    filter: Option<String>,
}

/// Packages that are tested together share one set of wasmtime's features; `isomer-compile` adds the compiler. The last
/// two link neither and call the binaries. What fails cheaply comes first.
const UNITS: [&[&str]; 4] = [
    &[
        "isomer-contract",
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
    &["isomer-tests", "xtask"],
    &["isomer-conformance"],
];

#[derive(Default)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

pub(crate) fn run_tests(args: &Args) -> Result<()> {
    if !args.no_lints {
        lints()?;
    }
    setup::install_for_tests();
    fs::create_dir_all(tools())?;
    let skips = tools().join("skipped.txt");
    fs::write(&skips, "")?;
    build_binaries()?;
    let foreign = foreign::set_up_emulators()?;
    let mut counts = Counts::default();
    let mut failed = Vec::new();
    for packages in UNITS {
        let mut test = cargo();
        test.args(["test", "--locked", "--no-fail-fast"]).env("ISOMER_SKIP_LOG", &skips);
        test.env("ISOMER_FOREIGN", &foreign);
        if let Ok(wasmtime) = setup::wasmtime() {
            test.env("ISOMER_UPSTREAM_WASMTIME", wasmtime);
        }
        if let Ok(casd) = setup::casd() {
            test.env("ISOMER_CASD", casd);
        }
        packages.iter().for_each(|package| {
            test.args(["--package", package]);
        });
        test.args(&args.filter);
        if !count(&mut test, &mut counts)? {
            failed.push(packages.join(", "));
        }
    }
    let skipped = fs::read_to_string(&skips)?;
    let skipped: Vec<_> = skipped.lines().collect();
    for line in &skipped {
        println!("skipped: {line}");
    }
    // A test that reports itself skipped has passed as far as libtest knows.
    let passed = counts.passed.saturating_sub(skipped.len() as u64);
    println!("{passed} passed, {} failed, {} skipped", counts.failed, skipped.len() as u64 + counts.ignored);
    if failed.is_empty() { Ok(()) } else { bail!("tests failed in {}", failed.join("; ")) }
}

/// The programs that tests call. Packages are built one by one: together, cargo would unite their features and link
/// the compiler into `isomer-run`. The loader and the examples of `isomer-runtime` have the features of `isomer-run`.
pub(crate) fn build_binaries() -> Result<()> {
    let run_side = ["isomer-run", "isomer-loader", "isomer-runtime"];
    for (packages, kinds) in [(&["isomer"][..], &[][..]), (&run_side, &["--bins", "--examples"])] {
        let mut build = cargo();
        build.args(["build", "--locked"]).args(kinds);
        packages.iter().for_each(|package| {
            build.args(["--package", package]);
        });
        run(&mut build)?;
    }
    Ok(())
}

fn lints() -> Result<()> {
    tidy::check()?;
    run(cargo().args(["fmt", "--all", "--check"]))?;
    for packages in UNITS {
        let mut clippy = cargo();
        clippy.args(["clippy", "--locked", "--all-targets"]);
        packages.iter().for_each(|package| {
            clippy.args(["--package", package]);
        });
        run(clippy.args(["--", "--deny", "warnings"]))?;
    }
    // In groups for the same reason as the tests.
    let documented: [&[&str]; 2] = [UNITS[0], &["isomer-compile", "isomer-remote"]];
    for packages in documented {
        let mut doc = cargo();
        doc.args(["doc", "--locked", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "--deny warnings");
        packages.iter().for_each(|package| {
            doc.args(["--package", package]);
        });
        run(&mut doc)?;
    }
    Ok(())
}

/// cargo, in this checkout.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root());
    cargo
}

/// Runs a `cargo test`, shows its output, and adds up what its binaries report.
fn count(test: &mut Command, counts: &mut Counts) -> Result<bool> {
    let mut child = test.stdout(Stdio::piped()).spawn().with_context(|| format!("could not start {test:?}"))?;
    let stdout = child.stdout.take().expect("it was piped");
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        println!("{line}");
        let Some(result) = line.strip_prefix("test result: ") else { continue };
        let number = |word: &str| {
            let part = result.split([';', '.']).find(|part| part.trim().ends_with(word));
            part.and_then(|part| part.trim().split(' ').next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        counts.passed += number("passed");
        counts.failed += number("failed");
        counts.ignored += number("ignored");
    }
    Ok(child.wait()?.success())
}
