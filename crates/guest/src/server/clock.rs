//! The one thread that keeps the server's time. In: every exchange and instance, and the engines whose code checks epochs.
//! Out: exchanges cancelled at their limits, instances woken to end, epochs, counts of warnings in the log. Never here:
//! anything that a guest can hold up: it does not run on the executor of the guests.

use super::exchange::{Cause, Exchange};
use super::instance::Instance;
use super::time::now_ms;
use crate::warnings::Warnings;
use slab::Slab;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};
use wasmtime::EngineWeak;

/// How often it looks, which is also how long a guest's code runs between two checks of its epoch.
const TICK: Duration = Duration::from_millis(20);

/// Exchanges are kept in as many lists, so that requests on different cores rarely wait for each other.
const SHARDS: usize = 16;

/// All that has a time limit.
#[derive(Default)]
pub(super) struct Clock {
    exchanges: [Mutex<Slab<Arc<Exchange>>>; SHARDS],
    instances: Mutex<HashMap<u64, Arc<Instance>>>,
    engines: Mutex<Vec<EngineWeak>>,
    warnings: Mutex<Vec<Weak<Warnings>>>,
    stopped: AtomicBool,
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("exchanges", &self.exchange_count()).finish_non_exhaustive()
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Clock {
    /// Starts the thread, which ends some time after [`Clock::stop`].
    pub(super) fn start() -> io::Result<Arc<Clock>> {
        let clock = Arc::new(Clock::default());
        let kept = Arc::clone(&clock);
        thread::Builder::new().name("clock".to_owned()).spawn(move || {
            while !kept.stopped.load(Ordering::Relaxed) {
                thread::sleep(TICK);
                kept.tick(now_ms());
            }
        })?;
        Ok(clock)
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether the server has ended.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn tick(&self, now_ms: u64) {
        for engine in lock(&self.engines).iter().filter_map(EngineWeak::upgrade) {
            engine.increment_epoch();
        }
        // What is woken may take these locks.
        for shard in &self.exchanges {
            let overdue = |exchange: &&Arc<Exchange>| exchange.overdue(now_ms).is_some();
            let overdue: Vec<_> = lock(shard).iter().map(|(_, exchange)| exchange).filter(overdue).cloned().collect();
            overdue.iter().for_each(|exchange| exchange.check(now_ms));
        }
        for instance in self.instances() {
            if instance.should_end(now_ms) {
                instance.alarm.ring();
            }
        }
        let warnings: Vec<_> = lock(&self.warnings).iter().filter_map(Weak::upgrade).collect();
        warnings.iter().for_each(|warnings| warnings.end_second(Instant::now()));
    }

    /// Has it logged in time how many of these warnings were not shown.
    pub(super) fn watch_warnings(&self, of: &Arc<Warnings>) {
        let mut warnings = lock(&self.warnings);
        warnings.retain(|other| other.strong_count() > 0 && !std::ptr::eq(other.as_ptr(), Arc::as_ptr(of)));
        warnings.push(Arc::downgrade(of));
    }

    /// Increments the epoch of this engine, too.
    pub(super) fn tick_engine(&self, engine: &wasmtime::Engine) {
        let mut engines = lock(&self.engines);
        engines.retain(|engine| engine.upgrade().is_some());
        if !engines.iter().filter_map(EngineWeak::upgrade).any(|other| wasmtime::Engine::same(&other, engine)) {
            engines.push(engine.weak());
        }
    }

    /// Watches an exchange until the result is dropped.
    pub(super) fn watch(self: &Arc<Self>, exchange: Arc<Exchange>) -> Watched {
        let shard = exchange.id.number() as usize % SHARDS;
        let index = lock(&self.exchanges[shard]).insert(exchange);
        Watched { clock: Arc::clone(self), shard, index }
    }

    /// Watches an instance until [`Clock::forget`].
    pub(super) fn watch_instance(&self, instance: Arc<Instance>) {
        lock(&self.instances).insert(instance.id, instance);
    }

    /// The instance is no more.
    pub(super) fn forget(&self, instance: &Instance) {
        lock(&self.instances).remove(&instance.id);
    }

    /// Every instance that there is.
    pub(super) fn instances(&self) -> Vec<Arc<Instance>> {
        lock(&self.instances).values().cloned().collect()
    }

    /// Cancels every exchange.
    pub(super) fn cancel_all(&self, cause: Cause) {
        for shard in &self.exchanges {
            let all: Vec<_> = lock(shard).iter().map(|(_, exchange)| Arc::clone(exchange)).collect();
            all.iter().for_each(|exchange| exchange.cancel(cause));
        }
    }

    /// How many exchanges there are.
    pub(super) fn exchange_count(&self) -> usize {
        self.exchanges.iter().map(|shard| lock(shard).len()).sum()
    }
}

/// A watched exchange.
#[derive(Debug)]
pub(super) struct Watched {
    clock: Arc<Clock>,
    shard: usize,
    index: usize,
}

impl Drop for Watched {
    fn drop(&mut self) {
        lock(&self.clock.exchanges[self.shard]).remove(self.index);
    }
}
