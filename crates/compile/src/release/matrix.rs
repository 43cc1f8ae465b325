//! The cells of a release, modules times profiles, and what is known of each, from nothing to a finished artifact.
//! Never here: work. What is to be done is planned from this (`plan`) and carried out elsewhere (`build`).

mod predicted;

use super::previous::Previous;
use super::report::{CellReport, Outcome};
use super::{Module, Release, Shard, Step};
use crate::cache::{Cache, Entry};
use crate::express::{Inexpressible, Refused, express};
use crate::farm::JobFailure;
use crate::job::Key;
use crate::plan::{self, Decision, Known, Place, Plan, Why};
use crate::predict::{self, Operators};
use crate::{Analysis, Job};
use isomer_contract::manifest::Blob;
use isomer_contract::{Digest, Needs, Profile, Requirements};
use isomer_layout::{Compression, Layer, Layout, Manifest, Part};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A module for a profile, and what is known of it so far.
pub(super) struct Cell<'a> {
    pub(super) module: usize,
    pub(super) profile: &'a Profile,
    pub(super) requirements: Requirements,
    key: Key,
    pub(super) job: Digest,
    /// The job of the cell of the same module that is predicted to come out the same; its own where none is.
    representative: Digest,
    pub(super) state: State,
}

#[derive(Clone)]
pub(super) enum State {
    Inexpressible(Inexpressible),
    Refused(Refused),
    /// Nobody has compiled it yet, or what came of it is lost.
    New(Vec<Why>),
    Failed(JobFailure),
    Compiled(Compiled),
}

/// What is known of an artifact.
#[derive(Clone, Copy)]
pub(super) struct Compiled {
    pub(super) code: Digest,
    pub(super) at: At,
    /// How long it took to make; none when it was there.
    pub(super) took: Option<Duration>,
    /// Whether the code is a prediction's word, which no job has confirmed.
    pub(super) predicted: bool,
}

/// Where an artifact is.
#[derive(Clone, Copy)]
pub(super) enum At {
    Release(Stored),
    Cache(Entry),
    /// An earlier release had another stand for it.
    Nowhere,
}

#[derive(Clone, Copy)]
pub(super) struct Stored {
    pub(super) artifact: Blob,
    pub(super) layer: Layer,
}

/// All cells of a release, module by module.
pub(super) struct Matrix<'a> {
    pub(super) release: &'a Release,
    pub(super) needs: Vec<Needs>,
    pub(super) cells: Vec<Cell<'a>>,
    /// Whether predictions are believed. What they say depends on the release alone, never on what is cached or kept,
    /// so that its bytes do not either.
    predicts: bool,
    /// Whether forms of equal code are found here. Not among the cells of a shard: only all shards together know.
    collapses: bool,
}

impl<'a> Matrix<'a> {
    /// The cells, each with the answer to whether it can be compiled at all.
    pub(super) fn of(release: &'a Release, predicts: bool) -> Matrix<'a> {
        let mut needs = Vec::new();
        let mut cells: Vec<Cell<'a>> = Vec::new();
        for (index, Module { input, profiles, .. }) in release.modules.iter().enumerate() {
            let analysis = Analysis::of(&input.wasm);
            needs.push(analysis.needs());
            let cell = |profile: &'a Profile| {
                let key = Job { input, profile }.key();
                Cell {
                    module: index,
                    profile,
                    requirements: Requirements::of_profile(profile, input.kind),
                    job: key.digest(),
                    representative: key.digest(),
                    key,
                    state: match express(&analysis, profile) {
                        Ok(Ok(())) => State::New(Vec::new()),
                        Ok(Err(reason)) => State::Inexpressible(reason),
                        Err(reason) => State::Refused(reason),
                    },
                }
            };
            let begin = cells.len();
            cells.par_extend(profiles.par_iter().map(cell));
            let mut own: Vec<_> =
                cells[begin..].iter_mut().filter(|cell| matches!(cell.state, State::New(_))).collect();
            let profiles: Vec<_> = own.iter().map(|cell| cell.profile).collect();
            let representatives = predict::representatives(&Operators::of(&input.wasm), &profiles);
            let jobs: Vec<_> = representatives.into_iter().map(|place| own[place].job).collect();
            own.iter_mut().zip(jobs).for_each(|(cell, job)| cell.representative = job);
        }
        Matrix { release, needs, cells, predicts, collapses: true }
    }

