//! `isomer compile INPUT… --target NAME`.

mod work;

use super::farming::Farming;
use crate::cell_failures::CellFailures;
use isomer_compile::farm::JobFailure;
use isomer_compile::input::InputError;
use isomer_compile::{Input, targets};
use isomer_contract::{Hinted, Profile};
use isomer_layout::check_writable;
use isomer_terminal::{Failure, Failures, print, print_json};
use isomer_terminal::{aligned, bytes};
use serde_json::json;
use std::collections::BTreeMap;
use std::error::Error as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use work::{Cell, Failed, Outcome, Time, Written, compile_cells};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  isomer compile app.wasm --target neoverse-n1                 app.neoverse-n1.cwasm
  isomer compile app.wat -t x86-64-v3 -o app.cwasm
  isomer compile a.wasm b.wasm -t x86-64-v2 -t z15 --out-dir out/
  isomer compile app.wasm -t profiles/edge-box.toml            a profile of one's own")]
pub(super) struct Args {
    /// Core modules, components or WebAssembly text
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// A shipped profile, a profile's file, or `all`; may be given several times or as a list with commas
    #[arg(long = "target", short, required = true, value_name = "NAME|FILE", value_delimiter = ',')]
    targets: Vec<String>,
    /// The file to write, for one input and one target
    #[arg(long, short, value_name = "FILE", conflicts_with = "out_dir")]
    output: Option<PathBuf>,
    /// The directory to write INPUT-STEM.TARGET.cwasm into [default: the current one]
    #[arg(long, value_name = "DIR")]
    out_dir: Option<PathBuf>,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    farming: Farming,
}

pub(super) fn run(args: &Args) -> Result<(), Failures> {
    // Elsewhere that is a pipe; here it would quietly be a file.
    if args.inputs.iter().chain(&args.output).any(|path| path.as_os_str() == "-") {
        let failure = Failure::new("`-` is no file: `isomer compile` reads and writes no pipes");
        return Err(failure.hint("name a file; `./-` is one of that name".to_owned()).into());
    }
    let profiles = targets::resolve(&args.targets, Path::new(""))?;
    let (inputs, unread) = read_inputs(&args.inputs);
    let mut cells = Vec::new();
    for input in &inputs {
        for profile in &profiles {
            cells.push(Cell { input, profile, output: output_path(args, input, profile) });
        }
    }
    check_outputs(args, &cells)?;
    let (results, timings) = compile_cells(&args.farming, &cells, &inputs)?;
    if args.json {
        let unread = unread.iter().map(|(path, error)| {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            let (input, reason) = (path.display().to_string(), format!("{error}{cause}"));
            json!({"input": input, "status": "unreadable", "reason": reason, "hint": error.hint()})
        });
        let cells = cells.iter().zip(&results).map(|(cell, result)| json_of(cell, result));
        print_json(&unread.chain(cells).collect::<Vec<_>>())?;
    } else if !cells.is_empty() {
        print(&aligned(rows(&cells, &results)))?;
    }
    let mut failures: Vec<_> = unread.into_iter().map(|(_, error)| Failure::from(error)).collect();
    failures.extend(failures_of(&cells, &results));
    failures.extend(timings.err());
    if failures.is_empty() { Ok(()) } else { Err(Failures(failures)) }
}

/// What can be read, and why the rest cannot: one bad file does not stop the others.
fn read_inputs(paths: &[PathBuf]) -> (Vec<Input>, Vec<(&Path, InputError)>) {
    let (mut inputs, mut unread) = (Vec::new(), Vec::new());
    for path in paths {
        match Input::read(path) {
            Ok(input) => inputs.push(input),
            Err(error) => unread.push((path.as_path(), error)),
        }
    }
    (inputs, unread)
}

fn output_path(args: &Args, input: &Input, profile: &Profile) -> PathBuf {
    let name = format!("{}.{}.cwasm", input.name, profile.name);
    match (&args.output, &args.out_dir) {
        (Some(file), _) => file.clone(),
        (None, Some(directory)) => directory.join(name),
        (None, None) => PathBuf::from(name),
    }
}

