//! The command line of `isomer`, as clap derives it. What was typed ends here; the commands get what was meant.

mod compile;
mod completions;
mod inspect;
mod keygen;
mod push;
mod release;
mod run;
mod sign;
mod targets;

use clap::{Parser, Subcommand};
use isomer_compile::schedule;
use isomer_terminal::{Failure, Failures};
use std::num::NonZeroUsize;

/// Compiles WebAssembly ahead of time, one native form for every kind of server.
#[derive(Parser)]
#[command(name = "isomer", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  isomer targets                                         the CPU profiles that can be named
  isomer compile app.wasm --target x86-64-v3             app.x86-64-v3.cwasm
  isomer compile *.wasm --target all --out-dir out/      every module for every profile
  isomer release -f isomer.toml -o dist/                 all of a manifest as one OCI image layout
  isomer keygen -o farm                                  farm.key, farm.pub
  isomer sign dist/ --key farm.key                       what servers believe
  isomer push dist/ registry.example/acme                where servers find it
  isomer inspect dist/                                   what is in it, and whom it serves";

#[derive(Subcommand)]
enum Command {
    /// List, show and check CPU profiles.
    Targets(targets::Args),
    /// Compile modules and components for one or more profiles.
    Compile(compile::Args),
    /// Compile everything that a manifest names, into an OCI image layout.
    Release(release::Args),
    /// Make a pair of keys to sign releases with.
    Keygen(keygen::Args),
    /// Sign a release.
    Sign(sign::Args),
    /// Push a release into an OCI registry.
    Push(push::Args),
    /// Show what is in an artifact or a release.
    Inspect(inspect::Args),
    /// Print completions for a shell.
    Completions(completions::Args),
    /// Hand over to `isomer-run run`.
    #[command(disable_help_flag = true)]
    Run(run::Args),
}

impl Cli {
    pub(crate) fn run(self) -> Result<(), Failures> {
        match self.command {
            Command::Targets(args) => targets::run(&args),
            Command::Compile(args) => compile::run(&args),
            Command::Release(args) => release::run(&args),
            Command::Keygen(args) => keygen::run(&args),
            Command::Sign(args) => sign::run(&args),
            Command::Push(args) => push::run(&args),
            Command::Inspect(args) => inspect::run(&args),
            Command::Completions(args) => completions::run(&args),
            Command::Run(args) => run::run(&args),
        }
    }
}

/// How many jobs run at once.
#[derive(clap::Args)]
struct Jobs {
    /// How many jobs run at once, up to 1024 [default: one a core]
    // Each takes a thread and its stack: a number far beyond the cores would only keep the system busy.
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
}

impl Jobs {
    /// Sets the process up to compile, and says how many jobs run at once.
    fn prepare(&self) -> Result<NonZeroUsize, Failure> {
        let parallelism =
            self.jobs.map(usize::from).and_then(NonZeroUsize::new).unwrap_or_else(schedule::default_parallelism);
        schedule::prepare(parallelism).map_err(|error| {
            let failure = Failure::because(format!("cannot start {parallelism} threads"), &error);
            failure.hint("the system's limits on threads or memory are in the way: fewer --jobs need less".to_owned())
        })?;
        Ok(parallelism)
    }
}
