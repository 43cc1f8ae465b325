//! `isomer-run counters`: which releases are kept out, and what to do when that is damaged.

use super::{store, wording};
use isomer_store::RememberedCounter;
use isomer_terminal::{Failure, aligned};
use isomer_trust::Scope;
use serde::Serialize;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Examples:
  isomer-run counters
  isomer-run counters --repair           # keep the valid entries of counters.json
  isomer-run counters --forget resize    # of a module that is not used any more

JSON: an array of `release`, `counter`, and, unless it applies to all of them, `module` and `key` (its id); with --forget, of \
what was forgotten. With --repair, an object: `kept`, a number, and `forgotten`, an array of `entry` and `reason`.")]
pub(crate) struct Arguments {
    /// Write counters.json anew with the entries that are valid, and print the others: they are forgotten
    #[arg(long, conflicts_with = "forget")]
    repair: bool,
    /// Forget the counters of this module, for all keys
    #[arg(long, value_name = "MODULE")]
    forget: Option<String>,
    /// Print as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: store::Location,
}

#[derive(Serialize)]
struct Row {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    module: Option<String>,
    release: String,
    counter: u64,
}

#[derive(Serialize)]
struct Repaired {
    kept: usize,
    forgotten: Vec<Lost>,
}

#[derive(Serialize)]
struct Lost {
    entry: String,
    reason: String,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let store = arguments.store.open()?;
    if arguments.repair {
        let repair = store.repair_counters().map_err(wording::store)?;
        let lost = repair.forgotten.into_iter();
        let lost: Vec<_> = lost.map(|it| Lost { entry: it.entry, reason: it.reason.to_string() }).collect();
        if arguments.json {
            isomer_terminal::print_json(&Repaired { kept: repair.kept, forgotten: lost })?;
        } else {
            let line = |Lost { entry, reason }: &Lost| format!("forgotten: {entry}\n  {reason}\n");
            let forgotten: String = lost.iter().map(line).collect();
            isomer_terminal::print(&format!("{forgotten}{} kept, {} forgotten\n", repair.kept, lost.len()))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let counters = match &arguments.forget {
        Some(module) => store.forget_counters(module).map_err(wording::store)?,
        None => store.remembered_counters().map_err(wording::store)?,
    };
    let rows: Vec<_> = counters.into_iter().map(row).collect();
    if arguments.json {
        isomer_terminal::print_json(&rows)?;
    } else if rows.is_empty() {
        let of = arguments.forget.as_ref().map(|module| format!(" of `{module}`")).unwrap_or_default();
        isomer_terminal::print(&format!("no counter{of} is remembered\n"))?;
    } else {
        isomer_terminal::print(&text(&rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn row(RememberedCounter { scope: Scope { key, module, release }, counter }: RememberedCounter) -> Row {
    let (key, module) = (key.map(|key| key.to_string()), module.map(String::from));
    Row { key, module, release: release.into(), counter }
}

fn text(rows: &[Row]) -> String {
    let all = || "(all)".to_owned();
    let cells = |Row { key, module, release, counter }: &Row| {
        [module.clone().unwrap_or_else(all), release.clone(), counter.to_string(), key.clone().unwrap_or_else(all)]
    };
    let head = ["module", "release", "counter", "key"].map(str::to_owned);
    aligned([head].into_iter().chain(rows.iter().map(cells)).map(|row| row.to_vec()))
}
