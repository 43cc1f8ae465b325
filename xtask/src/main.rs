//! `cargo xtask COMMAND`: everything that is done to this repository rather than with its binaries.
//! One file a command; each is also what CI runs.

use clap::{Parser, Subcommand};
use std::process::ExitCode;

mod bench;
mod corpus;
mod debian;
mod dist;
mod engine;
mod farm;
mod foreign;
mod guests;
mod languages;
mod mutants;
mod package;
mod prove;
mod release;
mod setup;
mod suites;
mod test;
mod tidy;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, tests and measures isomer")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build both binaries and compile the example modules for every shipped target into dist/.
    Release(release::Args),
    /// Build both programs statically linked into target/dist: `isomer` for remote workers, `isomer-run` with musl.
    Dist,
    /// Run every check and test, installing what they need: what CI runs.
    Test(test::Args),
    /// Check this repository's own rules.
    Tidy,
    /// Put every published package together and build each from its own files.
    Package(package::Args),
    /// List the small changes to deciding code that no test notices.
    Mutants(mutants::Args),
    /// Say whether there is a newer wasmtime than the locked one.
    Engine,
    /// Measure isomer against upstream's wasmtime, as ratios.
    Bench(bench::Args),
    /// Set up what it takes to run artifacts for aarch64, riscv64, s390x and lesser x86-64 CPUs.
    Foreign(foreign::Args),
    /// Prove on every CPU that can be had that every target runs right, and write target/proof/report.html.
    Prove(prove::Args),
    /// Run the public suites, from checkouts of their repositories.
    Suites(suites::Args),
    /// Rebuild the guests in tests/guests from their sources and compare them with what is checked in.
    Guests(guests::Args),
    /// Make a release on a real farm of several workers, kill one of them at work, and compare with a local release.
    Farm(farm::Args),
    /// Download the pinned real-world modules and compile all of them for all targets.
    Corpus(corpus::Args),
}

fn main() -> ExitCode {
    if let Some(code) = test::rustdoc::called() {
        return code.unwrap_or_else(failure);
    }
    let result = match Cli::parse().command {
        Command::Release(args) => release::run_release(&args),
        Command::Dist => dist::build(),
        Command::Test(args) => test::run_tests(&args),
        Command::Tidy => tidy::check(),
        Command::Package(args) => package::run_package(&args),
        Command::Mutants(args) => mutants::run_mutants(&args),
        Command::Engine => engine::check(),
        Command::Bench(args) => bench::run(&args),
        Command::Foreign(args) => foreign::run_foreign(&args),
        Command::Prove(args) => prove::run_prove(&args),
        Command::Suites(args) => suites::run_suites(&args),
        Command::Guests(args) => guests::run(&args),
        Command::Farm(args) => farm::run(&args),
        Command::Corpus(args) => corpus::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure(error),
    }
}

/// The chain of causes; a backtrace of this program would hide it.
fn failure(error: anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}
