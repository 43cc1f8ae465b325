//! `isomer plan [-f isomer.toml] [-o DIR]`: what `isomer release` would do, without doing it.

use super::job_options::CacheOptions;
use super::release::warn_of_targets;
use super::state;
use crate::warning::warn;
use crate::wording;
use isomer_compile::maker::Distrust;
use isomer_compile::matrix::{CellReport, Finished, Location, State};
use isomer_compile::release::ReleasePlan;
use isomer_compile::release_manifest::DEFAULT_NAME;
use isomer_compile::reuse::Reuse;
use isomer_compile::why::Why;
use isomer_compile::{Release, Step};
use isomer_contract::Hinted;
use isomer_terminal::aligned;
use isomer_terminal::{Failures, print, print_json};
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  isomer plan -o dist/                      which jobs a release into dist/ would run
  isomer plan -o dist/ --why                and for each, what changed since the last one
  isomer plan --json | jq '.jobs | length'")]
pub(super) struct Args {
    /// The manifest
    #[arg(long, short = 'f', value_name = "FILE", default_value = DEFAULT_NAME)]
    file: PathBuf,
    /// The directory that the release would be written into
    #[arg(long, short, value_name = "DIR", default_value = "dist")]
    output: PathBuf,
    /// Print for each job why it would run
    #[arg(long)]
    why: bool,
    /// Print the plan as JSON, with all reasons
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cache: CacheOptions,
}

pub(super) fn run(args: &Args) -> Result<(), Failures> {
    let release = Release::read(&args.file).map_err(wording::failure)?;
    warn_of_targets(&release);
    let records = state::open_or_warn();
    let cache = args.cache.open(records.as_ref());
    let distrust = Distrust::default();
    let reuse = Reuse { cache: cache.as_ref(), records: records.as_ref(), distrust: &distrust };
    let plan = release.plan(&args.output, reuse, &mut |step| {
        if let Step::Damaged(what) = step {
            warn(&what, "it would be compiled again");
        }
    });
    let plan = plan.map_err(wording::failure)?;
    if args.json {
        return Ok(print_json(&json_of(&plan))?);
    }
    Ok(print(&text_of(&plan, args.why))?)
}

fn text_of(plan: &ReleasePlan, why: bool) -> String {
    let mut rows = vec![["module", "target", "plan"].map(str::to_owned).to_vec()];
    let mut counts = [("to compile", 0), ("cached", 0), ("kept", 0), ("equal to another", 0), ("left out", 0)];
    for cell in &plan.cells {
        let (kind, text) = match &cell.state {
            State::Pending(reasons) if why => {
                let reasons: Vec<_> = reasons.iter().map(Why::to_string).collect();
                (0, format!("compile: {}", reasons.join("; ")))
            }
            State::Pending(reasons) => (0, brief(reasons).to_owned()),
            State::Finished(Finished { location: Location::Cache(_), .. }) => (1, "cached".to_owned()),
            State::Finished(_) => (2, "kept".to_owned()),
            State::SameJob(other) => (3, format!("= {}, the same job", name(plan, *other, cell))),
            State::Predicted(other) => (3, format!("= {}, as predicted", name(plan, *other, cell))),
            State::NotExpressible(reason) => (4, format!("not expressible: uses {}", reason.uses)),
            State::Refused(reason) => (4, format!("refused: {reason}")),
            State::Failed(_) | State::Unwritten(_) => (4, FAILED.to_owned()),
        };
        counts[kind].1 += 1;
        rows.push(vec![cell.module.clone(), cell.target.clone(), text]);
    }
    let counts = counts.iter().filter(|(_, count)| *count > 0).map(|(kind, count)| format!("{count} {kind}"));
    format!("{}\n{} cells: {}\n", aligned(rows), plan.cells.len(), counts.collect::<Vec<_>>().join(", "))
}

/// Whether it is new, changed or damaged.
fn brief(reasons: &[Why]) -> &'static str {
    match reasons {
        [Why::NothingEarlier | Why::NewModule | Why::NewTarget] => "compile: new",
        [Why::Damaged { .. }] => "compile: damaged",
        _ => "compile: changed",
    }
}

/// The name of another cell, as seen from `cell`.
fn name(plan: &ReleasePlan, other: usize, cell: &CellReport) -> String {
    let other = &plan.cells[other];
    if other.module == cell.module { other.target.clone() } else { format!("{} {}", other.module, other.target) }
}

/// No job of a plan has run.
const FAILED: &str = "failed";

fn json_of(plan: &ReleasePlan) -> Value {
    let cell = |cell: &CellReport| {
        let mut json = json!({"module": cell.module, "target": cell.target, "job": cell.job});
        let equal = |other: &usize| json!({"module": plan.cells[*other].module, "target": plan.cells[*other].target});
        match &cell.state {
            State::Pending(why) => {
                json["plan"] = json!("compile");
                json["why"] = json!(why);
            }
            State::Finished(Finished { location: Location::Cache(_), .. }) => json["plan"] = json!("cached"),
            State::Finished(_) => json["plan"] = json!("kept"),
            State::SameJob(other) => {
                json["plan"] = json!("same-job");
                json["as"] = equal(other);
            }
            State::Predicted(other) => {
                json["plan"] = json!("predicted");
                json["as"] = equal(other);
            }
            State::NotExpressible(reason) => {
                json["plan"] = json!("not-expressible");
                json["reason"] = json!(reason.to_string());
                json["hint"] = json!(reason.fix);
            }
            State::Refused(reason) => {
                json["plan"] = json!("refused");
                json["reason"] = json!(reason.to_string());
                json["hint"] = json!(reason.hint());
            }
            State::Failed(_) | State::Unwritten(_) => json["plan"] = json!(FAILED),
        }
        json
    };
    let job = |cell: &usize| json!({"module": plan.cells[*cell].module, "target": plan.cells[*cell].target});
    json!({
        "cells": plan.cells.iter().map(cell).collect::<Vec<_>>(),
        "jobs": plan.jobs.iter().map(job).collect::<Vec<_>>(),
    })
}