    /// Leaves the cells of one shard, and says which part of the whole that is. What no job is needed for is told by
    /// the first shard alone.
    pub(super) fn keep_share(&mut self, shard: Shard, counter: u64, compression: Compression) -> Part {
        let size = |cell: &Cell<'_>| self.release.modules[cell.module].input.wasm.len();
        let is_job = |cell: &&Cell<'a>| matches!(cell.state, State::New(_));
        let sizes = self.cells.iter().filter(is_job).map(|cell| (cell.representative, size(cell))).collect();
        let cells = self.cells.iter().filter(is_job);
        let whole: BTreeSet<_> = cells
            .map(|cell| (self.release.modules[cell.module].name.as_str(), cell.profile.name.as_str(), cell.job))
            .collect();
        // All that makes parts fit together beyond the release's name and version.
        let plan = Digest::of_json(&(whole, counter, compression == Compression::Zstd));
        let share = shard.share(&sizes);
        self.cells.retain(|cell| match cell.state {
            // Whoever compiles a cell knows what is predicted to come out as it.
            State::New(_) => share.contains(&cell.representative),
            _ => shard.number == 1,
        });
        self.collapses = false;
        Part { number: shard.number, count: shard.count, plan }
    }

    /// Takes over what `previous` and the cache know of the work. `keep` takes a layer of the former release over, or
    /// says why it cannot be.
    pub(super) fn recall(
        &mut self,
        previous: &Previous,
        cache: Option<&Cache>,
        keep: impl Fn(&Layout, &Manifest) -> Result<Layer, String> + Sync,
        on_step: &mut dyn FnMut(Step<'_>),
    ) {
        let (modules, predicts) = (&self.release.modules, self.predicts);
        let recall = |cell: &mut Cell<'a>| -> Vec<String> {
            if !matches!(cell.state, State::New(_)) {
                return Vec::new();
            }
            if predicts && cell.representative != cell.job {
                cell.state = State::New(vec![Why::OnlyPredicted]);
                return Vec::new();
            }
            let mut problems = Vec::new();
            let known = previous.code(cell.job).map(|code| (code, previous.variant(cell.job)));
            if let Some((code, variant)) = known {
                let at = match variant.map(|(layout, manifest)| (manifest, keep(layout, manifest))) {
                    None => Some(At::Nowhere),
                    Some((manifest, Ok(layer))) => {
                        Some(At::Release(Stored { artifact: manifest.config.artifact, layer }))
                    }
                    Some((_, Err(problem))) => {
                        problems.push(problem);
                        None
                    }
                };
                if let Some(at) = at {
                    cell.state = State::Compiled(Compiled { code, at, took: None, predicted: false });
                    return problems;
                }
            }
            match cache.map(|cache| cache.find(cell.job)).transpose() {
                Ok(Some(Some(entry))) => {
                    let at = At::Cache(entry);
                    cell.state = State::Compiled(Compiled { code: entry.code, at, took: None, predicted: false });
                    return problems;
                }
                Ok(_) => {}
                Err(error) => problems.push(error.to_string()),
            }
            cell.state = State::New(match problems.last() {
                Some(problem) => vec![Why::Damaged { problem: problem.clone() }],
                None => {
                    let (module, target) = (&modules[cell.module].name, &cell.profile.name);
                    previous.why(module, target, &cell.key, &cell.profile.effective(), cache)
                }
            });
            problems
        };
        let problems: Vec<Vec<String>> = self.cells.par_iter_mut().map(recall).collect();
        problems.into_iter().flatten().for_each(|problem| on_step(Step::Damaged(problem)));
        self.recall_alone(cache, on_step);
    }

