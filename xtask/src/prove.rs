//! `cargo xtask prove`: every guest on every target's CPU, the specification's test suite, random modules, and the public
//! suites whose checkouts are named. Builds what that takes, runs all of it, and writes
//! `target/proof/report.html` and `report.json`: what passed, what failed, what was skipped and why. Fails when anything
//! failed.

use crate::{foreign, setup, suites, test};
use anyhow::{Context, Result, bail};
use isomer_testing::root;
use isomer_testing::shell::{cargo, run};
use std::fs;
use std::path::PathBuf;

mod browser;
mod html;
mod report;

pub(crate) use report::Report;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Random modules to compare; CI compares 150
    #[arg(long, default_value_t = 1000, value_name = "N")]
    modules: u32,
    /// Only these targets, with commas between them
    #[arg(long, value_name = "NAMES")]
    targets: Option<String>,
    /// Also run the public suite whose checkout this is, as `cargo xtask suites` does; may be repeated
    #[arg(long, value_name = "DIR")]
    suites: Vec<PathBuf>,
    /// Only make the report again, of what the last run left
    #[arg(long)]
    report_only: bool,
}

pub(crate) fn run_prove(args: &Args) -> Result<()> {
    let directory = root().join("target/proof");
    let parts = directory.join("parts");
    let failed = if args.report_only { Vec::new() } else { prove(args, &parts)? };
    let report = Report::read(&parts)?;
    fs::write(directory.join("report.json"), report.json()?)?;
    let page = directory.join("report.html");
    fs::write(&page, html::page(&report)).with_context(|| format!("could not write {}", page.display()))?;
    print!("{}", report.summary());
    println!("{}", page.display());
    match browser::find() {
        Some(chromium) => browser::check(&chromium, &page, &report)?,
        None => println!("skipped: no Chromium to open the report in"),
    }
    if report.failed() > 0 || !failed.is_empty() {
        bail!("{} of the report's cells failed; tests failed in: {}", report.failed(), failed.join(", "));
    }
    Ok(())
}

/// Runs all that leaves a part of the report behind; the packages whose tests failed.
fn prove(args: &Args, parts: &PathBuf) -> Result<Vec<&'static str>> {
    setup::install_for_tests();
    let _ = fs::remove_dir_all(parts);
    fs::create_dir_all(parts)?;
    test::build_binaries()?;
    let foreign = foreign::set_up_all()?;
    let mut failed = Vec::new();
    for (package, only) in [("isomer-tests", &["--test", "e2e", "matrix::"][..]), ("isomer-conformance", &[])] {
        let mut cargo = cargo();
        cargo.args(["test", "--locked", "--no-fail-fast", "--package", package]).args(only);
        cargo.env("ISOMER_FOREIGN", &foreign).env("ISOMER_PROOF", parts);
        cargo.env("ISOMER_PROVE_ALL", "1").env("ISOMER_PROVE_MODULES", args.modules.to_string());
        if let Some(targets) = &args.targets {
            cargo.env("ISOMER_TARGETS", targets);
        }
        if let Ok(wasmtime) = setup::wasmtime() {
            cargo.env("ISOMER_UPSTREAM_WASMTIME", wasmtime);
        }
        if let Err(error) = run(&mut cargo) {
            eprintln!("error: {error:#}");
            failed.push(package);
        }
    }
    if !args.suites.is_empty()
        && let Err(error) = suites::run_tests(&args.suites, args.targets.as_deref(), Some(parts))
    {
        eprintln!("error: {error:#}");
        failed.push("the public suites");
    }
    Ok(failed)
}
