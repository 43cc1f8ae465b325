//! `isomer-run gc`: remove what is not needed any more.

use super::{store, wording};
use isomer_contract::Digest;
use isomer_store::{Collection, Garbage, GarbageKind};
use isomer_terminal::{Failure, bytes};
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Examples:
  isomer-run gc --keep 2 --dry-run
  isomer-run gc --keep 0                # nothing to roll back to
  isomer-run gc --damaged               # every intact version is kept

JSON: `dry-run`, `size-bytes` in total, and `garbage`, an array of `kind` (module, damaged, artifact, unfinished), `path`, \
`size-bytes`, and, of what was installed, `digest` (of its index) and `reference`.")]
#[command(group(clap::ArgGroup::new("what").args(["keep", "damaged"]).required(true).multiple(true)))]
pub(crate) struct Arguments {
    /// How many earlier versions of each module are kept
    #[arg(long, value_name = "N")]
    keep: Option<usize>,
    /// Remove installed versions that are damaged, too, active or not: none of them can run. Every artifact is hashed
    #[arg(long)]
    damaged: bool,
    /// Print what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Print what was removed as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: store::Location,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report<'a> {
    dry_run: bool,
    size_bytes: u64,
    garbage: Vec<Row<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Row<'a> {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    path: &'a Path,
    size_bytes: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let Arguments { keep, damaged, dry_run, .. } = *arguments;
    let collection = Collection { keep: keep.unwrap_or(usize::MAX), damaged, dry_run };
    let garbage = arguments.store.open()?.collect(collection).map_err(wording::store)?;
    let garbage: Vec<_> = garbage.iter().map(row).collect();
    let report = Report { dry_run, size_bytes: garbage.iter().map(|row| row.size_bytes).sum(), garbage };
    if arguments.json {
        isomer_terminal::print_json(&report)?;
    } else {
        isomer_terminal::print(&text(&report))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn row(Garbage { kind, path, size_bytes }: &Garbage) -> Row<'_> {
    let (kind, reference, digest) = match kind {
        GarbageKind::Module { reference, index } => ("module", Some(reference.as_str()), Some(*index)),
        GarbageKind::Damaged { index } => ("damaged", None, Some(*index)),
        GarbageKind::Artifact => ("artifact", None, None),
        GarbageKind::Unfinished => ("unfinished", None, None),
    };
    Row { kind, reference, digest, path, size_bytes: *size_bytes }
}

fn text(report: &Report<'_>) -> String {
    let mut text = String::new();
    for Row { kind, reference, digest, path, .. } in &report.garbage {
        let name = match (reference, digest) {
            (Some(reference), Some(digest)) => format!("{reference} {digest}"),
            (None, Some(digest)) => digest.to_string(),
            _ => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        };
        text += &format!("{kind:<12}{name}\n");
    }
    let removed = if report.dry_run { "would be removed" } else { "removed" };
    text + &format!("{} {removed}\n", bytes(report.size_bytes))
}
