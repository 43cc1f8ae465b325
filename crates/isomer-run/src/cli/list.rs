//! `isomer-run list`: what is installed.

use super::{store, wording};
use isomer_contract::{Digest, one_line};
use isomer_store::{Check, Installed, Record, StoreError};
use isomer_terminal::{Failure, aligned, bytes};
use serde::Serialize;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Examples:
  isomer-run list --json | jq -r '.[] | select(.active) | .reference'
  isomer-run list --json | jq -r '.[] | select(.live) | .reference'    # what servers answer with
  isomer-run list --check

JSON: an array with each installed variant; one with `damaged`, the reason, does not run.

Exit code: with --check, 1 when something is damaged; else 0.")]
pub(crate) struct Arguments {
    /// Hash every installed artifact: damage need not change its size
    #[arg(long)]
    check: bool,
    /// Print JSON, with everything that is known of each
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: store::Location,
}

/// An installed variant.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Row<'a> {
    module: &'a str,
    reference: &'a str,
    digest: Digest,
    target: String,
    artifact: Digest,
    size_bytes: u64,
    active: bool,
    /// Whether a server on this machine answers requests with this version.
    live: bool,
    /// Why it cannot run.
    #[serde(skip_serializing_if = "Option::is_none")]
    damaged: Option<String>,
    #[serde(flatten)]
    record: &'a Record,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let (installed, mut damaged) = arguments.store.open()?.installed().map_err(wording::store)?;
    let check = if arguments.check { Check::Bytes } else { Check::Sizes };
    let mut rows = Vec::new();
    for installed in &installed {
        let error = match installed.check(check) {
            Ok(_) => None,
            Err(error @ StoreError::Damaged { .. }) => Some(error),
            Err(error) => return Err(wording::store(error)),
        };
        // What can still be told of it.
        rows.extend(rows_of(installed, error.as_ref()).unwrap_or_default());
        damaged.extend(error.map(|error| (installed.module().digest, error)));
    }
    let failed = arguments.check && !damaged.is_empty();
    for (_, error) in damaged {
        tracing::warn!("{}; pull it again, or remove it with `isomer-run gc --damaged`", one_line(&error));
    }
    if arguments.json {
        isomer_terminal::print_json(&rows)?;
    } else if rows.is_empty() {
        isomer_terminal::print(&format!("nothing is installed in `{}`\n", arguments.store.dir().display()))?;
    } else {
        isomer_terminal::print(&table(&rows))?;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn rows_of<'a>(installed: &'a Installed, damaged: Option<&StoreError>) -> Result<Vec<Row<'a>>, StoreError> {
    let module = installed.module();
    // What cannot be told is not shown.
    let live = installed.is_live().unwrap_or(false);
    let row = |manifest: isomer_layout::Manifest| Row {
        module: &module.name,
        reference: &module.reference,
        digest: module.digest,
        target: manifest.config.target,
        artifact: manifest.config.artifact.digest,
        size_bytes: manifest.config.artifact.size_bytes,
        active: installed.is_active(),
        live,
        damaged: damaged.map(|error| one_line(error)),
        record: installed.record(),
    };
    Ok(installed.variants()?.into_iter().map(row).collect())
}

fn table(rows: &[Row<'_>]) -> String {
    let heading = ["module", "target", "size", "active", "trust", "from"].map(str::to_owned).to_vec();
    let cells = rows.iter().map(|row| {
        let states = [(row.active, "yes"), (row.live, "live"), (row.damaged.is_some(), "damaged")];
        let active: Vec<_> = states.iter().filter(|(is, _)| *is).map(|(_, state)| *state).collect();
        let Record { from, trust_basis, .. } = row.record;
        let cells = [
            row.reference.to_owned(),
            row.target.clone(),
            bytes(row.size_bytes),
            active.join(", "),
            trust_basis.to_string(),
            from.clone(),
        ];
        // Names come from files that may be hostile.
        cells.map(|cell| cell.replace(char::is_control, "\u{fffd}")).to_vec()
    });
    aligned(std::iter::once(heading).chain(cells))
}
