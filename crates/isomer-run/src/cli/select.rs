//! `isomer-run select`: which variant a host would run, and why none of the others.

use super::operand::{Named, open_release, which_module};
use super::{input, signers, store, wording};
use isomer_contract::{Cost, Demand, Digest, Hinted, Limit, Mismatch, Rejected, Selection, Variant};
use isomer_runtime::{Excluded, Request, Trust, TrustedModule};
use isomer_store::Installed;
use isomer_terminal::Failure;
use serde::Serialize;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Examples:
  isomer-run select dist/ resize
  isomer-run select dist/ resize --explain               # why none of the others
  isomer-run select dist/ resize --host edge-box.json    # as another machine would choose
  isomer-run select dist/ resize --trust trust.toml      # as `run --trust` would choose
  isomer-run select dist/ resize --require x86-64-v3     # an error if it would be another
  isomer-run select dist/ resize --target x86-64-v2      # that one, although a better one runs here
  isomer-run select dist/ resize --limit deadline        # one that can be interrupted
  isomer-run select resize                               # of an installed module")]
pub(crate) struct Arguments {
    /// A release, a directory that `isomer release` made; or an installed module
    #[arg(value_name = "DIR/ | MODULE")]
    release: PathBuf,
    /// The module's name in the release
    #[arg(value_name = "MODULE")]
    module: Option<String>,
    #[command(flatten)]
    store: store::Location,
    /// Choose for the machine that this file describes (see `isomer-run host --json`)
    #[arg(long, value_name = "FILE")]
    host: Option<PathBuf>,
    /// Show every other variant with every reason
    #[arg(long)]
    explain: bool,
    /// Print the choice and all reasons as JSON
    #[arg(long)]
    json: bool,
    /// Fail unless the choice is the variant for this target
    #[arg(long, value_name = "TARGET")]
    require: Option<String>,
    /// Choose the variant for this target, although another may be better
    #[arg(long, value_name = "TARGET", conflicts_with = "require")]
    target: Option<String>,
    /// Choose a variant that supports this limit: `deadline` or `fuel`; may be repeated
    #[arg(long = "limit", value_name = "LIMIT", value_delimiter = ',')]
    limits: Vec<Limit>,
    #[command(flatten)]
    signers: signers::SignerOptions,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let on = input::on(arguments.host.as_deref());
    let host = input::host(arguments.host.as_deref())?;
    let (trusted, installed) = trusted(arguments)?;
    let module = trusted.module();
    let demand = Demand { target: arguments.target.clone(), ..Demand::required(&arguments.limits) };
    let selection = trusted.select(&host, &demand);
    if arguments.json {
        isomer_terminal::print_json(&Report::of(&trusted, &selection))?;
    } else if arguments.explain {
        isomer_terminal::print(&explain(&trusted, &selection))?;
    }
    let request = Request { demand, require: arguments.require.as_deref() };
    let chosen = trusted.choose(&host, &request).map_err(|error| {
        // The explanation holds every reason.
        let brief = arguments.json || arguments.explain;
        match &installed {
            Some(installed) if !brief => wording::select_installed(&error, &on, installed),
            _ => wording::select(&error, &on, brief),
        }
    })?;
    if !arguments.json {
        log_steps_down(&module.name, chosen.variant(), chosen.steps_down());
    }
    if !arguments.json && !arguments.explain {
        isomer_terminal::print(&format!("{}\n", summary(chosen.variant())))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The module to choose from, and where it is installed. Whatever is chosen here is only looked at, and need not be trusted.
fn trusted(arguments: &Arguments) -> Result<(TrustedModule, Option<Installed>), Failure> {
    let Arguments { release, module, store, signers, .. } = arguments;
    let trust = signers.read()?.unwrap_or(Trust::Unsigned);
    match Named::of(release, module.as_deref(), store) {
        Named::Installed(name) => {
            let installed = store.find(name)?;
            installed.whole().map_err(wording::store)?;
            let trusted = installed.trust(Some(&trust)).map_err(wording::store)?;
            Ok((trusted, Some(installed)))
        }
        Named::Release(dir) => Err(which_module(dir, "select")),
        Named::InRelease(dir, module) => {
            let (layout, module) = open_release(dir, module)?;
            let trusted = isomer_runtime::trust(&layout, module, &trust)
                .map_err(|error| wording::trust(error, Some(&dir.display().to_string())))?;
            Ok((trusted, None))
        }
    }
}

/// One line in the log for each variant that would have been better. A release that also holds forms for newer CPUs is
/// usual and only worth a line for who asks; native code that gives way to the interpreter is worth a warning.
pub(crate) fn log_steps_down(module: &str, chosen: &Variant, steps_down: &[(&Variant, Vec<Mismatch>)]) {
    for (better, reasons) in steps_down {
        let reasons: Vec<_> = reasons.iter().map(brief).collect();
        let line =
            format!("{module} runs as {}, not as {}: it {}", chosen.target, better.target, reasons.join("; it "));
        if chosen.requirements.arch.is_pulley() {
            tracing::warn!("{line}");
        } else {
            tracing::info!("{line}");
        }
    }
}

/// A reason why a variant does not run, in words that follow "it".
pub(super) fn brief(mismatch: &Mismatch) -> String {
    match mismatch {
        Mismatch::Extension { needs, .. } => format!("needs `{needs}`"),
        other => other.to_string(),
    }
}

fn summary(variant: &Variant) -> String {
    let others: Vec<_> = variant.serves.iter().filter(|served| **served != variant.target).cloned().collect();
    let serves = if others.is_empty() { String::new() } else { format!(", serves {} too", others.join(", ")) };
    format!("{} (wasmtime {}{serves}) {}", variant.target, variant.engine, variant.manifest)
}

fn explain(trusted: &TrustedModule, selection: &Selection<'_>) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = match selection.chosen {
        Some(variant) => writeln!(text, "chosen    {}", summary(variant)),
        None => writeln!(text, "chosen    none"),
    };
    for (variant, why) in &selection.rejected {
        let _ = writeln!(text, "rejected  {}", summary(variant));
        let _ = match why {
            Rejected::Outranked(why) => writeln!(text, "            {why}"),
            Rejected::Incompatible(mismatches) => {
                mismatches.iter().try_for_each(|mismatch| writeln!(text, "            {mismatch}"))
            }
        };
    }
    for Excluded { variant, refusals } in trusted.excluded() {
        let _ = writeln!(text, "excluded  {}", summary(variant));
        let _ = refusals.iter().try_for_each(|refusal| writeln!(text, "            {refusal}"));
    }
    text
}

#[derive(Serialize)]
struct Report<'a> {
    module: &'a str,
    reference: &'a str,
    digest: Digest,
    chosen: Option<Form<'a>>,
    rejected: Vec<RejectedForm<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    excluded: Vec<ExcludedForm<'a>>,
}

