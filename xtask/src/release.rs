//! `cargo xtask release`: builds both binaries and compiles the example modules for every shipped target into `dist/`.

use isomer_testing::root;
use isomer_testing::shell::{cargo, run};
use std::path::PathBuf;
use std::process::Command;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The directory to write the release into
    #[arg(long, short, default_value = "dist")]
    output: PathBuf,
}

pub(crate) fn run_release(args: &Args) -> anyhow::Result<()> {
    for package in ["isomer", "isomer-run"] {
        build(package)?;
    }
    let root = root();
    let binaries = root.join("target/release");
    run(Command::new(binaries.join("isomer"))
        .arg("release")
        .arg("-f")
        .arg(root.join("isomer.toml"))
        .arg("-o")
        .arg(&args.output))?;
    println!("\nbinaries: {0}/isomer and {0}/isomer-run", binaries.display());
    println!("try:      target/release/isomer-run run --allow-unsigned {} sha256 < README.md", args.output.display());
    Ok(())
}

/// Builds one binary as it is shipped. Packages are built one by one: together, cargo would unite their features and
/// link the compiler into `isomer-run`.
pub(crate) fn build(package: &str) -> anyhow::Result<()> {
    run(cargo().args(["build", "--release", "--locked", "--package", package]))
}
