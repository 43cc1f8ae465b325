//! In: an executor, and how many jobs it can run at once. Out: one that any number of threads may call at once. Never here:
//! a refusal. The threads beyond the bound wait.

use super::{Executor, JobFailure};
use crate::Job;
use crate::codegen::Compiled;
use crate::schedule::default_parallelism;
use std::sync::{Condvar, Mutex, PoisonError};

/// An executor that never runs more than so many jobs at once.
pub struct Bounded<E> {
    executor: E,
    most: usize,
    free: Mutex<usize>,
    freed: Condvar,
}

impl<E: Executor> Bounded<E> {
    pub(super) fn new(executor: E, most: usize) -> Bounded<E> {
        Bounded { executor, most, free: most.into(), freed: Condvar::new() }
    }

    /// As many jobs at once as this machine has cores, for a local executor that replaces a farm, which has more.
    pub fn by_cores(executor: E) -> Bounded<E> {
        Bounded::new(executor, default_parallelism().get())
    }
}

impl<E: Executor> Executor for Bounded<E> {
    fn execute(&self, job: &Job<'_>, threads: usize) -> Result<Compiled, JobFailure> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        *self.freed.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner) -= 1;
        let compiled = self.executor.execute(job, threads.min(self.most));
        *self.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.freed.notify_one();
        compiled
    }
}
