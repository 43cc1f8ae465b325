//! `isomer release [-f isomer.toml] [-o DIR]`.

mod reproducible;

use super::job_options::JobOptions;
use super::sign::{self, Signer};
use crate::cell_failures::CellFailures;
use crate::warning::warn;
use crate::wording::{self, Remedy as _};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use isomer_compile::executor::JobFailure;
use isomer_compile::matrix::{CellReport, Finished, Origin, State, Stored};
use isomer_compile::release::{Options, ReleaseReport, Shard, Verified};
use isomer_compile::release_manifest::DEFAULT_NAME;
use isomer_compile::signing::Signed;
use isomer_compile::{Release, Step};
use isomer_contract::{Hinted, one_line};
use isomer_layout::{Compression, Signatures, Summary};
use isomer_terminal::{Failure, Failures, print, print_json};
use isomer_terminal::{aligned, bytes};
use isomer_trust::SigningKey;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(clap::Args)]
#[command(after_help = "\
A manifest, with every key:
  [release]
  name    = \"acme-plugins\"
  version = \"1.4.0\"
  counter = 7                        # servers refuse smaller ones; default: 0, which disables that
  targets = [\"x86-64-v3\", \"neoverse-n1\", \"pulley64\", \"profiles/edge-box.toml\"]   # or [\"all\"]

  [[module]]
  path    = \"modules/resize.wasm\"    # core module, component or .wat, relative to the manifest
  name    = \"resize\"                 # default: the file's stem
  targets = [\"x86-64-v3\"]            # default: the release's
  limits  = [\"none\", \"epoch\"]        # each target in these forms; default: the release's

Remote:
  isomer release --remote-cache grpc://cache.example:8980       results shared by many machines
  isomer release --remote-exec grpcs://farm.example:443 -j 64   compiled on a farm, 64 jobs at once")]
pub(super) struct Args {
    /// The manifest
    #[arg(long, short = 'f', value_name = "FILE", default_value = DEFAULT_NAME)]
    file: PathBuf,
    /// The directory to write the release into
    #[arg(long, short, value_name = "DIR", default_value = "dist")]
    output: PathBuf,
    /// How artifacts are stored in the release
    #[arg(long, value_name = "HOW", default_value = "zstd", value_parser = compression())]
    compression: Compression,
    /// Build everything twice, separately and without the cache, and compare every byte
    #[arg(long, conflicts_with = "shard")]
    check_reproducible: bool,
    /// Sign the release with this private key, as `isomer sign` does
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    /// The release's counter, by which servers reject older releases [default: the manifest's `counter`]
    #[arg(long, value_name = "N")]
    counter: Option<u64>,
    /// Build one of several parts, each on its own machine: 1/3, 2/3, 3/3; `isomer merge` joins them
    #[arg(long, value_name = "I/N", conflicts_with = "sign")]
    shard: Option<Shard>,
    /// Compile also the cells that are predicted to equal another target's code, and fail if one differs
    #[arg(long, conflicts_with_all = ["shard", "check_reproducible"])]
    verify_collapse: bool,
    #[command(flatten)]
    signer: Signer,
    /// Print the result of every cell as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    jobs: JobOptions,
}

fn compression() -> impl TypedValueParser<Value = Compression> {
    PossibleValuesParser::new(["zstd", "none"]).try_map(|text| text.parse::<Compression>())
}

pub(super) fn run(args: &Args) -> Result<(), Failures> {
    // First: an unusable key should not cost a build.
    let key = args.sign.as_deref().map(|key| args.signer.read_key(key)).transpose()?;
    let release = Release::read(&args.file).map_err(wording::failure)?;
    warn_of_targets(&release);
    let options = Options {
        compression: args.compression,
        counter: args.counter,
        shard: args.shard,
        verify_collapse: args.verify_collapse,
    };
    // What is compiled twice needs no other comparison.
    let signing = key.as_ref().filter(|_| !args.check_reproducible).map(|_| args.signer.trusted_remotes());
    let session = args.jobs.prepare(signing)?;
    let report = if args.check_reproducible {
        reproducible::write(&release, &args.output, options, &session)?
    } else {
        let write = |on_step: &mut dyn FnMut(Step<'_>)| {
            release.write(&args.output, options, &session.runner(), session.reuse(), on_step)
        };
        session.watch("compiling", write).map_err(wording::failure)?
    };
    report.summary.iter().for_each(|summary| warn_of_signatures(&summary.signatures));
    let name = &release.manifest.release.name;
    let timings = session.write_timings(&format!("isomer release: {name}"), &report.cells);
    session.finish()?;
    let key = key.filter(|_| report.summary.is_some());
    // The release holds the counter by now.
    let record = |module| report.records.get(&module).cloned();
    let signed = key.as_ref().map(|key| Ok((args.signer.sign(&args.output, key, None, &record, false)?, key)));
    let signed: Option<Result<(Signed, &SigningKey), Failure>> = signed;
    if args.json {
        let mut json = json_of(&release, &report);
        if let Some(Ok((signed, key))) = &signed {
            json["signed"] =
                json!({"key": key.public_key().id().to_string(), "counter": signed.statement.release.counter});
        }
        print_json(&json)?;
    } else {
        let mut text = text_of(&release, &report, args);
        if let Some(Ok((signed, key))) = &signed {
            text += &sign::text_of(signed, key);
        }
        print(&text)?;
    }
    signed.transpose()?;
    let mut failures = failures_of(&release, &report);
    failures.extend(timings.err());
    if failures.is_empty() { Ok(()) } else { Err(Failures(failures)) }
}

fn text_of(release: &Release, report: &ReleaseReport, args: &Args) -> String {
    let head = ["module", "target", "size", "stored", "time"].map(str::to_owned).to_vec();
    let mut text = aligned(std::iter::once(head).chain(report.cells.iter().map(row)));
    text += &inexpressible(report);
    if let Some(summary) = &report.summary {
        text += &summary_text(release, report, summary, args);
    }
    text
}

fn row(cell: &CellReport) -> Vec<String> {
    let mut row = vec![cell.module.clone(), cell.target.clone()];
    match &cell.state {
        State::Finished(finished) => {
            let time = match (finished.origin, finished.took()) {
                (Origin::Predicted { .. }, _) => "predicted".to_owned(),
                (_, Some(took)) => format!("{:.2} s", took.as_secs_f64()),
                (_, None) => "kept".to_owned(),
            };
            match &cell.represented_by {
                Some(target) => row.extend([format!("= {target}"), String::new(), time]),
                None => {
                    let size = |size_bytes: fn(Stored) -> u64| finished.stored().map(size_bytes).map(bytes);
                    row.push(size(|stored| stored.artifact.size_bytes).unwrap_or_default());
                    row.push(size(|stored| stored.layer.blob.size_bytes).unwrap_or_default());
                    row.push(time);
                }
            }
        }
        State::NotExpressible(reason) => row.push(format!("not expressible: uses {}", reason.uses)),
        State::Refused(_) => row.push("refused".to_owned()),
        State::Failed(JobFailure::NotTried) => row.push("not tried".to_owned()),
        State::Failed(_) | State::Unwritten(_) | State::Pending(_) | State::SameJob(_) | State::Predicted(_) => {
            row.push("failed".to_owned())
        }
    }
    row
}

/// A cell whose artifact the release holds.
fn is_shipped(cell: &CellReport) -> bool {
    matches!(&cell.state, State::Finished(_)) && cell.represented_by.is_none()
}

/// A cell whose artifact is another's.
fn is_represented(cell: &CellReport) -> bool {
    matches!(&cell.state, State::Finished(_)) && cell.represented_by.is_some()
}

fn is_compiled_now(cell: &CellReport) -> bool {
    matches!(&cell.state, State::Finished(finished) if finished.took().is_some())
}

fn is_predicted(cell: &CellReport) -> bool {
    matches!(&cell.state, State::Finished(Finished { origin: Origin::Predicted { .. }, .. }))
}

/// Each reason once, with the cells that it is for.
fn inexpressible(report: &ReleaseReport) -> String {
    let mut reasons: BTreeMap<String, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    for cell in &report.cells {
        if let State::NotExpressible(reason) = &cell.state {
            let fix = reason.fix.as_ref().map_or_else(String::new, |fix| format!("\n  to have them: {fix}"));
            let cells = reasons.entry(format!("{reason}{fix}")).or_default();
            cells.entry(&cell.module).or_default().push(&cell.target);
        }
    }
    let mut text = String::new();
    for (reason, cells) in reasons {
        text += &format!("\nnot expressible, and left out: {reason}\n");
        for (module, targets) in cells {
            text += &format!("  {module}: {}\n", targets.join(", "));
        }
    }
    text
}

fn summary_text(release: &Release, report: &ReleaseReport, summary: &Summary, args: &Args) -> String {
    let count = |wanted: fn(&CellReport) -> bool| report.cells.iter().filter(|cell| wanted(cell)).count();
    let (compiled, shipped) = (count(is_compiled_now), count(is_shipped));
    let (served, predicted) = (count(is_represented), count(is_predicted));
    let left_out = count(|cell| matches!(cell.state, State::NotExpressible(_)));
    let name = &release.manifest.release.name;
    let version = &release.manifest.release.version;
    let rows = summary.modules.iter().map(|module| vec![format!("  {}", module.reference), module.digest.to_string()]);
    let signatures = signatures_text(&summary.signatures);
    let verified = report.verified.as_ref().map_or_else(String::new, |Verified { right, missed, .. }| {
        format!("{right} predictions were right, {missed} equal cells were not predicted\n")
    });
    format!(
        "\n{}{verified}{name} {version} in {}: {} cells, {compiled} compiled now; {shipped} shipped, \
         {served} served by an equal variant, {predicted} of them as predicted, {left_out} not expressible; {} written, {} kept\n{signatures}",
        aligned(rows),
        args.output.display(),
        report.cells.len(),
        bytes(summary.written.size_bytes),
        bytes(summary.reused.size_bytes),
    )
}

/// What became of the signatures of the earlier release.
pub(super) fn signatures_text(Signatures { kept, dropped, damaged, .. }: &Signatures) -> String {
    let counts = [(dropped, "dropped with the indexes that they signed"), (damaged, "damaged and dropped")];
    let lost = counts.iter().filter(|(count, _)| **count > 0).map(|(count, how)| format!(", {count} {how}"));
    let lost: String = lost.collect();
    if *kept == 0 && lost.is_empty() { String::new() } else { format!("signatures: {kept} kept{lost}\n") }
}

/// Two forms that are equally good are probably a mistake: a rename would change what servers run.
pub(super) fn warn_of_targets(release: &Release) {
    for pair in release.indistinct_targets() {
        warn(&pair, "give one of the profiles a higher `priority`, or release only one of them");
    }
}

/// A signature that is lost without a change of the release deserves more than a line among the results.
pub(super) fn warn_of_signatures(signatures: &Signatures) {
    for problem in &signatures.problems {
        warn(problem, "a signature is lost; sign the release again");
    }
}

fn json_of(release: &Release, report: &ReleaseReport) -> Value {
    let cell = |cell: &CellReport| {
        let mut json = json!({"module": cell.module, "target": cell.target});
        match &cell.state {
            State::Finished(finished) => {
                match &cell.represented_by {
                    Some(target) => {
                        json["status"] = json!("served");
                        json["predicted"] = json!(is_predicted(cell));
                        json["by"] = json!(target);
                    }
                    None => {
                        let stored = finished.stored();
                        json["status"] = json!("shipped");
                        json["size-bytes"] = json!(stored.map(|stored| stored.artifact.size_bytes));
                        json["stored-bytes"] = json!(stored.map(|stored| stored.layer.blob.size_bytes));
                    }
                }
                json["compiled"] = json!(finished.took().is_some());
                if cell.maker.remote().is_some() {
                    json["maker"] = json!(cell.maker);
                }
            }
            State::NotExpressible(reason) => {
                json["status"] = json!("not-expressible");
                json["reason"] = json!(reason.to_string());
                json["hint"] = json!(reason.fix);
            }
            State::Refused(reason) => {
                json["status"] = json!("refused");
                json["reason"] = json!(reason.to_string());
                json["hint"] = json!(reason.hint());
            }
            State::Failed(failure) => {
                json["status"] = json!("failed");
                json["failure"] = json!(failure.kind());
                json["reason"] = json!(failure.to_string());
                json["hint"] = json!(failure.remedy());
            }
            State::Unwritten(error) => {
                json["status"] = json!("failed");
                json["reason"] = json!(error.to_string());
                json["hint"] = json!(error.hint());
            }
            State::Pending(_) | State::SameJob(_) | State::Predicted(_) => json["status"] = json!("failed"),
        }
        json
    };
    let modules = report.summary.iter().flat_map(|summary| &summary.modules);
    json!({
        "name": release.manifest.release.name,
        "version": release.manifest.release.version,
        "written": report.summary.is_some(),
        "predictions": report.verified.as_ref().map(|Verified { right, wrong, missed }| {
            let wrong = wrong.iter().map(|wrong| json!({
                "module": wrong.module,
                "target": wrong.target,
                "as": wrong.representative,
                "added": wrong.added,
            }));
            json!({"right": right, "wrong": wrong.collect::<Vec<_>>(), "missed": missed})
        }),
        "cells": report.cells.iter().map(cell).collect::<Vec<_>>(),
        "modules": modules
            .map(|module| json!({"reference": module.reference, "digest": module.digest, "wasm": module.wasm}))
            .collect::<Vec<_>>(),
    })
}

fn failures_of(release: &Release, report: &ReleaseReport) -> Vec<Failure> {
    let path = |name: &str| {
        let module = release.modules.iter().find(|module| module.name == name).expect("cells are of modules");
        module.input.path.display().to_string()
    };
    let mut failures = CellFailures::default();
    for cell in &report.cells {
        let (reason, hint) = match &cell.state {
            State::Refused(reason) => (reason.to_string(), reason.hint()),
            State::Failed(JobFailure::NotTried) => continue,
            State::Failed(failure @ JobFailure::RemoteLost { problem, .. }) => {
                failures.lose_farm(problem, failure.remedy());
                continue;
            }
            State::Failed(failure) => (failure.to_string(), failure.remedy()),
            State::Unwritten(error) => (one_line(error), error.hint()),
            State::NotExpressible(_)
            | State::Pending(_)
            | State::SameJob(_)
            | State::Predicted(_)
            | State::Finished(_) => continue,
        };
        failures.add(path(&cell.module), &cell.target, reason, hint);
    }
    let mut failures = failures.into_failures("; the release is not written");
    let wrong = report.verified.iter().flat_map(|verified| &verified.wrong);
    failures.extend(wrong.map(|wrong| {
        Failure::new(format!("a prediction is wrong; the release is not written: {wrong}"))
            .hint("the table of measurements lacks something: please report it with the module".to_owned())
    }));
    failures
}
