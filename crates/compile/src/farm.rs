//! Where jobs are done. In: a [`Job`]. Out: the bytes of its artifact, or one [`JobFailure`].
//!
//! The [`Pool`] (`pool`) keeps worker processes, this very program called as `isomer worker` (`worker`), and speaks to
//! them in frames (`protocol`). What a job can do to its process, it does to a process that does nothing else: the pool
//! says what became of it (`failure`) and starts another. Whoever brings artifacts from elsewhere is an [`Executor`]
//! too (`remote`), with this machine beside it (`bounded`); what they bring is read back and compared with the profile's promise in any case. [`Farm::run`] keeps one busy.

mod bounded;
mod failure;
mod pool;
mod protocol;
mod queue;
mod remote;
mod worker;

pub use bounded::Bounded;
pub use failure::JobFailure;
pub use pool::{Limits, Pool};
pub use remote::{OnTrouble, RemoteFarm, RemoteSetup};
pub use worker::{do_one, serve};

use crate::Job;
use crate::codegen::{Compiled, read_back};
use crate::schedule::{Event, run_jobs, threads_of};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};

/// Does jobs, some at once, each on the thread that asks for it.
pub trait Executor: Sync {
    /// The artifact of `job`, made with at most `threads` threads where that is for the caller to say.
    ///
    /// # Errors
    /// When this job can have no artifact; the next one may.
    fn execute(&self, job: &Job<'_>, threads: usize) -> Result<Done, JobFailure>;
}

/// A job that was done.
pub struct Done {
    /// Its artifact, which nobody has looked at.
    pub artifact: Vec<u8>,
    /// Whether it was done before, by somebody else.
    pub found: bool,
}

/// An executor, and how it is made use of.
pub struct Farm<'a> {
    /// Who does the jobs.
    pub executor: &'a dyn Executor,
    /// How many at once.
    pub parallelism: NonZeroUsize,
    /// Whether no job begins any more once one has failed.
    pub fail_fast: bool,
}

impl Farm<'_> {
    /// Does `jobs`, beginning them in this order, and hands each artifact to `keep`, on the thread that waited for it.
    /// A job that never began has no [`Event::Started`], and its failure says why.
    pub fn run<T: Send>(
        &self,
        jobs: &[Job<'_>],
        keep: impl Fn(usize, Compiled) -> T + Sync,
        mut on_event: impl FnMut(Event<Result<T, JobFailure>>),
    ) {
        let sizes: Vec<_> = jobs.iter().map(|job| job.input.wasm.len()).collect();
        let stop = AtomicBool::new(false);
        let work = |index: usize| {
            let job = &jobs[index];
            let done = self.executor.execute(job, threads_of(&sizes, index, self.parallelism));
            let read = |Done { artifact, found }| Ok(Compiled { found, ..read_back(job, artifact)? });
            let compiled = done.and_then(read);
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
