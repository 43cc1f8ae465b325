//! In: the command line. Out: an exit code; one error on stderr when something is wrong.
//!
//! Exit codes: 0, or the guest's own; 1 for an error; 2 for an invalid command line; 101 for a bug; 124 when a guest's time
//! is over, as timeout(1) does; 134 for a trap, as `wasmtime run` does, and for any other limit.

mod grant_options;
mod input;
mod limit_options;
mod operand;
mod signers;
mod source;
mod store;
mod wording;

mod check;
mod host;
mod run;
mod select;
mod serve;
mod verify;

mod activate;
mod artifact;
mod counters;
mod gc;
mod list;
mod pull;

use crate::log;
use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, Parser, Subcommand};
use isomer_contract::ENGINE_VERSION;
use isomer_terminal::Failure;
use std::process::ExitCode;
use std::sync::LazyLock;

static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{} (wasmtime {ENGINE_VERSION})", env!("CARGO_PKG_VERSION")));

#[derive(Parser)]
#[command(
    name = "isomer-run",
    version = VERSION.as_str(),
    about = "Picks the best compiled form of a WebAssembly module for this machine, checks it, and runs it",
    after_help = "Set ISOMER_LOG (error, warn, info, debug, or a filter as RUST_LOG's) to see more of what happens; -v and -q \
                  come first.",
    max_term_width = 100
)]
struct Cli {
    /// Print more of what happens to standard error; twice, all of it
    #[arg(short, long, action = clap::ArgAction::Count, conflicts_with = "quiet", global = true)]
    verbose: u8,
    /// Print no warnings
    #[arg(short, long, global = true)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Host(host::Arguments),
    Select(select::Arguments),
    Check(check::Arguments),
    Verify(verify::Arguments),
    Run(Box<run::Arguments>),
    Serve(Box<serve::Arguments>),
    Pull(pull::Arguments),
    Activate(activate::Arguments),
    Rollback(activate::RollbackArguments),
    List(list::Arguments),
    Gc(gc::Arguments),
    Counters(counters::Arguments),
    /// Print a script that completes isomer-run's commands in a shell
    #[command(after_help = "Example:\n  isomer-run completions bash > /etc/bash_completion.d/isomer-run")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

pub(crate) fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| elsewhere(error).exit());
    let verbosity = log::Verbosity { more: cli.verbose, quiet: cli.quiet };
    let server = match &cli.command {
        Command::Serve(arguments) => Some(arguments.log()),
        _ => None,
    };
    log::begin(server, verbosity);
    let result = match cli.command {
        Command::Host(arguments) => host::run(&arguments),
        Command::Select(arguments) => select::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Pull(arguments) => pull::run(&arguments),
        Command::Activate(arguments) => activate::run(&arguments),
        Command::Rollback(arguments) => activate::rollback(&arguments),
        Command::List(arguments) => list::run(&arguments),
        Command::Gc(arguments) => gc::run(&arguments),
        Command::Counters(arguments) => counters::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Serve(arguments) => serve::run(*arguments),
        Command::Completions { shell } => completions(shell),
    };
    result.unwrap_or_else(|failure| {
        failure.print();
        ExitCode::FAILURE
    })
}

/// Commands of `isomer` alone; `release` and the like make what this program takes.
const OF_ISOMER: [&str; 9] = ["compile", "release", "merge", "plan", "keygen", "sign", "push", "inspect", "targets"];

/// A command of the other program is not a misspelling of one here.
fn elsewhere(mut error: clap::Error) -> clap::Error {
    let typed = match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(typed)) if OF_ISOMER.contains(&typed.as_str()) => typed.clone(),
        _ => return isomer_terminal::name_invalid_utf8(error, &mut Cli::command()),
    };
    error.remove(ContextKind::SuggestedSubcommand);
    let tip = format!("`isomer {typed}` does that, where releases are made");
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    error
}

fn completions(shell: clap_complete::Shell) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "isomer-run", &mut script);
    isomer_terminal::print(&*String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
