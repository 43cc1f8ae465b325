//! In: the command line. Out: an exit code; one error on stderr when something is wrong.
//!
//! Exit codes: 0, or the guest's own; 1 for an error; 2 for an invalid command line; 101 for a bug; 124 when a guest's time
//! is over, as timeout(1) does; 134 for a trap, as `wasmtime run` does, and for any other limit.

mod deferred;
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
use deferred::Deferred;
use isomer_contract::ENGINE_VERSION;
use isomer_terminal::Failure;
use std::process::ExitCode;
use std::sync::LazyLock;

static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{} (wasmtime {ENGINE_VERSION})", env!("CARGO_PKG_VERSION")));

/// Options of all commands are listed after those of the command.
const COMMON: usize = 900;

#[derive(Parser)]
#[command(
    name = "isomer-run",
    version = VERSION.as_str(),
    about = "Picks the best compiled form of a WebAssembly module for this machine, checks it, and runs it",
    after_help = "Set ISOMER_LOG (error, warn, info, debug, or a filter in the syntax of RUST_LOG) to see more or less of what \
                  happens; -v and -q override it.",
    max_term_width = 100
)]
struct Cli {
    /// Log more to standard error; -vv logs everything
    #[arg(short, long, action = clap::ArgAction::Count, conflicts_with = "quiet", global = true, display_order = COMMON)]
    verbose: u8,
    /// Print no warnings
    #[arg(short, long, global = true, display_order = COMMON + 1)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

/// Their descriptions are here, so that the list of commands has them without their options.
#[derive(Subcommand)]
enum Command {
    /// Show this machine: architecture, system, CPU extensions, and the shipped targets that it can run
    Host(Deferred<host::Arguments>),
    /// Show which variant of a module this machine, or another, would run; nothing is run
    Select(Deferred<select::Arguments>),
    /// Check whether an artifact would load on this machine or another; it is not run
    Check(Deferred<check::Arguments>),
    /// Check who signed the modules of a release, and that every byte of them is what was signed; nothing is run
    Verify(Deferred<verify::Arguments>),
    /// Run an installed module, or one of a release in the best form for this machine, or an artifact
    ///
    /// The guest gets standard input, output and error, and its arguments; anything else of this machine must be granted by
    /// an option.
    Run(Deferred<run::Arguments>),
    /// Answer HTTP requests with a component: an installed module, one of a release, or an artifact
    ///
    /// The component exports `wasi:http/incoming-handler@0.2` or `wasi:http/handler@0.3`. SIGTERM and SIGINT end the server once
    /// its requests are answered; a second one ends it at once.
    Serve(Deferred<serve::Arguments>),
    /// Install modules: fetch the variant that this machine runs, if it is trusted, and check every byte of it
    ///
    /// Signatures are verified before anything large is fetched, and nothing is fetched twice. A release that is older than
    /// the last one of its name is refused, by the counter in its signature.
    Pull(Deferred<pull::Arguments>),
    /// Make an installed version of a module the active one, which its name alone means
    ///
    /// Guests that run already keep the version that they were started with.
    Activate(Deferred<activate::Arguments>),
    /// Activate the version of a module that was active before; the network is not needed
    Rollback(Deferred<activate::RollbackArguments>),
    /// Show what is installed: each variant, whether it is active or live (a server on this machine answers requests with it),
    /// why it is trusted, and where it came from
    List(Deferred<list::Arguments>),
    /// Remove old versions, unreferenced artifacts, and what interrupted commands left
    ///
    /// The active version of each module is kept, the N latest before it, and what was pulled since and may be activated yet.
    /// If none is active, the N latest are kept. Versions that are live are kept, too, and damaged ones, unless --damaged is
    /// given. Guests that run already keep what they have mapped.
    Gc(Deferred<gc::Arguments>),
    /// Show the counters below which a release is not installed; repair or forget them
    ///
    /// A counter belongs to a key and a module: it is the highest one of the releases that were pulled with that module
    /// and were signed by that key. Installed modules keep their counters, even if the file is lost.
    Counters(Deferred<counters::Arguments>),
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
        Command::Serve(arguments) => Some(arguments.0.log()),
        _ => None,
    };
    log::begin(server, verbosity);
    let result = match cli.command {
        Command::Host(arguments) => host::run(&arguments.0),
        Command::Select(arguments) => select::run(&arguments.0),
        Command::Check(arguments) => check::run(&arguments.0),
        Command::Verify(arguments) => verify::run(&arguments.0),
        Command::Pull(arguments) => pull::run(&arguments.0),
        Command::Activate(arguments) => activate::run(&arguments.0),
        Command::Rollback(arguments) => activate::rollback(&arguments.0),
        Command::List(arguments) => list::run(&arguments.0),
        Command::Gc(arguments) => gc::run(&arguments.0),
        Command::Counters(arguments) => counters::run(&arguments.0),
        Command::Run(arguments) => run::run(&arguments.0),
        Command::Serve(arguments) => serve::run(*arguments.0),
        Command::Completions { shell } => completions(shell),
    };
    result.unwrap_or_else(|failure| {
        failure.print();
        ExitCode::FAILURE
    })
}

/// Commands of `isomer` alone; `release` and the like make what this program takes.
const OF_ISOMER: [&str; 10] =
    ["compile", "release", "merge", "plan", "cache", "keygen", "sign", "push", "inspect", "targets"];

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
    // As the program's name has a hyphen, bash would look for a command's options under another name than clap_complete
    // gives them: https://github.com/clap-rs/clap/issues/6421.
    let script = String::from_utf8_lossy(&script).replace("isomer__subcmd__run__", "isomer__run__");
    isomer_terminal::print(&script)?;
    Ok(ExitCode::SUCCESS)
}
