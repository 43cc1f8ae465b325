//! In: when each job started and ended, and how busy the machine was. Out: one self-contained HTML page that shows it. Never
//! here: what was compiled.

mod page;
mod sampler;

use sampler::{Sample, Sampler};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A job that started.
#[derive(Clone, Debug)]
struct Ran {
    name: String,
    begin: Duration,
    /// `None` while it runs, and when its end was never reported.
    end: Option<Duration>,
    failed: bool,
}

/// How many cells there were of each sort.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    /// Compiled now.
    pub(crate) compiled: usize,
    /// Taken from the cache or an earlier release, or equal to another.
    pub(crate) reused: usize,
    /// Left out.
    pub(crate) not_expressible: usize,
    /// Failed.
    pub(crate) failed: usize,
}

/// The record of a build.
pub(crate) struct Timings {
    begun: Instant,
    workers: usize,
    jobs: Mutex<Jobs>,
    sampler: Sampler,
}

#[derive(Default)]
struct Jobs {
    ran: Vec<Ran>,
    /// The index in `ran` of each job that runs, by its number in its round.
    running: BTreeMap<usize, usize>,
}

impl Timings {
    /// Starts the record.
    pub(crate) fn begin(workers: usize) -> Timings {
        Timings { begun: Instant::now(), workers, jobs: Mutex::default(), sampler: Sampler::begin() }
    }

    pub(crate) fn started(&self, job: usize, name: &str) {
        let ran = Ran { name: name.to_owned(), begin: self.begun.elapsed(), end: None, failed: false };
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let index = jobs.ran.len();
        jobs.ran.push(ran);
        jobs.running.insert(job, index);
    }

    pub(crate) fn finished(&self, job: usize, failed: bool) {
        let now = self.begun.elapsed();
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        // One that was not tried never started.
        let Some(index) = jobs.running.remove(&job) else { return };
        jobs.ran[index].end = Some(now);
        jobs.ran[index].failed = failed;
    }

    /// The page.
    pub(crate) fn page(&self, title: &str, totals: Totals) -> String {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let samples: Vec<Sample> = self.sampler.samples();
        page::page(title, self.workers, self.begun.elapsed(), &jobs.ran, &samples, totals)
    }
}
