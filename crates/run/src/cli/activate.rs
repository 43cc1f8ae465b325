//! `isomer-run activate` and `isomer-run rollback`: which version of a module its name alone means.

use super::store;
use isomer_run::Store;
use isomer_terminal::Failure;
use std::process::ExitCode;

/// Make an installed version of a module the one that its name means, in one step
///
/// What runs already keeps the version that it was started with.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  isomer-run activate resize:1.4.0
  isomer-run activate resize@sha256:9f86d0…      # where several of that version are installed")]
pub(crate) struct Arguments {
    /// The module: NAME:VERSION, NAME@DIGEST, or NAME where one version is installed
    #[arg(value_name = "MODULE")]
    module: String,
    #[command(flatten)]
    store: store::Location,
}

/// Activate the version of a module that was active before; the network is not needed
#[derive(clap::Args)]
#[command(after_help = "Example:
  isomer-run rollback resize

`isomer-run activate resize:VERSION` goes forward again.")]
pub(crate) struct RollbackArguments {
    /// The module
    #[arg(value_name = "NAME")]
    module: String,
    #[command(flatten)]
    store: store::Location,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    activate(&arguments.store.open()?, &arguments.module)?;
    Ok(ExitCode::SUCCESS)
}

/// Activates the module called `name` and says so.
pub(crate) fn activate(store: &Store, name: &str) -> Result<(), Failure> {
    let active = store.activate(name)?;
    isomer_terminal::print(&format!("{} is active\n", active.module().reference))
}

pub(crate) fn rollback(arguments: &RollbackArguments) -> Result<ExitCode, Failure> {
    let active = arguments.store.open()?.rollback(&arguments.module)?;
    isomer_terminal::print(&format!("{} is active again\n", active.module().reference))?;
    Ok(ExitCode::SUCCESS)
}
