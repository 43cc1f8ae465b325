//! In: cells, each an input for a profile with the file to write. Out: those files, and what became of each cell.

use super::super::farming::{Farming, warn_of_cache};
use crate::progress::Progress;
use crate::timings::Totals;
use isomer_compile::cache::{Cache, CacheError, pack_entry};
use isomer_compile::codegen::{Compiled, check_configurations};
use isomer_compile::express::{Inexpressible, Refused, express};
use isomer_compile::farm::JobFailure;
use isomer_compile::plan::{self, Decision, Known, Place, Plan};
use isomer_compile::schedule::Event;
use isomer_compile::{Analysis, Input, Job};
use isomer_contract::{Digest, Hinted, Profile, Requirements};
use isomer_layout::{WriteError, write_atomically};
use isomer_terminal::{Failure, Failures};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) struct Cell<'a> {
    pub(super) input: &'a Input,
    pub(super) profile: &'a Profile,
    pub(super) output: PathBuf,
}

/// A written artifact.
pub(super) struct Written {
    pub(super) size_bytes: u64,
    pub(super) digest: Digest,
    pub(super) time: Time,
}

/// What an artifact cost.
pub(super) enum Time {
    /// This long.
    Took(Duration),
    /// Nothing: this target's artifact for the same module is the same.
    SameAs(String),
    /// Nothing: the cache had it.
    Cached,
}

/// Why a cell has no artifact.
pub(super) enum Failed {
    Inexpressible(Inexpressible),
    Refused(Refused),
    Job(JobFailure),
    Write(WriteError),
}

impl Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::Inexpressible(reason) => reason.fmt(f),
            Failed::Refused(reason) => reason.fmt(f),
            Failed::Job(error) => error.fmt(f),
            Failed::Write(error) => error.fmt(f),
        }
    }
}

impl Hinted for Failed {
    fn hint(&self) -> Option<String> {
        match self {
            Failed::Inexpressible(reason) => reason.fix.clone(),
            Failed::Refused(reason) => reason.hint(),
            Failed::Job(error) => error.hint(),
            Failed::Write(error) => error.hint(),
        }
    }
}

/// What became of a cell. The cells of one job share the reason why it failed.
pub(super) type Outcome = Result<Written, Arc<Failed>>;

impl Cell<'_> {
    fn job(&self) -> Job<'_> {
        Job { input: self.input, profile: self.profile }
    }

    fn write(&self, artifact: &[u8], time: Time) -> Outcome {
        write_atomically(&self.output, |file| file.write_all(artifact))
            .map_err(|error| Arc::new(Failed::Write(error)))?;
        Ok(Written { size_bytes: artifact.len() as u64, digest: Digest::of(artifact), time })
    }
}

/// What is known of a cell before anything is compiled.
struct Prospect {
    job: Digest,
    requirements: Requirements,
    known: Known,
    outcome: Option<Outcome>,
    trouble: Option<CacheError>,
}

impl Prospect {
    fn of(cell: &Cell<'_>, analysis: &Analysis<'_>, cache: Option<&Cache>) -> Prospect {
        let Cell { input, profile, .. } = cell;
        let requirements = Requirements::of_profile(profile, input.kind);
        let mut prospect = Prospect {
            job: cell.job().digest(),
            requirements,
            known: Known::Nothing(Vec::new()),
            outcome: None,
            trouble: None,
        };
        let hopeless = match express(analysis, profile) {
            Ok(Ok(())) => None,
            Ok(Err(reason)) => Some((Known::NotExpressible, Failed::Inexpressible(reason))),
            Err(reason) => Some((Known::Refused, Failed::Refused(reason))),
        };
        if let Some((known, failed)) = hopeless {
            return Prospect { known, outcome: Some(Err(Arc::new(failed))), ..prospect };
        }
        let find = |cache: &Cache| {
            let Some(entry) = cache.find(prospect.job)? else { return Ok(None) };
            Ok(Some((entry.code, cache.read_artifact(&entry)?)))
        };
        match cache.map(find).transpose() {
            Ok(Some(Some((code, artifact)))) => {
                prospect.known = Known::Code(code, Place::Cache);
                prospect.outcome = Some(cell.write(&artifact, Time::Cached));
            }
            Ok(_) => {}
            Err(error) => prospect.trouble = Some(error),
        }
        prospect
    }
}

