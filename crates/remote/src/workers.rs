//! In: which of our actions workers have. Out: since when they have had none. An action in the queue of a farm that works
//! for us is not lost, however long it waits: others of ours are before it.

use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;

/// Shared by all actions of one remote.
#[derive(Clone, Default)]
pub(crate) struct Workers(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    busy: usize,
    /// When the last one ended.
    ended: Option<Instant>,
}

/// Says that a worker has an action, until it is dropped.
pub(crate) struct Busy(Workers);

impl Workers {
    /// Counts one.
    pub(crate) fn busy(&self) -> Busy {
        self.with(|state| state.busy += 1);
        Busy(self.clone())
    }

    /// `since`, or the later moment at which the last worker ended an action of ours: now, where one is at it.
    pub(crate) fn idle_since(&self, since: Instant) -> Instant {
        self.with(|state| {
            let last = if state.busy > 0 { Some(Instant::now()) } else { state.ended };
            last.map_or(since, |last| last.max(since))
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.with(|state| {
            state.busy -= 1;
            state.ended = Some(Instant::now());
        });
    }
}
