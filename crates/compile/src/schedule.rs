//! In: independent pieces of work. Out: their results, as they finish, on the caller's thread; and how many threads
//! each may use.
//!
//! wasmtime compiles a module's functions in parallel but lays the artifact out on one thread. With as many jobs at
//! once as there are cores, each on one thread, no core waits for that; only when fewer jobs are left than cores does
//! a job get several threads: its share of the work that is left.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

/// Stack for a thread that validates or generates code: deep expressions need more than the default.
pub(crate) const STACK_SIZE_BYTES: usize = 64 << 20;

/// What happened to a piece of work, by its index.
pub enum Event<T> {
    /// It started.
    Started(usize),
    /// It ended.
    Finished(usize, T),
}

/// How many jobs run at once by default: one for each core.
pub fn default_parallelism() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Sets up the threads of this process, which analyse. Called once.
///
/// # Errors
/// The system gives this process no more threads.
pub fn prepare(parallelism: NonZeroUsize) -> Result<(), rayon::ThreadPoolBuildError> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(parallelism.get()).stack_size(STACK_SIZE_BYTES);
    pool.thread_name(|index| format!("isomer-analysis-{index}")).build_global()
}

/// How many threads the job at `index` may use when jobs of these sizes run in this order, `parallelism` at once: its
/// share of what is left when it begins. What runs by then counts half.
pub fn threads_of(sizes: &[usize], index: usize, parallelism: NonZeroUsize) -> usize {
    let running = &sizes[index.saturating_sub(parallelism.get() - 1)..index];
    let twice_left = 2 * sizes[index..].iter().sum::<usize>() + running.iter().sum::<usize>();
    let share = (2 * sizes[index] * parallelism.get()).div_ceil(twice_left.max(1));
    share.clamp(1, parallelism.get())
}

/// Calls `work` for each of `0..count`, started in that order, on `parallelism` threads. Once `stop` is set, also by the
/// work itself, nothing more starts, and running work is waited for.
pub fn run_jobs<T: Send>(
    count: usize,
    parallelism: NonZeroUsize,
    stop: &AtomicBool,
    work: impl Fn(usize) -> T + Sync,
    on_event: impl FnMut(Event<T>),
) {
    let next = AtomicUsize::new(0);
    let (sender, events) = mpsc::channel();
    thread::scope(|scope| {
        for index in 0..parallelism.get().min(count) {
            let (sender, next, work) = (sender.clone(), &next, &work);
            let worker = move || {
                while !stop.load(Ordering::Relaxed) {
                    let job = next.fetch_add(1, Ordering::Relaxed);
                    if job >= count || sender.send(Event::Started(job)).is_err() {
                        return;
                    }
                    if sender.send(Event::Finished(job, work(job))).is_err() {
                        return;
                    }
                }
            };
            let spawned = thread::Builder::new().name(format!("isomer-job-{index}")).spawn_scoped(scope, worker);
            // Fewer threads do the same work; at least one is needed.
            assert!(spawned.is_ok() || index > 0, "the system gives this process no thread");
            if spawned.is_err() {
                break;
            }
        }
        drop(sender);
        events.into_iter().for_each(on_event);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_get_the_threads_that_would_be_idle() {
        let cores = |count| NonZeroUsize::new(count).unwrap();
        let threads = |sizes: &[usize], count| -> Vec<usize> {
            (0..sizes.len()).map(|index| threads_of(sizes, index, cores(count))).collect()
        };
        assert_eq!(threads(&[7], 8), [8], "alone");
        assert_eq!(threads(&[0], 8), [1], "an empty module");
        assert_eq!(threads(&[5, 5, 5, 5], 2), [1, 1, 1, 2], "the last one");
        assert_eq!(threads(&[100, 1, 1, 1], 2), [2, 1, 1, 2], "one that outweighs the rest");
        assert_eq!(threads(&[9, 9, 9], 1), [1, 1, 1], "what one core has to give");
        assert!(threads(&[5; 64], 64).iter().sum::<usize>() < 128, "one thread a core, more or less");
    }

    #[test]
    fn nothing_starts_after_a_stop() {
        let (stop, mut begun, mut ended) = (AtomicBool::new(false), 0, 0);
        let work = |index| stop.store(index == 2, Ordering::Relaxed);
        run_jobs(100, NonZeroUsize::MIN, &stop, work, |event| match event {
            Event::Started(_) => begun += 1,
            Event::Finished(..) => ended += 1,
        });
        assert_eq!((begun, ended), (3, 3));
    }
}
