//! Progress while jobs run. In: numbers and names of jobs. Out: bars on a terminal, lines in a log, a page of timings. Never
//! here: a result.

use crate::timings::Timings;
use isomer_terminal::JobProgress;

/// The progress of one round of jobs.
pub(crate) struct Progress<'a> {
    shown: JobProgress,
    timings: Option<&'a Timings>,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(jobs: usize, verb: &'static str, timings: Option<&'a Timings>) -> Progress<'a> {
        Progress { shown: JobProgress::new(jobs, verb), timings }
    }

    pub(crate) fn started(&mut self, job: usize, name: &str) {
        self.timings.iter().for_each(|timings| timings.started(job, name));
        self.shown.started(job, name);
    }

    pub(crate) fn finished(&mut self, job: usize, failed: bool) {
        self.timings.iter().for_each(|timings| timings.finished(job, failed));
        self.shown.finished(job);
    }
}
