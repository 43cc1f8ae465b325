//! `cargo xtask package`: every library and program as crates.io would get it, built from those files alone, in the order
//! of their dependencies. Nothing is uploaded. Never here: packages for tests, which are not published.

use crate::tidy;
use anyhow::Result;
use isomer_testing::shell::{cargo, run};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only put the packages together, do not build them
    #[arg(long)]
    no_verify: bool,
    /// Take what is not committed, too
    #[arg(long)]
    allow_dirty: bool,
}

pub(crate) fn run_package(args: &Args) -> Result<()> {
    // All in one call: each is built against the packages of the others, of which no registry has one yet.
    let mut package = cargo();
    package.args(["package", "--locked"]);
    for name in tidy::published()? {
        package.args(["--package", &name]);
    }
    package.args(args.no_verify.then_some("--no-verify"));
    package.args(args.allow_dirty.then_some("--allow-dirty"));
    run(&mut package)
}
