//! One call of `compile` or `release` while it works: its executor, cache, progress and timings, and whether it was
//! interrupted. In: a build. Out: its result, with warnings and progress shown meanwhile.

use crate::progress::Progress;
use crate::timings::{Timings, Totals};
use crate::warning::{warn, warn_of_cache};
use isomer_compile::Step;
use isomer_compile::cache::{Cache, Functions, SIZE_MAX_DEFAULT};
use isomer_compile::executor::{Executor, Limits, Pool, Runner, WorkerProgram};
use isomer_compile::maker::Distrust;
use isomer_compile::matrix::{CellReport, Finished, State};
use isomer_compile::records::{Record, Records};
use isomer_compile::reuse::Reuse;
use isomer_contract::Digest;
use isomer_layout::write_atomically;
use isomer_terminal::{Failure, note};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

/// The signal that interrupted the work, or 0.
static INTERRUPTED: AtomicU8 = AtomicU8::new(0);

/// The signal that interrupted the work, if one did.
pub(crate) fn interruption() -> Option<u8> {
    Some(INTERRUPTED.load(Ordering::Relaxed)).filter(|signal| *signal != 0)
}

/// The signals that ask a process to stop.
pub(super) struct Signals {
    /// Set by the first one.
    pub(super) stop: Arc<AtomicBool>,
    /// Its number.
    number: Arc<AtomicUsize>,
}

impl Signals {
    /// Catches them: the first asks to stop, the second ends the process at once.
    pub(super) fn catch() -> Result<Signals, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let number = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let value = usize::try_from(signal).expect("signals are positive");
            flag::register_conditional_shutdown(signal, 128 + signal, stop.clone())
                .and_then(|_| flag::register_usize(signal, number.clone(), value))
                .and_then(|_| flag::register(signal, stop.clone()))
                .map_err(|error| Failure::because("cannot prepare for interruptions", &error))?;
        }
        Ok(Signals { stop, number })
    }
}

/// What a call works with.
pub(super) struct Session {
    pub(super) program: WorkerProgram,
    pub(super) executor: Box<dyn Executor>,
    pub(super) limits: Limits,
    pub(super) parallelism: NonZeroUsize,
    pub(super) fail_fast: bool,
    pub(super) signals: Signals,
    pub(super) records: Option<Records>,
    pub(super) cache: Option<Cache>,
    pub(super) distrust: Distrust,
    pub(super) functions: Option<Arc<Functions>>,
    pub(super) timings: Option<(PathBuf, Timings)>,
}

impl Session {
    pub(super) fn runner(&self) -> Runner<'_> {
        Runner { executor: &*self.executor, parallelism: self.parallelism, fail_fast: self.fail_fast }
    }

    /// Another pool, with another number of workers, for a second build that must be the same.
    pub(super) fn other_pool(&self) -> (Pool, NonZeroUsize) {
        let parallelism = NonZeroUsize::new(if self.parallelism.get() == 1 { 2 } else { 1 });
        let pool = Pool::new(self.program.clone(), self.limits, self.signals.stop.clone());
        (pool, parallelism.expect("one or two"))
    }

    /// What earlier work is taken over.
    pub(super) fn reuse(&self) -> Reuse<'_> {
        Reuse { cache: self.cache.as_ref(), records: self.records.as_ref(), distrust: &self.distrust }
    }

    /// Calls `work` and shows its progress.
    pub(super) fn watch<T>(&self, verb: &'static str, work: impl FnOnce(&mut dyn FnMut(Step<'_>)) -> T) -> T {
        let timings = self.timings.as_ref().map(|(_, timings)| timings);
        let mut progress: Option<Progress<'_>> = None;
        work(&mut |step| match step {
            Step::Planned(jobs) => progress = Some(Progress::new(jobs, verb, timings)),
            Step::Started(job, module, target) => {
                progress.iter_mut().for_each(|progress| progress.started(job, &format!("{module} {target}")));
            }
            Step::Finished(job, failed) => progress.iter_mut().for_each(|progress| progress.finished(job, failed)),
            Step::Damaged(what) => warn(&what, "it is compiled again"),
            Step::CacheTrouble(error) => warn_of_cache(&error),
            Step::NotRecorded(error) => warn(&error, "the next release compiles again what the cache does not hold"),
            _ => {}
        })
    }

    /// Records who made modules that were released, by the digests of their indexes.
    pub(super) fn record(&self, modules: &BTreeMap<Digest, Record>) {
        let Some(records) = &self.records else { return };
        if let Err(error) = modules.iter().try_for_each(|(module, record)| records.put(*module, record.clone())) {
            warn(&error, "the next release compiles again what the cache does not hold");
        }
    }

    /// Writes the page of timings, if one is wanted. It may fail alone: the rest is done by then.
    pub(super) fn write_timings(&self, title: &str, cells: &[CellReport]) -> Result<(), Failure> {
        let Some((path, timings)) = &self.timings else { return Ok(()) };
        let page = timings.page(title, totals(cells));
        write_atomically(path, |file| file.write_all(page.as_bytes())).map_err(|error| {
            let failure = Failure::because("cannot write the page of timings; everything else succeeded", &error);
            failure.hint("name another file with --timings".to_owned())
        })
    }

    /// Ends the work: brings the cache below its limit.
    ///
    /// # Errors
    /// When a signal interrupted the work.
    pub(super) fn finish(&self) -> Result<(), Failure> {
        if let Some(Err(error)) = self.cache.as_ref().map(|cache| cache.collect_if_grown(SIZE_MAX_DEFAULT)) {
            warn_of_cache(&error);
        }
        if let Some(count @ 1..) = self.cache.as_ref().map(Cache::of_other_keys) {
            let results = if count == 1 { "1 result" } else { &format!("{count} results") };
            warn(&format!("the cache holds {results} that another key sealed"), "compiled again, and sealed anew");
        }
        if let Some((all @ 1.., hits)) = self.functions.as_ref().map(|functions| functions.counts()) {
            note(&format!("{hits} of {all} functions were compiled before"));
        }
        if !self.signals.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let signal = u8::try_from(self.signals.number.load(Ordering::Relaxed)).unwrap_or_default();
        INTERRUPTED.store(signal, Ordering::Relaxed);
        let failure = Failure::new("interrupted; nothing half-written is left");
        let kept =
            self.cache.as_ref().map(|_| "finished jobs are in the cache: run the command again to go on".to_owned());
        Err(failure.hint(kept))
    }
}

fn totals(cells: &[CellReport]) -> Totals {
    let mut totals = Totals::default();
    for cell in cells {
        let count = match &cell.state {
            State::Finished(finished) if finished.took().is_some() => &mut totals.compiled,
            State::Finished(Finished { .. }) => &mut totals.reused,
            State::NotExpressible(_) => &mut totals.not_expressible,
            _ => &mut totals.failed,
        };
        *count += 1;
    }
    totals
}
