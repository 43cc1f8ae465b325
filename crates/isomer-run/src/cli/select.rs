//! `isomer-run select`: which variant a host would run, and why none of the others.

use super::input;
use super::signers;
use super::store;
use isomer_contract::{Digest, Hinted, Mismatch, Rejected, Selection, Variant, select};
use isomer_layout::{Layout, Module};
use isomer_runtime::{Excluded, SelectError, Trust, TrustedModule, WhyNot};
use isomer_terminal::Failure;
use serde::Serialize;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Show which variant of a module this machine, or another, would run; nothing is run
#[derive(clap::Args)]
#[command(after_help = "Examples:
  isomer-run select dist/ resize
  isomer-run select dist/ resize --explain                   # why none of the others
  isomer-run select dist/ resize --host edge-box.json        # as another machine would choose
  isomer-run select dist/ resize --trust trust.toml          # as `run --trust` would choose
  isomer-run select dist/ resize --require x86-64-v3         # an error if it would be another
  isomer-run select resize                                  # among what is installed")]
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
    #[command(flatten)]
    signers: signers::Believed,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let on = input::on(arguments.host.as_deref());
    let host = input::host(arguments.host.as_deref())?;
    let trusted = trusted(arguments)?;
    let module = trusted.module();
    let selection = select(&module.variants, &host);
    if arguments.json {
        isomer_terminal::print_json(&Report::of(&trusted, &selection))?;
    } else if arguments.explain {
        isomer_terminal::print(&explain(&trusted, &selection))?;
    }
    let chosen = trusted.choose(&host, arguments.require.as_deref()).map_err(|error| {
        // An explanation has said it all.
        let brief = arguments.json || arguments.explain;
        failure(&error, &on, brief)
    })?;
    if !arguments.json {
        log_steps_down(&module.name, chosen.variant(), chosen.steps_down());
    }
    if !arguments.json && !arguments.explain {
        isomer_terminal::print(&format!("{}\n", summary(chosen.variant())))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The module to choose from. Whatever is chosen here is only looked at, and need not be trusted.
fn trusted(arguments: &Arguments) -> Result<TrustedModule, Failure> {
    let Arguments { release, module, store, signers, .. } = arguments;
    let trust = signers.read()?.unwrap_or(Trust::Unsigned);
    let Some(module) = module else {
        let Some(name) = store.module(release.as_os_str()) else { return Err(which_module(release, "select")) };
        let installed = store.find(name)?;
        installed.whole()?;
        return installed.trust(Some(&trust)).map_err(|error| store::failure(error, None, "on this machine"));
    };
    let (layout, module) = open(release, module)?;
    isomer_runtime::trust(&layout, module, &trust)
        .map_err(|error| signers::failure(Some(&release.display().to_string()), error))
}

/// That a release was named and no module in it.
pub(crate) fn which_module(release: &Path, command: &str) -> Failure {
    let layout = match Layout::open(release) {
        Ok(layout) => layout,
        Err(error) => return Failure::from(error),
    };
    let names: Vec<_> = layout.modules().iter().map(|module| module.reference.as_str()).collect();
    let failure = Failure::new(format!("which module of `{}`? it holds {}", release.display(), names.join(", ")));
    let dir = release.display();
    failure.hint(names.first().map(|name| format!("name it: `isomer-run {command} {dir} {name} …`")))
}

/// A release and a module in it.
pub(crate) fn open(release: &Path, module: &str) -> Result<(Layout, Module), Failure> {
    let layout = Layout::open(release).map_err(Failure::from)?;
    let module = layout.module(module).map_err(Failure::from)?;
    Ok((layout, module))
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

fn brief(mismatch: &Mismatch) -> String {
    match mismatch {
        Mismatch::Extension { needs, .. } => format!("needs `{needs}`"),
        other => other.to_string(),
    }
}

/// Why nothing was chosen, with every reason unless they were shown already.
pub(crate) fn failure(error: &SelectError, on: &str, brief_only: bool) -> Failure {
    match error {
        SelectError::NoneRuns { module, rejected, excluded } => {
            let mut failure = match (rejected.is_empty(), excluded.is_empty()) {
                (true, false) => Failure::new(format!("the policy excludes every variant of `{module}`")),
                _ => Failure::new(format!("no variant of `{module}` runs {on}")),
            };
            if rejected.is_empty() && excluded.is_empty() {
                failure = failure.caused_by("the release holds none");
            }
            for (target, mismatches) in rejected.iter().filter(|_| !brief_only) {
                let reasons: Vec<_> = mismatches.iter().map(|mismatch| format!("  {mismatch}")).collect();
                failure = failure.caused_by(format!("{target}\n{}", reasons.join("\n")));
            }
            for Excluded { variant, refusals } in excluded.iter().filter(|_| !brief_only) {
                let reasons: Vec<_> = refusals.iter().map(|refusal| format!("  {refusal}")).collect();
                failure = failure.caused_by(format!("{}\n{}", variant.target, reasons.join("\n")));
            }
            if let Some(hint) = excluded.iter().flat_map(|it| &it.refusals).find_map(Hinted::hint) {
                return failure.hint(hint);
            }
            // Pulley runs everywhere, unless it was tried and something else is in the way.
            let pulley = rejected.iter().any(|(target, _)| target.starts_with("pulley"));
            let helps = !pulley && !rejected.is_empty();
            failure.hint(
                helps.then(|| "release it for pulley64 too, which runs everywhere (pulley64be on s390x)".to_owned()),
            )
        }
        SelectError::NoVariant { module, target, why } => {
            not_chosen(Failure::new(format!("no variant of `{module}` is for {target}")), target, why)
        }
        SelectError::NotRequired { module, required, chosen, why } => {
            let message = format!("`{module}` is required as {required}; the best that runs {on} is {chosen}");
            not_chosen(Failure::new(message), required, why)
        }
    }
}

fn not_chosen(failure: Failure, required: &str, why: &WhyNot) -> Failure {
    match why {
        WhyNot::Mismatches(mismatches) => failure.reasons(mismatches),
        WhyNot::Excluded(refusals) => failure.reasons(refusals),
        WhyNot::Outranked(why) => failure.caused_by(format!("{required} {why}")),
        WhyNot::NotInRelease(targets) => {
            let nearest = isomer_contract::nearest(required, targets.iter().map(String::as_str));
            failure.caused_by(format!("the release holds it for {}", targets.join(", "))).hint(match nearest {
                Some(nearest) => Some(format!("did you mean `{nearest}`?")),
                None => targets.first().map(|target| format!("name one of them, for example `{target}`")),
            })
        }
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
    manifest: Digest,
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

/// A mismatch for machines, and its words for people.
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
        let Variant { target, serves, engine, requirements: _, manifest } = variant;
        Form { target, serves, engine, manifest: *manifest }
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
