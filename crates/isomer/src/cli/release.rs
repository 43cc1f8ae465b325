//! `isomer release [-f isomer.toml] [-o DIR]`.

mod reproducible;

use super::farming::{Farming, Prepared, warn, warn_of_cache};
use super::sign::{self, Signer};
use crate::cell_failures::CellFailures;
use crate::progress::Progress;
use crate::timings::Totals;
use isomer_compile::Release;
use isomer_compile::farm::JobFailure;
use isomer_compile::release::{CellReport, Options, Outcome, ReleaseReport, Shard, Step, Verified};
use isomer_compile::release_manifest::DEFAULT_NAME;
use isomer_compile::signing::Signed;
use isomer_contract::Hinted;
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
  counter = 7                        # default: 0; tells servers which release is older
  targets = [\"x86-64-v3\", \"neoverse-n1\", \"pulley64\", \"profiles/edge-box.toml\"]   # or [\"all\"]

  [[module]]
  path    = \"modules/resize.wasm\"    # core module, component or .wat, relative to the manifest
  name    = \"resize\"                 # default: the file's stem
  targets = [\"x86-64-v3\"]            # default: the release's

With others:
  isomer release --remote-cache grpc://cache.example:8980       what one has compiled, all have
  isomer release --remote-exec grpcs://farm.example:443 -j 64   compiled on a farm, 64 jobs at once")]
pub(super) struct Args {
    /// The manifest
    #[arg(long, short = 'f', value_name = "FILE", default_value = DEFAULT_NAME)]
    file: PathBuf,
    /// The directory to write the release into
    #[arg(long, short, value_name = "DIR", default_value = "dist")]
    output: PathBuf,
    /// How artifacts are stored in the release
    #[arg(long, value_name = "HOW", default_value = "zstd", value_parser = ["zstd", "none"])]
    compression: String,
    /// Build everything twice, apart and without the cache, and compare every byte
    #[arg(long, conflicts_with = "shard")]
    check_reproducible: bool,
    /// Sign the release with this private key, as `isomer sign` does
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    /// The release's number, by which servers tell an older one [default: the manifest's `counter`]
    #[arg(long, value_name = "N")]
    counter: Option<u64>,
    /// Make one of several parts, each on another machine: 1/3, 2/3, 3/3; `isomer merge` joins them
    #[arg(long, value_name = "I/N", conflicts_with = "sign")]
    shard: Option<Shard>,
    /// Compile also what is predicted to equal another target's code, and fail when it does not
    #[arg(long, conflicts_with_all = ["shard", "check_reproducible"])]
    verify_collapse: bool,
    #[command(flatten)]
    signer: Signer,
    /// Print what became of every cell as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    farming: Farming,
}

pub(super) fn run(args: &Args) -> Result<(), Failures> {
    // First, for a key that can't be used should not cost a build.
    let key = args.sign.as_deref().map(|key| args.signer.read_key(key)).transpose()?;
    let release = Release::read(&args.file)?;
    let compression = if args.compression == "none" { Compression::None } else { Compression::Zstd };
    let options =
        Options { compression, counter: args.counter, shard: args.shard, verify_collapse: args.verify_collapse };
    let prepared = args.farming.prepare()?;
    let report = if args.check_reproducible {
        reproducible::write(&release, &args.output, options, &prepared)?
    } else {
        let write = |on_step: &mut dyn FnMut(Step<'_>)| {
            release.write(&args.output, options, &prepared.farm(), prepared.cache(), on_step)
        };
        watch(&prepared, "compiling", write)?
    };
    report.summary.iter().for_each(|summary| warn_of_signatures(&summary.signatures));
    let name = &release.manifest.release.name;
    let timings = prepared.write_timings(&format!("isomer release: {name}"), totals(&report));
    prepared.finish()?;
    let key = key.filter(|_| report.summary.is_some());
    // Its counter is the release's by now.
    let signed = key.as_ref().map(|key| Ok((args.signer.sign(&args.output, key, None)?, key)));
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

/// Does `work` and shows how it goes.
pub(super) fn watch<T>(prepared: &Prepared, verb: &'static str, work: impl FnOnce(&mut dyn FnMut(Step<'_>)) -> T) -> T {
    let mut progress: Option<Progress<'_>> = None;
    work(&mut |step| match step {
        Step::Planned(jobs) => progress = Some(Progress::new(jobs, verb, prepared.timings())),
        Step::Started(job, module, target) => {
            progress.iter_mut().for_each(|progress| progress.started(job, format!("{module} {target}")));
        }
        Step::Finished(job, failed) => progress.iter_mut().for_each(|progress| progress.finished(job, failed)),
        Step::Damaged(what) => warn(&what, "it is made again"),
        Step::CacheTrouble(error) => warn_of_cache(&error),
    })
}

fn totals(report: &ReleaseReport) -> Totals {
    let mut totals = Totals::default();
    for cell in &report.cells {
        let count = match &cell.outcome {
            Outcome::Shipped { took: Some(_), .. } | Outcome::ServedBy { took: Some(_), .. } => &mut totals.compiled,
            Outcome::Shipped { .. } | Outcome::ServedBy { .. } => &mut totals.reused,
            Outcome::NotExpressible(_) => &mut totals.not_expressible,
            Outcome::Refused(_) | Outcome::Failed(_) => &mut totals.failed,
        };
        *count += 1;
    }
    totals
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
    let seconds = |took: &Option<std::time::Duration>| match took {
        Some(took) => format!("{:.2} s", took.as_secs_f64()),
        None => "kept".to_owned(),
    };
    match &cell.outcome {
        Outcome::Shipped { size_bytes, stored_bytes, took } => {
            row.extend([bytes(*size_bytes), bytes(*stored_bytes), seconds(took)]);
        }
        Outcome::ServedBy { target, took, predicted } => {
            let how = if *predicted { "predicted".to_owned() } else { seconds(took) };
            row.extend([format!("= {target}"), String::new(), how]);
        }
        Outcome::NotExpressible(reason) => row.push(format!("not expressible: uses {}", reason.uses)),
        Outcome::Refused(_) => row.push("refused".to_owned()),
        Outcome::Failed(JobFailure::NotTried) => row.push("not tried".to_owned()),
        Outcome::Failed(_) => row.push("failed".to_owned()),
    }
    row
}

/// Each reason once, with the cells that it is for.
fn inexpressible(report: &ReleaseReport) -> String {
    let mut reasons: BTreeMap<String, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    for cell in &report.cells {
        if let Outcome::NotExpressible(reason) = &cell.outcome {
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
    let count = |wanted: fn(&Outcome) -> bool| report.cells.iter().filter(|cell| wanted(&cell.outcome)).count();
    let compiled = count(|outcome| {
        matches!(outcome, Outcome::Shipped { took: Some(_), .. } | Outcome::ServedBy { took: Some(_), .. })
    });
    let shipped = count(|outcome| matches!(outcome, Outcome::Shipped { .. }));
    let served = count(|outcome| matches!(outcome, Outcome::ServedBy { .. }));
    let predicted = count(|outcome| matches!(outcome, Outcome::ServedBy { predicted: true, .. }));
    let left_out = count(|outcome| matches!(outcome, Outcome::NotExpressible(_)));
    let name = &release.manifest.release.name;
    let version = &release.manifest.release.version;
    let rows = summary.modules.iter().map(|module| vec![format!("  {}", module.reference), module.digest.to_string()]);
    let signatures = signatures_text(&summary.signatures);
    let verified = report.verified.as_ref().map_or_else(String::new, |Verified { right, missed, .. }| {
        format!("{right} predictions came true, {missed} could have been made and were not\n")
    });
    format!(
        "\n{}{verified}{name} {version} in {}: {} cells, {compiled} compiled now; {shipped} shipped, \
         {served} served by an equal one, {predicted} of them as predicted, {left_out} not expressible; {} written, {} kept\n{signatures}",
        aligned(rows),
        args.output.display(),
        report.cells.len(),
        bytes(summary.written.size_bytes),
        bytes(summary.reused.size_bytes),
    )
}

/// What became of the signatures that were there before.
pub(super) fn signatures_text(Signatures { kept, dropped, damaged, .. }: &Signatures) -> String {
    let counts = [(dropped, "dropped with what they were about"), (damaged, "damaged and dropped")];
    let lost = counts.iter().filter(|(count, _)| **count > 0).map(|(count, how)| format!(", {count} {how}"));
    let lost: String = lost.collect();
    if *kept == 0 && lost.is_empty() { String::new() } else { format!("signatures: {kept} kept{lost}\n") }
}

/// A signature that is lost for no reason of the release's is not to be missed among the results.
pub(super) fn warn_of_signatures(signatures: &Signatures) {
    for problem in &signatures.problems {
        warn(problem, "a signature is lost with it; sign the release again");
    }
}

fn json_of(release: &Release, report: &ReleaseReport) -> Value {
    let cell = |cell: &CellReport| {
        let mut json = json!({"module": cell.module, "target": cell.target});
        match &cell.outcome {
            Outcome::Shipped { size_bytes, stored_bytes, took } => {
                json["status"] = json!("shipped");
                json["size-bytes"] = json!(size_bytes);
                json["stored-bytes"] = json!(stored_bytes);
                json["compiled"] = json!(took.is_some());
            }
            Outcome::ServedBy { target, took, predicted } => {
                json["status"] = json!("served");
                json["predicted"] = json!(predicted);
                json["by"] = json!(target);
                json["compiled"] = json!(took.is_some());
            }
            Outcome::NotExpressible(reason) => {
                json["status"] = json!("not-expressible");
                json["reason"] = json!(reason.to_string());
                json["hint"] = json!(reason.fix);
            }
            Outcome::Refused(reason) => {
                json["status"] = json!("refused");
                json["reason"] = json!(reason.to_string());
                json["hint"] = json!(reason.hint());
            }
            Outcome::Failed(error) => {
                json["status"] = json!("failed");
                json["failure"] = json!(error.kind());
                json["reason"] = json!(error.to_string());
                json["hint"] = json!(error.hint());
            }
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
        let (reason, hint) = match &cell.outcome {
            Outcome::Refused(reason) => (reason.to_string(), reason.hint()),
            Outcome::Failed(JobFailure::NotTried) => continue,
            Outcome::Failed(JobFailure::RemoteLost { problem, hint }) => {
                failures.lose_farm(problem, hint);
                continue;
            }
            Outcome::Failed(error) => (error.to_string(), error.hint()),
            _ => continue,
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