/// Refuses outputs that would overwrite each other or an input, before any work is done.
fn check_outputs(args: &Args, cells: &[Cell<'_>]) -> Result<(), Failures> {
    let mut outputs: BTreeMap<&Path, &Cell<'_>> = BTreeMap::new();
    for cell in cells {
        let Some(other) = outputs.insert(&cell.output, cell) else { continue };
        let failure =
            Failure::new(format!("two results would be written to {}", cell.output.display())).caused_by(format!(
                "{} for {}, and {} for {}",
                other.input.path.display(),
                other.profile.name,
                cell.input.path.display(),
                cell.profile.name
            ));
        let hint = match args.output {
            Some(_) => "use --out-dir for several inputs or targets",
            None => "inputs are named by their stem: rename one, or compile them into different directories",
        };
        return Err(failure.hint(hint.to_owned()).into());
    }
    if let Some(directory) = &args.out_dir {
        fs::create_dir_all(directory).map_err(|error| {
            Failure::new(format!("cannot create {}", directory.display())).caused_by(error.to_string())
        })?;
    }
    let inputs: Vec<_> = args.inputs.iter().filter_map(|path| Some((path, fs::canonicalize(path).ok()?))).collect();
    for cell in cells {
        let Ok(output) = fs::canonicalize(&cell.output) else { continue };
        if output.is_dir() {
            let failure = Failure::new(format!("the output {} is a directory", cell.output.display()));
            return Err(failure.hint("use --out-dir for a directory".to_owned()).into());
        }
        if let Some((input, _)) = inputs.iter().find(|(_, input)| *input == output) {
            return Err(Failure::new(format!("the output {} is the input", input.display())).into());
        }
    }
    Ok(check_writable(cells.iter().map(|cell| cell.output.as_path()))?)
}

fn rows(cells: &[Cell<'_>], results: &[Outcome]) -> Vec<Vec<String>> {
    let row = |(cell, result): (&Cell<'_>, &Outcome)| {
        let mut row = vec![cell.input.name.clone(), cell.profile.name.clone()];
        match result {
            Ok(written) => {
                let time = match &written.time {
                    Time::Took(took) => format!("{:.2} s", took.as_secs_f64()),
                    Time::SameAs(target) => format!("= {target}"),
                    Time::Cached => "cached".to_owned(),
                };
                row.extend([bytes(written.size_bytes), time]);
                row.push(cell.output.display().to_string());
            }
            Err(failed) => row.push(match &**failed {
                Failed::Inexpressible(reason) => format!("not expressible: uses {}", reason.uses),
                Failed::Refused(_) => "refused".to_owned(),
                Failed::Job(JobFailure::NotTried) => "not tried".to_owned(),
                Failed::Job(_) | Failed::Write(_) => "failed".to_owned(),
            }),
        }
        row
    };
    let head = ["module", "target", "size", "time", "file"].map(str::to_owned).to_vec();
    std::iter::once(head).chain(cells.iter().zip(results).map(row)).collect()
}

fn json_of(cell: &Cell<'_>, result: &Outcome) -> serde_json::Value {
    let mut json = json!({
        "module": cell.input.name,
        "input": cell.input.path.display().to_string(),
        "kind": cell.input.kind,
        "target": cell.profile.name,
    });
    match result {
        Ok(Written { size_bytes, digest, time }) => {
            json["status"] = json!("compiled");
            json["output"] = json!(cell.output.display().to_string());
            json["size-bytes"] = json!(size_bytes);
            json["digest"] = json!(digest);
            match time {
                Time::Took(took) => json["milliseconds"] = json!(u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
                Time::SameAs(target) => json["same-as"] = json!(target),
                Time::Cached => json["cached"] = json!(true),
            }
        }
        Err(failed) => {
            json["status"] = json!(match **failed {
                Failed::Inexpressible(_) => "not-expressible",
                Failed::Refused(_) => "refused",
                Failed::Job(_) | Failed::Write(_) => "failed",
            });
            json["reason"] = json!(failed.to_string());
            json["hint"] = json!(failed.hint());
        }
    }
    json
}

fn failures_of(cells: &[Cell<'_>], results: &[Outcome]) -> Vec<Failure> {
    let mut failures = Vec::new();
    let mut of_cells = CellFailures::default();
    for (cell, result) in cells.iter().zip(results) {
        match result.as_ref().map_err(Arc::as_ref) {
            Ok(_) => {}
            Err(Failed::Job(JobFailure::NotTried)) => {}
            Err(Failed::Job(JobFailure::RemoteLost { problem, hint })) => of_cells.lose_farm(problem, hint),
            Err(Failed::Write(error)) => failures.push(Failure::of(error).hint(error.hint())),
            Err(failed) => {
                let path = cell.input.path.display().to_string();
                of_cells.add(path, &cell.profile.name, failed.to_string(), failed.hint());
            }
        }
    }
    failures.extend(of_cells.into_failures(""));
    failures
}
