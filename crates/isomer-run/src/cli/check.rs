//! `isomer-run check`: would an artifact load?

use super::operand::Operand;
use super::select::Reason;
use super::{input, store, wording};
use isomer_contract::artifact::{ArtifactError, Import, imports};
use isomer_contract::limits::ARTIFACT_SIZE_BYTES_MAX;
use isomer_contract::wasi::Interface;
use isomer_contract::{Embedder, EmbedderMismatch, Hinted, Host, Requirements, check};
use isomer_runtime::{Request, SealedBytes, Trust, VerifiedArtifact};
use isomer_terminal::{Failure, Text};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Examples:
  isomer-run check resize.x86-64-v3.cwasm
  isomer-run check resize.cwasm --host edge-box.json    # from `isomer-run host --json` there
  isomer-run check resize                               # an installed module
  isomer-run check resize.cwasm --config default        # and wasmtime-py, -go, Rust programs?

Artifacts of `wasmtime compile` are read, too. Checked is what the artifact requires, not whether its bytes are intact: \
`isomer-run run --digest` checks that.")]
pub(crate) struct Arguments {
    /// An artifact, or an installed module
    #[arg(value_name = "FILE | MODULE")]
    artifact: PathBuf,
    #[command(flatten)]
    store: store::Location,
    /// Check for the machine that this file describes (see `isomer-run host --json`)
    #[arg(long, value_name = "FILE")]
    host: Option<PathBuf>,
    /// Check also whether engines of default configuration would load it: those of the Rust crate (`rust`), of the C API
    /// with wasmtime-py and wasmtime-go (`c-api`), or both (`default`)
    #[arg(long, value_name = "CONFIG", value_parser = embedders)]
    config: Option<Embedders>,
    /// Print what the artifact needs and every mismatch as JSON
    #[arg(long)]
    json: bool,
}

/// The embedders that an option names.
#[derive(Clone, Debug)]
struct Embedders(Vec<Embedder>);

fn embedders(text: &str) -> Result<Embedders, String> {
    if text == "default" {
        return Ok(Embedders(Embedder::ALL.into()));
    }
    let found = Embedder::ALL.into_iter().find(|embedder| embedder.name() == text);
    found.map(|embedder| Embedders(vec![embedder])).ok_or_else(|| "expected `default`, `rust` or `c-api`".to_owned())
}

/// Whether an embedder's engine loads it.
#[derive(Serialize)]
struct EmbedderReport {
    embedder: Embedder,
    loads: bool,
    mismatches: Vec<EmbedderMismatch>,
}

impl EmbedderReport {
    fn of(embedder: Embedder, requirements: &Requirements) -> EmbedderReport {
        let mismatches = embedder.mismatches(requirements);
        EmbedderReport { embedder, loads: mismatches.is_empty(), mismatches }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    loads: bool,
    mismatches: Vec<Reason<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    embedders: &'a Vec<EmbedderReport>,
    requirements: &'a Requirements,
    imports: &'a [Import],
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let file = isomer_terminal::escaped(&arguments.artifact.display().to_string()).into_owned();
    let host = input::host(arguments.host.as_deref())?;
    let because = |error: ArtifactError| Failure::because(format!("cannot check `{file}`"), &error).hint(error.hint());
    let (requirements, imports) = match Operand::of(arguments.artifact.as_os_str(), &arguments.store) {
        Operand::Installed(name) => {
            let artifact = installed(arguments, name, &host)?;
            (artifact.requirements().clone(), artifact.imports())
        }
        Operand::Release(_) | Operand::File(_) => {
            let copied = SealedBytes::copy(input::open(&arguments.artifact)?, ARTIFACT_SIZE_BYTES_MAX);
            let copied = copied
                .map_err(|error| Failure::because(format!("cannot check `{file}`"), &error).hint(error.hint()))?;
            (Requirements::of_artifact(copied.bytes()).map_err(because)?, imports(copied.bytes()))
        }
    };
    let imports = imports.map_err(because)?;
    let mismatches = check(&requirements, &host);
    let on = input::on(arguments.host.as_deref());
    let asked = arguments.config.iter().flat_map(|Embedders(embedders)| embedders);
    let embedders: Vec<_> = asked.map(|embedder| EmbedderReport::of(*embedder, &requirements)).collect();
    let loads = mismatches.is_empty() && embedders.iter().all(|embedder| embedder.loads);
    if arguments.json {
        let reasons = mismatches.iter().map(Reason::of).collect();
        isomer_terminal::print_json(&Report {
            loads: mismatches.is_empty(),
            mismatches: reasons,
            embedders: &embedders,
            requirements: &requirements,
            imports: &imports,
        })?;
        return Ok(if loads { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    if !mismatches.is_empty() {
        return Err(Failure::new(format!("`{file}` does not load {on}")).reasons(&mismatches));
    }
    let Requirements { engine, kind, arch, isa, .. } = &requirements;
    let isa: Vec<_> = isa.iter().map(String::as_str).collect();
    let with = if isa.is_empty() { String::new() } else { format!(" with {}", isa.join(", ")) };
    let mut text = Text::new();
    text.push_line(format!("`{file}` loads {on}: {kind} for {arch}{with}, wasmtime {engine}"));
    // A name may hold line breaks: each sentence is one line whatever it names.
    if let Some(line) = imports_text(&imports) {
        text.push_line(line);
    }
    for EmbedderReport { embedder, .. } in embedders.iter().filter(|report| report.loads) {
        text.push_line(format!("it loads into an engine of default configuration of {embedder}"));
    }
    isomer_terminal::print(text)?;
    if loads {
        return Ok(ExitCode::SUCCESS);
    }
    let all = || embedders.iter().flat_map(|report| report.mismatches.iter().map(|it| (report.embedder, it)));
    let failure = Failure::new(format!("`{file}` does not load into each of these engines of default configuration"));
    let failure =
        all().fold(failure, |failure, (embedder, mismatch)| failure.caused_by(format!("{embedder}: {mismatch}")));
    // Most mismatches have one remedy.
    let hints: BTreeSet<_> = all().filter_map(|(_, mismatch)| mismatch.hint()).collect();
    Err(hints.into_iter().fold(failure, Failure::hint))
}

/// What it imports: by name where commands are not given it, else by where it is from.
fn imports_text(imports: &[Import]) -> Option<String> {
    let missing: Vec<_> = imports.iter().filter(|it| !it.provided).map(ToString::to_string).collect();
    if !missing.is_empty() {
        return Some(format!("it imports what `isomer-run run` does not provide: {}", missing.join(", ")));
    }
    let from: BTreeSet<_> = imports.iter().map(origin).collect();
    if from.is_empty() {
        return None;
    }
    let from = from.into_iter().collect::<Vec<_>>().join(", ");
    Some(format!("it imports from {from}, which `isomer-run run` provides"))
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
    let trusted = installed.trust(Some(&Trust::Unsigned)).map_err(wording::store)?;
    let chosen = match trusted.choose(host, &Request::default()) {
        Ok(chosen) => chosen,
        Err(error) => trusted.variants().next().ok_or_else(|| wording::select_installed(&error, &on, &installed))?,
    };
    installed.verify(&chosen).map_err(wording::store)
}