/// Writes the file of every cell that can have one, and the page of timings, which may fail alone.
pub(super) fn compile_cells(
    farming: &Farming,
    cells: &[Cell<'_>],
    inputs: &[Input],
) -> Result<(Vec<Outcome>, Result<(), Failure>), Failures> {
    let prepared = farming.prepare()?;
    let cache = prepared.cache();
    let analyses: BTreeMap<_, _> = inputs.iter().map(|input| (input.blob.digest, Analysis::of(&input.wasm))).collect();
    check_configurations(cells.iter().map(|cell| cell.profile))?;
    let prospect = |cell: &Cell<'_>| Prospect::of(cell, &analyses[&cell.input.blob.digest], cache);
    let mut prospects: Vec<_> = cells.par_iter().map(prospect).collect();
    prospects.iter().filter_map(|prospect| prospect.trouble.as_ref()).for_each(warn_of_cache);
    let Plan { cells: decisions, jobs } = &plan_of(cells, &prospects);
    let work: Vec<_> = jobs.iter().map(|cell| cells[*cell].job()).collect();
    // The cells that a job serves, itself first.
    let served = |job: usize| {
        let same = (0..cells.len()).filter(move |cell| decisions[*cell] == Decision::SameJob(jobs[job]));
        std::iter::once(jobs[job]).chain(same).collect::<Vec<_>>()
    };
    let keep = |job: usize, compiled: Compiled| {
        let time = |cell: usize| match cell {
            _ if cell == jobs[job] && compiled.found => Time::Cached,
            _ if cell == jobs[job] => Time::Took(Duration::ZERO),
            _ => Time::SameAs(cells[jobs[job]].profile.name.clone()),
        };
        let written: Vec<_> =
            served(job).into_iter().map(|cell| (cell, cells[cell].write(&compiled.bytes, time(cell)))).collect();
        (written, cache.and_then(|cache| put(cache, &work[job], &compiled).err()))
    };
    let mut progress = Progress::new(jobs.len(), "compiling", prepared.timings());
    let mut begun = vec![Instant::now(); jobs.len()];
    prepared.farm().run(&work, keep, |event| match event {
        Event::Started(job) => {
            begun[job] = Instant::now();
            progress.started(job, format!("{} {}", work[job].input.name, work[job].profile.name));
        }
        Event::Finished(job, Err(failure)) => {
            progress.finished(job, true);
            let failed = Arc::new(Failed::Job(failure));
            served(job).into_iter().for_each(|cell| prospects[cell].outcome = Some(Err(failed.clone())));
        }
        Event::Finished(job, Ok((written, trouble))) => {
            progress.finished(job, false);
            trouble.iter().for_each(warn_of_cache);
            for (cell, mut outcome) in written {
                if let Ok(Written { time: Time::Took(took), .. }) = &mut outcome {
                    *took = begun[job].elapsed();
                }
                prospects[cell].outcome = Some(outcome);
            }
        }
    });
    drop(progress);
    let outcomes: Vec<_> = prospects.into_iter().map(|prospect| prospect.outcome.expect("every job ends")).collect();
    let timings = prepared.write_timings("isomer compile", totals(&outcomes));
    prepared.finish()?;
    Ok((outcomes, timings))
}

fn totals(outcomes: &[Outcome]) -> Totals {
    let mut totals = Totals::default();
    for outcome in outcomes {
        let count = match outcome.as_ref().map_err(Arc::as_ref) {
            Ok(Written { time: Time::Took(_), .. }) => &mut totals.compiled,
            Ok(_) => &mut totals.reused,
            Err(Failed::Inexpressible(_)) => &mut totals.not_expressible,
            Err(_) => &mut totals.failed,
        };
        *count += 1;
    }
    totals
}

fn plan_of(cells: &[Cell<'_>], prospects: &[Prospect]) -> Plan {
    let planned = cells.iter().zip(prospects).enumerate().map(|(index, (cell, prospect))| plan::Cell {
        // Each has a file of its own: none stands for another.
        module: index,
        size_bytes: cell.input.wasm.len(),
        target: &cell.profile.name,
        requirements: &prospect.requirements,
        job: prospect.job,
        known: prospect.known.clone(),
    });
    plan::plan(&planned.collect::<Vec<_>>())
}

fn put(cache: &Cache, job: &Job<'_>, compiled: &Compiled) -> Result<(), CacheError> {
    let (entry, layer) = pack_entry(&compiled.bytes, compiled.artifact.code_digest()).map_err(|source| {
        CacheError::Io { action: "compress an artifact for", path: cache.dir().to_owned(), source }
    })?;
    cache.put(job.digest(), &entry, &layer)?;
    cache.put_profile(&job.profile.effective())
}
