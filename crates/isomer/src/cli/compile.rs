//! `isomer compile INPUT… --target NAME`.

use super::job_options::JobOptions;
use crate::cell_failures::CellFailures;
use crate::wording::{self, Remedy as _};
use isomer_compile::executor::JobFailure;
use isomer_compile::input::InputError;
use isomer_compile::matrix::{CellReport, Module, Origin, State};
use isomer_compile::{Input, compile_to_files, targets};
use isomer_contract::{Hinted, Profile, one_line};
use isomer_layout::check_writable;
use isomer_terminal::{Failure, Failures, print, print_json};
use isomer_terminal::{aligned, bytes};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  isomer compile app.wasm --target neoverse-n1                 app.neoverse-n1.cwasm
  isomer compile app.wat -t x86-64-v3 -o app.cwasm
  isomer compile a.wasm b.wasm -t x86-64-v2 -t z15 --out-dir out/
  isomer compile app.wasm -t profiles/edge-box.toml            your own profile")]
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
    jobs: JobOptions,
}

pub(super) fn run(args: &Args) -> Result<(), Failures> {
    // In other programs that is a pipe; here it would silently be a file.
    if args.inputs.iter().chain(&args.output).any(|path| path.as_os_str() == "-") {
        let failure =
            Failure::new("`-` is not a file: `isomer compile` neither reads standard input nor writes standard output");
        return Err(failure.hint("name a file; `./-` is a file of that name".to_owned()).into());
    }
    let profiles = targets::resolve(&args.targets, Path::new("")).map_err(wording::failure)?;
    let (modules, unread) = read_inputs(&args.inputs, &profiles);
    let cells = cells_of(args, &modules);
    check_outputs(args, &cells)?;
    let outputs: Vec<_> = cells.iter().map(|cell| cell.output.clone()).collect();
    let session = args.jobs.prepare(None)?;
    let reports = session.watch("compiling", |on_step| {
        compile_to_files(&modules, &outputs, &session.runner(), session.reuse(), on_step)
    })?;
    let timings = session.write_timings("isomer compile", &reports);
    session.finish()?;
    if args.json {
        let unread = unread.iter().map(|(path, error)| {
            let input = path.display().to_string();
            json!({"input": input, "status": "unreadable", "reason": one_line(error), "hint": error.hint()})
        });
        let cells = cells.iter().zip(&reports).map(|(cell, report)| json_of(cell, report, &reports));
        print_json(&unread.chain(cells).collect::<Vec<_>>())?;
    } else if !cells.is_empty() {
        print(&aligned(rows(&cells, &reports)))?;
    }
    let mut failures: Vec<_> = unread.into_iter().map(|(_, error)| Failure::from(error)).collect();
    failures.extend(failures_of(&cells, &reports));
    failures.extend(timings.err());
    if failures.is_empty() { Ok(()) } else { Err(Failures(failures)) }
}

/// An input for a profile, and the file to write.
struct Cell<'a> {
    input: &'a Input,
    profile: &'a Profile,
    output: PathBuf,
}

/// All of them, in the order of the modules and their profiles.
fn cells_of<'a>(args: &Args, modules: &'a [Module]) -> Vec<Cell<'a>> {
    let cell =
        |input: &'a Input, profile: &'a Profile| Cell { input, profile, output: output_path(args, input, profile) };
    modules.iter().flat_map(|module| module.profiles.iter().map(move |profile| cell(&module.input, profile))).collect()
}

