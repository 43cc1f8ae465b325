//! Guests that nothing can interrupt. In: the instances. Out: those that were to end and go on, each reported once. A guest
//! whose form has no epochs cannot be stopped while its code runs, and holds a thread of the executor for as long.
//! Never here: a task of that executor.

use super::clock::Clock;
use super::time::now_ms;
use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// How long an instance may take to end before it counts as stuck. One with epochs ends at the next.
const PATIENCE: Duration = Duration::from_secs(2);
const INTERVAL: Duration = Duration::from_millis(500);

/// How many guests are stuck now.
#[derive(Clone, Debug, Default)]
pub(super) struct Stuck(Arc<AtomicUsize>);

impl Stuck {
    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Starts the thread, which ends with the last other owner of `clock`. `found` is called after each report.
pub(super) fn start(clock: &Arc<Clock>, found: impl Fn() + Send + 'static) -> io::Result<Stuck> {
    let stuck = Stuck::default();
    let (weak, count) = (Arc::downgrade(clock), stuck.clone());
    thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
        let mut reported = HashSet::new();
        loop {
            thread::sleep(INTERVAL);
            let Some(clock) = weak.upgrade() else { return };
            let now_ms = now_ms();
            let mut stuck = HashSet::new();
            for instance in clock.instances() {
                let Some(overdue) = instance.overdue(now_ms).filter(|overdue| *overdue > PATIENCE) else { continue };
                stuck.insert(instance.id);
                if reported.insert(instance.id) {
                    tracing::error!(
                        route = &*instance.route,
                        instance = instance.id,
                        "a guest does not end: its code runs for {} ms beyond its limits and cannot be interrupted; compile \
                         it for a profile with `epoch-interruption = true`",
                        overdue.as_millis()
                    );
                    found();
                }
            }
            reported.retain(|id| stuck.contains(id));
            count.0.store(stuck.len(), Ordering::Relaxed);
        }
    })?;
    Ok(stuck)
}
