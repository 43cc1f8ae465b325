//! `isomer plan [-f isomer.toml] [-o DIR]`: what `isomer release` would do, without doing it.

use super::farming::{CacheOptions, warn};
use isomer_compile::Release;
use isomer_compile::plan::{Decision, Why};
use isomer_compile::release::{Obstacle, PlannedCell, ReleasePlan, Step};
use isomer_compile::release_manifest::DEFAULT_NAME;
use isomer_contract::Hinted;
use isomer_terminal::aligned;
use isomer_terminal::{Failures, print, print_json};
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  isomer plan -o dist/                      which jobs a release into dist/ would do
  isomer plan -o dist/ --why                and for each, what changed since dist/ was made
  isomer plan --json | jq '.jobs | length'")]
pub(super) struct Args {
    /// The manifest
    #[arg(long, short = 'f', value_name = "FILE", default_value = DEFAULT_NAME)]
    file: PathBuf,
    /// The directory that the release would be written into
    #[arg(long, short, value_name = "DIR", default_value = "dist")]
    output: PathBuf,
    /// Say for each job why it is to be done
    #[arg(long)]
    why: bool,
    /// Print the plan as JSON, with all reasons
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cache: CacheOptions,
}

pub(super) fn run(args: &Args) -> Result<(), Failures> {
    let release = Release::read(&args.file)?;
    let cache = args.cache.open();
    let plan = release.plan(&args.output, cache.as_ref(), &mut |step| {
        if let Step::Damaged(what) = step {
            warn(&what, "it would be made again");
        }
    })?;
    if args.json {
        return Ok(print_json(&json_of(&plan))?);
    }
    Ok(print(&text_of(&plan, args.why))?)
}

fn text_of(plan: &ReleasePlan, why: bool) -> String {
    let mut rows = vec![["module", "target", "plan"].map(str::to_owned).to_vec()];
    let mut counts = [("to compile", 0), ("cached", 0), ("kept", 0), ("equal to another", 0), ("left out", 0)];
    for cell in &plan.cells {
        let (place, words) = match &cell.decision {
            Decision::Compile(reasons) if why => {
                let reasons: Vec<_> = reasons.iter().map(Why::to_string).collect();
                (0, format!("compile: {}", reasons.join("; ")))
            }
            Decision::Compile(reasons) => (0, brief(reasons).to_owned()),
            Decision::Cached => (1, "cached".to_owned()),
            Decision::Kept => (2, "kept".to_owned()),
            Decision::SameJob(other) => (3, format!("= {}, the same job", name(plan, *other, cell))),
            Decision::Predicted(other) => (3, format!("= {}, as predicted", name(plan, *other, cell))),
            Decision::NotExpressible | Decision::Refused | Decision::Failed => (4, obstacle(cell)),
        };
        counts[place].1 += 1;
        rows.push(vec![cell.module.clone(), cell.target.clone(), words]);
    }
    let counts = counts.iter().filter(|(_, count)| *count > 0).map(|(words, count)| format!("{count} {words}"));
    format!("{}\n{} cells: {}\n", aligned(rows), plan.cells.len(), counts.collect::<Vec<_>>().join(", "))
}

/// Whether it was never there, or is there no more as it was.
fn brief(reasons: &[Why]) -> &'static str {
    match reasons {
        [Why::NothingEarlier | Why::NewModule | Why::NewTarget] => "compile: new",
        [Why::Damaged { .. }] => "compile: damaged",
        _ => "compile: changed",
    }
}

/// A cell as another one of its module, or of another module, calls it.
fn name(plan: &ReleasePlan, other: usize, cell: &PlannedCell) -> String {
    let other = &plan.cells[other];
    if other.module == cell.module { other.target.clone() } else { format!("{} {}", other.module, other.target) }
}

fn obstacle(cell: &PlannedCell) -> String {
    match &cell.obstacle {
        Some(Obstacle::NotExpressible(reason)) => format!("not expressible: uses {}", reason.uses),
        Some(Obstacle::Refused(reason)) => format!("refused: {reason}"),
        None => "left out".to_owned(),
    }
}

fn json_of(plan: &ReleasePlan) -> Value {
    let cell = |cell: &PlannedCell| {
        let mut json = json!({"module": cell.module, "target": cell.target, "job": cell.job});
        let equal = |other: &usize| json!({"module": plan.cells[*other].module, "target": plan.cells[*other].target});
        match &cell.decision {
            Decision::Compile(why) => {
                json["plan"] = json!("compile");
                json["why"] = json!(why);
            }
            Decision::Cached => json["plan"] = json!("cached"),
            Decision::Kept => json["plan"] = json!("kept"),
            Decision::SameJob(other) => {
                json["plan"] = json!("same-job");
                json["as"] = equal(other);
            }
            Decision::Predicted(other) => {
                json["plan"] = json!("predicted");
                json["as"] = equal(other);
            }
            Decision::NotExpressible => json["plan"] = json!("not-expressible"),
            Decision::Refused => json["plan"] = json!("refused"),
            Decision::Failed => json["plan"] = json!("failed"),
        }
        match &cell.obstacle {
            Some(Obstacle::NotExpressible(reason)) => {
                json["reason"] = json!(reason.to_string());
                json["hint"] = json!(reason.fix);
            }
            Some(Obstacle::Refused(reason)) => {
                json["reason"] = json!(reason.to_string());
                json["hint"] = json!(reason.hint());
            }
            None => {}
        }
        json
    };
    let job = |cell: &usize| json!({"module": plan.cells[*cell].module, "target": plan.cells[*cell].target});
    json!({
        "cells": plan.cells.iter().map(cell).collect::<Vec<_>>(),
        "jobs": plan.jobs.iter().map(job).collect::<Vec<_>>(),
    })
}
