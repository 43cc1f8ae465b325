//! The command line of `isomer`, as clap derives it. In: arguments. Out: a call of one file of `cli`.

mod cache;
mod compile;
mod completions;
mod inspect;
mod job;
mod job_options;
mod keygen;
mod merge;
mod plan;
mod push;
mod release;
mod remote;
mod run;
mod session;
mod sign;
mod state;
mod targets;
mod values;
mod worker;

pub(crate) use session::interruption;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, Parser, Subcommand};
use isomer_terminal::{Failures, begin_log, log_filter};
use tracing::Level;

/// Compiles WebAssembly ahead of time, one native form for every kind of server.
#[derive(Parser)]
#[command(name = "isomer", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  isomer targets                                         the shipped CPU profiles
  isomer compile app.wasm --target x86-64-v3             app.x86-64-v3.cwasm
  isomer compile *.wasm --target all --out-dir out/      every module for every profile
  isomer release -f isomer.toml -o dist/                 all of a manifest as one OCI image layout
  isomer plan -o dist/ --why                             what that would compile, and why
  isomer keygen -o farm                                  farm.key, farm.pub
  isomer sign dist/ --key farm.key                       servers verify it
  isomer push dist/ registry.example/acme                servers pull from there
  isomer inspect dist/                                   its contents and the profiles they serve

Exit codes: 0 success, 1 failure (see standard error), 2 invalid command line, 128 + N ended by signal N (130 for Ctrl-C). \
With --json, an error that precedes all results prints no JSON.

Set ISOMER_LOG (error, warn, info, debug, or a filter in the syntax of RUST_LOG) to see more or less of what happens.";

/// Commands of `isomer-run` that people look for here.
const OF_ISOMER_RUN: [&str; 11] =
    ["verify", "serve", "pull", "select", "check", "host", "activate", "rollback", "list", "gc", "counters"];

/// Reads the command line, or ends the process with what is wrong with it.
pub(crate) fn parse() -> Cli {
    Cli::try_parse().unwrap_or_else(|error| with_other_program(error).exit())
}

/// Names the other program when the command is one of its.
fn with_other_program(mut error: clap::Error) -> clap::Error {
    if let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidSubcommand)
        && OF_ISOMER_RUN.contains(&name.as_str())
    {
        let suggestion = format!("`isomer-run {name}` does that, without a compiler");
        error.remove(ContextKind::SuggestedSubcommand);
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![suggestion.into()]));
    }
    isomer_terminal::name_invalid_utf8(error, &mut Cli::command())
}

#[derive(Subcommand)]
enum Command {
    /// List, show and check CPU profiles.
    Targets(targets::Args),
    /// Compile modules and components for one or more profiles.
    Compile(compile::Args),
    /// Compile everything that a manifest names, into an OCI image layout.
    Release(release::Args),
    /// Join the parts of a release, or releases of different versions of isomer.
    Merge(merge::Args),
    /// Print what a release would compile, and why.
    Plan(plan::Args),
    /// Show and trim the cache of finished jobs.
    Cache(cache::Args),
    /// Generate a pair of keys to sign releases with.
    Keygen(keygen::Args),
    /// Sign a release.
    Sign(sign::Args),
    /// Push a release into an OCI registry.
    Push(push::Args),
    /// Show the contents of an artifact or a release.
    Inspect(inspect::Args),
    /// Print completions for a shell.
    Completions(completions::Args),
    /// Hand over to `isomer-run run`.
    #[command(disable_help_flag = true)]
    Run(run::Args),
    /// Run jobs for the process that started this one.
    #[command(hide = true)]
    Worker,
    /// Run one job, for a remote farm.
    #[command(hide = true)]
    Job(job::Args),
}

impl Cli {
    pub(crate) fn run(self) -> Result<(), Failures> {
        // What a worker or a job of a farm prints is its answer, or a fault.
        if !matches!(self.command, Command::Worker | Command::Job(_)) {
            begin_log(log_filter(), Level::WARN);
        }
        match self.command {
            Command::Targets(args) => targets::run(&args),
            Command::Compile(args) => compile::run(&args),
            Command::Release(args) => release::run(&args),
            Command::Merge(args) => merge::run(&args),
            Command::Plan(args) => plan::run(&args),
            Command::Cache(args) => cache::run(&args),
            Command::Keygen(args) => keygen::run(&args),
            Command::Sign(args) => sign::run(&args),
            Command::Push(args) => push::run(&args),
            Command::Inspect(args) => inspect::run(&args),
            Command::Completions(args) => completions::run(&args),
            Command::Run(args) => run::run(&args),
            Command::Worker => worker::run(),
            Command::Job(args) => job::run(&args),
        }
    }
}
