//! Running jobs. In: a [`Job`]. Out: its checked artifact, or one [`JobFailure`].
//!
//! The [`Pool`] (`pool`) keeps worker processes, started as a [`WorkerProgram`] (`program`, `worker`), and speaks to them
//! in frames (`protocol`). What a job can do to its process, it does to a process that does nothing else: the pool
//! reports how the process ended (`failure`) and starts another. [`RemoteExecutor`] (`remote`) is a farm or a cache that
//! is reached by the Remote Execution API, with a local executor beside it (`bounded`). [`Runner::run`] keeps one busy.

mod bounded;
mod failure;
mod pool;
mod program;
mod protocol;
mod queue;
mod remote;
mod worker;

pub use bounded::Bounded;
pub use failure::JobFailure;
pub use pool::{Limits, Pool};
pub use program::WorkerProgram;
pub use remote::{OnWarning, RemoteExecutor, RemoteSetup, RemoteWarning};
pub use worker::{do_one, serve};

use crate::Job;
use crate::codegen::Compiled;
use crate::schedule::{Event, run_jobs, threads_of};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};

/// Runs jobs, each on the thread that calls it; many threads may call at once.
pub trait Executor: Sync {
    /// The artifact of `job`, read back and compared with what its profile promises. It is compiled with at most
    /// `threads` threads where the executor decides that.
    ///
    /// # Errors
    /// When this job has no artifact; the next one may have.
    ///
    /// # Errors
    /// [`JobFailure`]: why the job has no artifact.
    fn execute(&self, job: &Job<'_>, threads: usize) -> Result<Compiled, JobFailure>;
}

/// An executor, and how it is used.
pub struct Runner<'a> {
    /// What runs the jobs.
    pub executor: &'a dyn Executor,
    /// How many jobs run at once.
    pub parallelism: NonZeroUsize,
    /// Whether no job starts any more once one has failed.
    pub fail_fast: bool,
}

impl Runner<'_> {
    /// Runs `jobs`, starting them in this order, and hands each artifact to `keep`, on the thread that waited for it.
    /// A job that never started has no [`Event::Started`], and its failure says why.
    pub fn run<T: Send>(
        &self,
        jobs: &[Job<'_>],
        keep: impl Fn(usize, Compiled) -> T + Sync,
        mut on_event: impl FnMut(Event<Result<T, JobFailure>>),
    ) {
        let sizes: Vec<_> = jobs.iter().map(|job| job.input.wasm.len()).collect();
        let stop = AtomicBool::new(false);
        let work = |index: usize| {
            let compiled = self.executor.execute(&jobs[index], threads_of(&sizes, index, self.parallelism));
            if compiled.as_ref().is_err_and(|failure| self.fail_fast || failure.ends_all()) {
                stop.store(true, Ordering::Relaxed);
            }
            Ok(keep(index, compiled?))
        };
        let mut ended = vec![false; jobs.len()];
        let mut interrupted = false;
        run_jobs(jobs.len(), self.parallelism, &stop, work, |event| {
            if let Event::Finished(index, result) = &event {
                ended[*index] = true;
                interrupted |= matches!(result, Err(JobFailure::Interrupted));
            }
            on_event(event);
        });
        let failure = if interrupted { JobFailure::Interrupted } else { JobFailure::NotTried };
        for index in (0..jobs.len()).filter(|index| !ended[*index]) {
            on_event(Event::Finished(index, Err(failure.clone())));
        }
    }
}
