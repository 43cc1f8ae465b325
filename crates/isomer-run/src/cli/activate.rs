//! `isomer-run activate` and `isomer-run rollback`: which version of a module its name alone means.

use super::{store, wording};
use isomer_contract::Digest;
use isomer_layout::Module;
use isomer_store::Installed;
use isomer_terminal::Failure;
use serde::Serialize;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Examples:
  isomer-run activate resize:1.4.0
  isomer-run activate resize@sha256:9f86d0…      # where several of that version are installed")]
pub(crate) struct Arguments {
    /// The module: NAME:VERSION, NAME@DIGEST, or NAME where one version is installed
    #[arg(value_name = "MODULE")]
    module: String,
    /// Print what is active now as JSON: `module`, `reference`, `digest` of its index
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: store::Location,
}

#[derive(clap::Args)]
#[command(after_help = "Example:
  isomer-run rollback resize

`isomer-run activate resize:VERSION` goes forward again.")]
pub(crate) struct RollbackArguments {
    /// The module
    #[arg(value_name = "NAME")]
    module: String,
    /// Print what is active now as JSON: `module`, `reference`, `digest` of its index
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: store::Location,
}

/// What is active now.
#[derive(Serialize)]
struct Row<'a> {
    module: &'a str,
    reference: &'a str,
    digest: Digest,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    report(&arguments.store.open()?.activate(&arguments.module).map_err(wording::store)?, "active", arguments.json)
}

pub(crate) fn rollback(arguments: &RollbackArguments) -> Result<ExitCode, Failure> {
    report(
        &arguments.store.open()?.rollback(&arguments.module).map_err(wording::store)?,
        "active again",
        arguments.json,
    )
}

fn report(active: &Installed, what: &str, json: bool) -> Result<ExitCode, Failure> {
    let Module { name, reference, digest, .. } = active.module();
    if json {
        isomer_terminal::print_json(&Row { module: name, reference, digest: *digest })?;
    } else {
        isomer_terminal::print(&format!("{reference} is {what}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}
