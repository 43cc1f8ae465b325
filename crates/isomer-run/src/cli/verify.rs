//! `isomer-run verify`: which keys signed a release, and whether every byte of it is what they signed.

use super::operand::Named;
use super::{signers, store, wording};
use isomer_contract::{Digest, Hinted, one_line};
use isomer_layout::Layout;
use isomer_runtime::{Trust, TrustError, TrustedModule};
use isomer_store::StoreError;
use isomer_terminal::Failure;
use isomer_trust::{Rejected, Release, Trusted};
use serde::Serialize;
use std::fmt::{Display, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Examples:
  isomer-run verify dist/ --key farm-2026.pub
  isomer-run verify dist/ resize --trust trust.toml
  isomer-run verify resize --key farm-2026.pub         # as it is installed

A policy:
  threshold      = 1               # so many keys must have signed the same release
  minimum-engine = \"48.0.8\"        # older artifacts are refused

  [[key]]
  name      = \"farm 2026\"
  file      = \"farm-2026.pub\"     # relative to this file; or pem = \"\"\"…\"\"\"
  not-after = 2026-12-31           # that day included, in UTC
  modules   = [\"resize\", \"acme-*\"]

  [revoked]
  keys    = []                     # key ids
  digests = []    # of any part: index, manifest, config, layer, artifact, code, WebAssembly

  [minimum-counter]
  acme-plugins = 7                 # older releases of that name are refused

Exit code: 0 if every module is trusted and intact, else 1. All forms count, also those that this machine would not run.")]
#[command(group(clap::ArgGroup::new("signers").args(["keys", "trust"]).required(true).multiple(true)))]
pub(crate) struct Arguments {
    /// A release, a directory that `isomer release` made; or an installed module
    #[arg(value_name = "DIR/ | MODULE")]
    release: PathBuf,
    /// One module of the release [default: all]
    #[arg(value_name = "MODULE")]
    module: Option<String>,
    #[command(flatten)]
    store: store::Location,
    #[command(flatten)]
    signers: signers::SignerOptions,
    /// Print which keys signed each module, and every reason against it, as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    trusted: bool,
    modules: Vec<ModuleReport>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ModuleReport {
    reference: String,
    digest: Digest,
    trusted: bool,
    /// The names of the keys.
    by: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<Release>,
    /// As the signer calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    builder: Option<String>,
    /// Why it is not trusted.
    problems: Vec<Problem>,
    /// Signatures that do not count and harm nothing.
    passed_over: Vec<Problem>,
}

#[derive(Serialize)]
struct Problem {
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl Hinted for Problem {
    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

impl Problem {
    fn of<E: Display + Hinted>(error: &E) -> Problem {
        Problem { message: error.to_string(), hint: error.hint() }
    }

    fn of_signature(rejected: &Rejected) -> Problem {
        Problem { message: rejected.to_string(), hint: wording::remedy_of(rejected) }
    }

    /// With its causes, where the message does not include them.
    fn of_fetch<E: std::error::Error + Hinted + 'static>(error: &E) -> Problem {
        Problem { message: one_line(error), hint: error.hint() }
    }

    fn about<E: Display + Hinted>(target: &str, error: &E) -> Problem {
        Problem { message: format!("the variant for {target}: {error}"), hint: error.hint() }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let trust = arguments.signers.read()?.ok_or_else(|| Failure::new("neither `--key` nor `--trust` is given"))?;
    match Named::of(&arguments.release, arguments.module.as_deref(), &arguments.store) {
        Named::Installed(name) => {
            let module = installed(arguments, name, &trust)?;
            report(arguments, vec![module], |reference| format!("the installed `{reference}`"))
        }
        Named::Release(dir) => of_release(arguments, dir, None, &trust),
        Named::InRelease(dir, module) => of_release(arguments, dir, Some(module), &trust),
    }
}

/// What is installed under that name.
fn installed(arguments: &Arguments, name: &str, trust: &Trust) -> Result<ModuleReport, Failure> {
    let installed = arguments.store.find(name)?;
    let module = installed.module();
    let trusted = match installed.trust(Some(trust)) {
        Err(StoreError::Trust(error)) => Err(error),
        other => Ok(other.map_err(wording::store)?),
    };
    let damages = |trusted: &TrustedModule| {
        let fetched = trusted.variants().map(|variant| installed.verify(&variant).map(drop));
        damages(trusted, fetched)
    };
    Ok(module_report(module.reference.clone(), module.digest, trusted, damages))
}

fn of_release(arguments: &Arguments, dir: &Path, module: Option<&str>, trust: &Trust) -> Result<ExitCode, Failure> {
    let layout = Layout::open(dir)?;
    let names: Vec<&str> = match module {
        Some(name) => vec![name],
        None => layout.modules().iter().map(|module| module.reference.as_str()).collect(),
    };
    if names.is_empty() {
        return Err(Failure::new(format!("`{}` holds no module", dir.display())));
    }
    let modules = names.iter().map(|name| verify(&layout, name, trust)).collect::<Result<Vec<_>, _>>()?;
    report(arguments, modules, |reference| format!("`{reference}` of `{}`", dir.display()))
}

fn report(
    arguments: &Arguments,
    modules: Vec<ModuleReport>,
    whole: impl Fn(&str) -> String,
) -> Result<ExitCode, Failure> {
    let report = Report { trusted: modules.iter().all(|module| module.trusted), modules };
    if arguments.json {
        isomer_terminal::print_json(&report)?;
    } else {
        isomer_terminal::print(&report.modules.iter().filter(|module| module.trusted).map(text).collect::<String>())?;
        for module in report.modules.iter().filter(|module| !module.trusted) {
            Failure::new(format!("{} is not trusted", whole(&module.reference)))
                .reasons(&module.problems)
                .reasons(&module.passed_over)
                .print();
        }
    }
    Ok(if report.trusted { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The error is for what is not about trust: an unknown name, a damaged index.
fn verify(layout: &Layout, name: &str, trust: &Trust) -> Result<ModuleReport, Failure> {
    let module = layout.module(name)?;
    // A damaged signature is an error here, also where the others suffice.
    layout.signatures(&module)?;
    let (reference, digest) = (module.reference.clone(), module.digest);
    let damages = |trusted: &TrustedModule| {
        let fetched = trusted.variants().map(|variant| variant.fetch(layout).map(drop));
        damages(trusted, fetched.chain([trusted.check_wasm(layout)]))
    };
    Ok(module_report(reference, digest, isomer_runtime::trust(layout, module, trust), damages))
}

fn module_report(
    reference: String,
    digest: Digest,
    trusted: Result<TrustedModule, TrustError>,
    damages: impl Fn(&TrustedModule) -> Vec<Problem>,
) -> ModuleReport {
    let (problems, passed_over, by) = match trusted {
        Ok(trusted) => {
            let by = trusted.signed_by().cloned();
            let passed_over = by.iter().flat_map(|by| &by.rejected).map(Problem::of_signature).collect();
            (damages(&trusted), passed_over, by)
        }
        Err(TrustError::Untrusted { untrusted, .. }) => {
            let refusals = untrusted.refusals.iter().map(Problem::of);
            (refusals.collect(), untrusted.rejected.iter().map(Problem::of_signature).collect(), None)
        }
        Err(error) => (vec![Problem::of(&error)], Vec::new(), None),
    };
    let (by, release, builder) = match by {
        Some(Trusted { mut by, release, statement, .. }) => {
            by.sort();
            (by, Some(release), Some(statement.builder.id))
        }
        None => (Vec::new(), None, None),
    };
    ModuleReport { reference, digest, trusted: problems.is_empty(), by, release, builder, problems, passed_over }
}

/// What of the module is excluded, or not what was signed.
fn damages<E: std::error::Error + Hinted + 'static>(
    trusted: &TrustedModule,
    fetched: impl Iterator<Item = Result<(), E>>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for excluded in trusted.excluded() {
        problems.extend(excluded.refusals.iter().map(|refusal| Problem::about(&excluded.variant.target, refusal)));
    }
    problems.extend(fetched.filter_map(Result::err).map(|error| Problem::of_fetch(&error)));
    // What several forms share is reported once.
    let mut reported = std::collections::BTreeSet::new();
    problems.retain(|problem| reported.insert(problem.message.clone()));
    problems
}

fn text(module: &ModuleReport) -> String {
    let mut text = format!("{}  {}\n", module.reference, module.digest);
    if let (Some(Release { name, version, counter }), Some(builder)) = (&module.release, &module.builder) {
        let by = module.by.join(", ");
        // Writing to a string cannot fail. What a trusted key signed must not move the terminal's cursor.
        let line = format!("  signed by {by}: {name} {version}, counter {counter}, built by {builder}");
        let _ = writeln!(text, "{}", line.replace(char::is_control, "\u{fffd}"));
    }
    for problem in &module.passed_over {
        let _ = writeln!(text, "  passed over: {problem}");
    }
    text
}