    /// Looks in the cache for what stands for itself now and was kept nowhere else.
    pub(super) fn recall_alone(&mut self, cache: Option<&Cache>, on_step: &mut dyn FnMut(Step<'_>)) {
        let Some(cache) = cache else { return };
        let stands_for = self.stands_for();
        for (index, cell) in self.cells.iter_mut().enumerate() {
            let State::Compiled(compiled @ Compiled { at: At::Nowhere, .. }) = &mut cell.state else { continue };
            if stands_for[index] != Some(index) {
                continue;
            }
            match cache.find(cell.job) {
                Ok(Some(entry)) => {
                    *compiled = Compiled { code: entry.code, at: At::Cache(entry), took: None, predicted: false };
                }
                Ok(None) => {}
                Err(error) => on_step(Step::Damaged(error.to_string())),
            }
        }
    }

    /// What is to be done next.
    pub(super) fn plan(&self) -> Plan {
        plan::plan(&self.known())
    }

    /// For each compiled cell the one whose artifact is shipped for it.
    pub(super) fn stands_for(&self) -> Vec<Option<usize>> {
        plan::stands_for(&self.known())
    }

    fn known(&self) -> Vec<plan::Cell<'_>> {
        let predicted_as = if self.predicts { self.predicted_as() } else { vec![None; self.cells.len()] };
        let known = |index: usize, cell: &Cell<'a>| match &cell.state {
            State::Inexpressible(_) => Known::NotExpressible,
            State::Refused(_) => Known::Refused,
            State::New(why) => match predicted_as[index] {
                Some(other) if !matches!(self.cells[other].state, State::Failed(_)) => Known::Predicted(other),
                _ => Known::Nothing(why.clone()),
            },
            State::Failed(_) => Known::Failed,
            State::Compiled(Compiled { code, at, .. }) => Known::Code(
                *code,
                match at {
                    At::Release(_) => Place::Release,
                    At::Cache(_) => Place::Cache,
                    At::Nowhere => Place::Nowhere,
                },
            ),
        };
        // In a shard only one job's own cells serve each other, and those that are predicted to come out as they.
        let jobs: BTreeMap<_, _> =
            self.cells.iter().enumerate().map(|(index, cell)| ((cell.module, cell.representative), index)).collect();
        let mut planned = Vec::with_capacity(self.cells.len());
        for (index, cell) in self.cells.iter().enumerate() {
            let Cell { module, profile, requirements, job, representative, .. } = cell;
            planned.push(plan::Cell {
                module: if self.collapses { *module } else { jobs[&(*module, *representative)] },
                size_bytes: self.release.modules[*module].input.wasm.len(),
                target: &profile.name,
                requirements,
                job: *job,
                known: known(index, cell),
            });
        }
        planned
    }

    /// The job of a cell.
    pub(super) fn job(&self, cell: usize) -> Job<'_> {
        let Cell { module, profile, .. } = &self.cells[cell];
        Job { input: &self.release.modules[*module].input, profile }
    }

    /// Gives the outcome of a job to all cells that `plan` found to share it. A failed one leaves those that were
    /// predicted to come out the same to jobs of their own, unless no more are begun.
    pub(super) fn finish(&mut self, plan: &Plan, done: usize, state: State, fail_fast: bool) {
        let given_up = match &state {
            State::Failed(JobFailure::Interrupted) => Some(JobFailure::Interrupted),
            State::Failed(JobFailure::NotTried) => Some(JobFailure::NotTried),
            State::Failed(failure) if fail_fast || failure.ends_all() => Some(JobFailure::NotTried),
            _ => None,
        };
        for (index, decision) in plan.cells.iter().enumerate() {
            if *decision == Decision::SameJob(done) {
                self.cells[index].state = match &state {
                    State::Compiled(compiled) => State::Compiled(Compiled { took: None, ..*compiled }),
                    other => other.clone(),
                };
            }
            if let (Decision::Predicted(other), Some(failure)) = (decision, &given_up)
                && *other == done
            {
                self.cells[index].state = State::Failed(failure.clone());
            }
        }
        self.cells[done].state = state;
    }

    /// What became of each cell.
    pub(super) fn report(&self) -> Vec<CellReport> {
        let stands_for = self.stands_for();
        let outcome = |index: usize, cell: &Cell<'_>| match &cell.state {
            State::Inexpressible(reason) => Outcome::NotExpressible(reason.clone()),
            State::Refused(reason) => Outcome::Refused(reason.clone()),
            State::Failed(error) => Outcome::Failed(error.clone()),
            State::New(_) => unreachable!("a plan without jobs leaves no new cell"),
            State::Compiled(Compiled { at, took, predicted, .. }) => {
                let by = stands_for[index].expect("a compiled cell has one that stands for it");
                match at {
                    At::Release(Stored { artifact, layer }) if by == index => Outcome::Shipped {
                        size_bytes: artifact.size_bytes,
                        stored_bytes: layer.blob.size_bytes,
                        took: *took,
                    },
                    _ => Outcome::ServedBy {
                        target: self.cells[by].profile.name.clone(),
                        took: *took,
                        predicted: *predicted,
                    },
                }
            }
        };
        let report = |(index, cell): (usize, &Cell<'_>)| CellReport {
            module: self.release.modules[cell.module].name.clone(),
            target: cell.profile.name.clone(),
            outcome: outcome(index, cell),
        };
        self.cells.iter().enumerate().map(report).collect()
    }
}
