//! `isomer-run check`: would an artifact load?

use super::select::Reason;
use super::{input, store};
use isomer_contract::artifact::{ArtifactError, Import, imports};
use isomer_contract::wasi::Interface;
use isomer_contract::{Hinted, Host, Requirements, check};
use isomer_runtime::{Trust, VerifiedArtifact};
use isomer_terminal::Failure;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

/// Tell whether an artifact would load on this machine or another; it is not run
#[derive(clap::Args)]
#[command(after_help = "Examples:
  isomer-run check resize.x86-64-v3.cwasm
  isomer-run check resize.cwasm --host edge-box.json     # from `isomer-run host --json` there
  isomer-run check resize                                # what is installed

Artifacts that `wasmtime compile` made are read, too. The answer is about what the artifact needs; that
its bytes are whole is what `isomer-run run --digest` checks.")]
pub(crate) struct Arguments {
    /// An artifact, or an installed module
    #[arg(value_name = "FILE | MODULE")]
    artifact: PathBuf,
    #[command(flatten)]
    store: store::Location,
    /// Answer for the machine that this file describes (see `isomer-run host --json`)
    #[arg(long, value_name = "FILE")]
    host: Option<PathBuf>,
    /// Print what the artifact needs and every mismatch as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    loads: bool,
    mismatches: Vec<Reason<'a>>,
    requirements: &'a Requirements,
    imports: &'a [Import],
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let file = arguments.artifact.display();
    let host = input::host(arguments.host.as_deref())?;
    let because = |error: ArtifactError| Failure::because(format!("cannot check `{file}`"), &error).hint(error.hint());
    let (requirements, imports) = match arguments.store.module(arguments.artifact.as_os_str()) {
        Some(name) => {
            let artifact = installed(arguments, name, &host)?;
            (artifact.requirements().clone(), artifact.imports())
        }
        None => {
            let bytes = input::read(&arguments.artifact, isomer_contract::limits::ARTIFACT_SIZE_BYTES_MAX)?;
            (Requirements::of_artifact(&bytes).map_err(because)?, imports(&bytes))
        }
    };
    let imports = imports.map_err(because)?;
    let mismatches = check(&requirements, &host);
    let on = input::on(arguments.host.as_deref());
    if arguments.json {
        let reasons = mismatches.iter().map(Reason::of).collect();
        isomer_terminal::print_json(&Report {
            loads: mismatches.is_empty(),
            mismatches: reasons,
            requirements: &requirements,
            imports: &imports,
        })?;
        return Ok(if mismatches.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    if !mismatches.is_empty() {
        return Err(Failure::new(format!("`{file}` does not load {on}")).reasons(&mismatches));
    }
    let Requirements { engine, kind, arch, isa, .. } = &requirements;
    let isa: Vec<_> = isa.iter().map(String::as_str).collect();
    let with = if isa.is_empty() { String::new() } else { format!(" with {}", isa.join(", ")) };
    isomer_terminal::print(&format!("`{file}` loads {on}: {kind} for {arch}{with}, wasmtime {engine}\n"))?;
    isomer_terminal::print(&imports_text(&imports))?;
    Ok(ExitCode::SUCCESS)
}

/// What it imports: by name where commands are not given it, else by where it is from.
fn imports_text(imports: &[Import]) -> String {
    let missing: Vec<_> = imports.iter().filter(|it| !it.provided).map(ToString::to_string).collect();
    if !missing.is_empty() {
        return format!("it imports what `isomer-run run` does not provide: {}\n", missing.join(", "));
    }
    let from: BTreeSet<_> = imports.iter().map(origin).collect();
    if from.is_empty() {
        return String::new();
    }
    let from = from.into_iter().collect::<Vec<_>>().join(", ");
    format!("it imports from {from}, which `isomer-run run` provides\n")
}

/// The module or the package that an import is from.
fn origin(import: &Import) -> &str {
    match (&import.module, Interface::parse(&import.name)) {
        (Some(module), _) => module,
        (None, Some(interface)) => interface.package,
        (None, None) => &import.name,
    }
}

/// The installed artifact that the host would run; where it would run none, the first one.
fn installed(arguments: &Arguments, name: &str, host: &Host) -> Result<VerifiedArtifact, Failure> {
    let installed = arguments.store.find(name)?;
    let on = input::on(arguments.host.as_deref());
    // Nothing is run, and the artifact is hashed.
    let trusted = installed.trust(Some(&Trust::Unsigned)).map_err(|error| store::failure(error, None, &on))?;
    let chosen = match trusted.choose(host, None) {
        Ok(chosen) => chosen,
        Err(error) => trusted.variants().next().ok_or_else(|| store::not_chosen(&error, &on, &installed))?,
    };
    Ok(installed.verify(&chosen)?)
}