#[derive(Serialize)]
struct Form<'a> {
    target: &'a str,
    serves: &'a [String],
    engine: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    costs: Vec<Cost>,
    #[serde(skip_serializing_if = "is_zero")]
    priority: i32,
    manifest: Digest,
}

fn is_zero(priority: &i32) -> bool {
    *priority == 0
}

#[derive(Serialize)]
struct RejectedForm<'a> {
    #[serde(flatten)]
    form: Form<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outranked: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mismatches: Vec<Reason<'a>>,
}

#[derive(Serialize)]
struct ExcludedForm<'a> {
    #[serde(flatten)]
    form: Form<'a>,
    refusals: Vec<String>,
}

/// A mismatch for machines, and its message for people.
#[derive(Serialize)]
pub(crate) struct Reason<'a> {
    #[serde(flatten)]
    mismatch: &'a Mismatch,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl<'a> Reason<'a> {
    pub(crate) fn of(mismatch: &'a Mismatch) -> Reason<'a> {
        Reason { mismatch, message: mismatch.to_string(), hint: mismatch.hint() }
    }
}

impl<'a> Form<'a> {
    fn of(variant: &'a Variant) -> Form<'a> {
        let Variant { target, serves, engine, requirements: _, code_generation: _, priority, manifest } = variant;
        Form { target, serves, engine, costs: variant.costs(), priority: *priority, manifest: *manifest }
    }
}

impl<'a> Report<'a> {
    fn of(trusted: &'a TrustedModule, selection: &'a Selection<'a>) -> Report<'a> {
        let module = trusted.module();
        let excluded = trusted.excluded().iter().map(|Excluded { variant, refusals }| ExcludedForm {
            form: Form::of(variant),
            refusals: refusals.iter().map(ToString::to_string).collect(),
        });
        let rejected = selection.rejected.iter().map(|(variant, why)| {
            let (outranked, mismatches) = match why {
                Rejected::Outranked(why) => (Some(why.as_str()), Vec::new()),
                Rejected::Incompatible(mismatches) => (None, mismatches.iter().map(Reason::of).collect()),
            };
            RejectedForm { form: Form::of(variant), outranked, mismatches }
        });
        Report {
            module: &module.name,
            reference: &module.reference,
            digest: module.digest,
            chosen: selection.chosen.map(Form::of),
            rejected: rejected.collect(),
            excluded: excluded.collect(),
        }
    }
}
