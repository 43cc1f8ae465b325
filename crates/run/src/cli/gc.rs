//! `isomer-run gc`: remove what is not needed any more.

use super::store;
use isomer_run::{Garbage, GarbageKind};
use isomer_terminal::{Failure, bytes};
use std::fmt::Write;
use std::process::ExitCode;

/// Remove old versions, artifacts that nothing names, and what interrupted commands left
///
/// The active version of each module stays, the N latest before it, and what was pulled since and may be activated yet.
/// Where none is active, the N latest stay. What runs already keeps what it has mapped.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  isomer-run gc --keep 2 --dry-run
  isomer-run gc --keep 0                # nothing to roll back to")]
pub(crate) struct Arguments {
    /// How many earlier versions of each module stay
    #[arg(long, value_name = "N")]
    keep: usize,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    store: store::Location,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let garbage = arguments.store.open()?.collect(arguments.keep, arguments.dry_run)?;
    isomer_terminal::print(&text(&garbage, arguments.dry_run))?;
    Ok(ExitCode::SUCCESS)
}

fn text(garbage: &[Garbage], dry_run: bool) -> String {
    let mut text = String::new();
    let mut sum_bytes = 0;
    for Garbage { kind, path, size_bytes } in garbage {
        sum_bytes += size_bytes;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Writing to a string cannot fail.
        let _ = match kind {
            GarbageKind::Module { reference, index } => writeln!(text, "module      {reference} {index}"),
            GarbageKind::Artifact => writeln!(text, "artifact    {name}"),
            GarbageKind::Unfinished => writeln!(text, "unfinished  {name}"),
        };
    }
    let removed = if dry_run { "would be removed" } else { "removed" };
    let _ = writeln!(text, "{} {removed}", bytes(sum_bytes));
    text
}