/// The inputs that can be read, and why the others cannot: one bad file does not stop the others.
fn read_inputs<'a>(paths: &'a [PathBuf], profiles: &[Profile]) -> (Vec<Module>, Vec<(&'a Path, InputError)>) {
    let (mut modules, mut unread) = (Vec::new(), Vec::new());
    for path in paths {
        match Input::read(path) {
            Ok(input) => modules.push(Module { name: input.name.clone(), input, profiles: profiles.to_vec() }),
            Err(error) => unread.push((path.as_path(), error)),
        }
    }
    (modules, unread)
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

fn rows(cells: &[Cell<'_>], reports: &[CellReport]) -> Vec<Vec<String>> {
    let row = |(cell, report): (&Cell<'_>, &CellReport)| {
        let mut row = vec![report.module.clone(), report.target.clone()];
        match &report.state {
            State::Finished(finished) => {
                let time = match finished.origin {
                    Origin::Compiled(took) => format!("{:.2} s", took.as_secs_f64()),
                    Origin::SameJob(other) => format!("= {}", reports[other].target),
                    Origin::CacheHit | Origin::Kept | Origin::Predicted { .. } => "cached".to_owned(),
                };
                let size = finished.stored().map(|stored| bytes(stored.artifact.size_bytes)).unwrap_or_default();
                row.extend([size, time, cell.output.display().to_string()]);
            }
            State::NotExpressible(reason) => row.push(format!("not expressible: uses {}", reason.uses)),
            State::Refused(_) => row.push("refused".to_owned()),
            State::Failed(JobFailure::NotTried) => row.push("not tried".to_owned()),
            State::Failed(_) | State::Unwritten(_) => row.push("failed".to_owned()),
            State::Pending(_) | State::SameJob(_) | State::Predicted(_) => row.push(UNFINISHED.to_owned()),
        }
        row
    };
    let head = ["module", "target", "size", "time", "file"].map(str::to_owned).to_vec();
    std::iter::once(head).chain(cells.iter().zip(reports).map(row)).collect()
}

/// No build ends with such a cell.
const UNFINISHED: &str = "unfinished";

fn json_of(cell: &Cell<'_>, report: &CellReport, reports: &[CellReport]) -> serde_json::Value {
    let mut json = json!({
        "module": report.module,
        "input": cell.input.path.display().to_string(),
        "kind": cell.input.kind,
        "target": report.target,
    });
    let mut failed = |status: &str, reason: String, hint: Option<String>| {
        json["status"] = json!(status);
        json["reason"] = json!(reason);
        json["hint"] = json!(hint);
    };
    match &report.state {
        State::NotExpressible(reason) => failed("not-expressible", reason.to_string(), reason.fix.clone()),
        State::Refused(reason) => failed("refused", reason.to_string(), reason.hint()),
        State::Failed(failure) => failed("failed", failure.to_string(), failure.remedy()),
        State::Unwritten(error) => failed("failed", one_line(error), error.hint()),
        State::Pending(_) | State::SameJob(_) | State::Predicted(_) => failed("failed", UNFINISHED.to_owned(), None),
        State::Finished(finished) => {
            json["status"] = json!("compiled");
            json["output"] = json!(cell.output.display().to_string());
            json["size-bytes"] = json!(finished.stored().map(|stored| stored.artifact.size_bytes));
            json["digest"] = json!(finished.stored().map(|stored| stored.artifact.digest));
            match finished.origin {
                Origin::Compiled(took) => {
                    json["milliseconds"] = json!(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
                }
                Origin::SameJob(other) => json["same-as"] = json!(reports[other].target),
                Origin::CacheHit | Origin::Kept | Origin::Predicted { .. } => json["cached"] = json!(true),
            }
        }
    }
    json
}

fn failures_of(cells: &[Cell<'_>], reports: &[CellReport]) -> Vec<Failure> {
    let mut failures = Vec::new();
    let mut of_cells = CellFailures::default();
    for (cell, report) in cells.iter().zip(reports) {
        let mut add = |reason: String, hint: Option<String>| {
            of_cells.add(cell.input.path.display().to_string(), &cell.profile.name, reason, hint);
        };
        match &report.state {
            State::NotExpressible(reason) => add(reason.to_string(), reason.fix.clone()),
            State::Refused(reason) => add(reason.to_string(), reason.hint()),
            State::Failed(JobFailure::NotTried) => {}
            State::Failed(failure @ JobFailure::RemoteLost { problem, .. }) => {
                of_cells.lose_farm(problem, failure.remedy());
            }
            State::Failed(failure) => add(failure.to_string(), failure.remedy()),
            State::Unwritten(error) => failures.push(Failure::of(&**error).hint(error.hint())),
            State::Pending(_) | State::SameJob(_) | State::Predicted(_) | State::Finished(_) => {}
        }
    }
    failures.extend(of_cells.into_failures(""));
    failures
}
