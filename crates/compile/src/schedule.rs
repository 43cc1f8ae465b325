//! In: independent pieces of work. Out: their results, as they finish, on the caller's thread.
//!
//! wasmtime compiles a module's functions in parallel on rayon's global pool but lays the artifact out on one thread,
//! so some jobs run at once: the one's serial part fills the gaps in the other's. Jobs run outside the pool. Inside,
//! a worker that waits for its functions would take up another whole job, and jobs would nest without bound.

use crate::codegen::THREAD_NAME;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

/// Stack for a thread that generates code: recursive lowering of deep expressions needs more than the default.
const STACK_SIZE_BYTES: usize = 64 << 20;

/// What happened to a piece of work, by its place in the list.
pub enum Event<T> {
    /// It began.
    Started(usize),
    /// It ended.
    Finished(usize, T),
}

/// How many jobs run at once unless somebody says otherwise: one a core.
pub fn default_parallelism() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Sets the process up to generate code: the pool's threads, and panics that stay with their job. Called once.
///
/// # Errors
/// The system gives this process no more threads.
pub fn prepare(parallelism: NonZeroUsize) -> Result<(), rayon::ThreadPoolBuildError> {
    crate::codegen::catch_panics();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(parallelism.get())
        .stack_size(STACK_SIZE_BYTES)
        .thread_name(|index| format!("{THREAD_NAME}-pool-{index}"));
    pool.build_global()
}

/// Does `work` for each of `0..count`, in that order of beginning, on `parallelism` threads.
pub fn run_jobs<T: Send>(
    count: usize,
    parallelism: NonZeroUsize,
    work: impl Fn(usize) -> T + Sync,
    mut on_event: impl FnMut(Event<T>),
) {
    let next = AtomicUsize::new(0);
    let (sender, events) = mpsc::channel();
    thread::scope(|scope| {
        for index in 0..parallelism.get().min(count) {
            let (sender, next, work) = (sender.clone(), &next, &work);
            let worker = move || loop {
                let job = next.fetch_add(1, Ordering::Relaxed);
                if job >= count || sender.send(Event::Started(job)).is_err() {
                    return;
                }
                if sender.send(Event::Finished(job, work(job))).is_err() {
                    return;
                }
            };
            let builder = thread::Builder::new().name(format!("{THREAD_NAME}-{index}")).stack_size(STACK_SIZE_BYTES);
            // Fewer threads do the same work; without a single one there is no way on.
            let spawned = builder.spawn_scoped(scope, worker);
            assert!(spawned.is_ok() || index > 0, "the system gives this process no thread");
            if spawned.is_err() {
                break;
            }
        }
        drop(sender);
        events.into_iter().for_each(&mut on_event);
    });
}
