//! An instance's alarm. In: exchanges that were cancelled, and the clock. Out: the instance's task, woken. Never here: whether
//! the instance is to end.

use futures_util::task::AtomicWaker;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;

/// Wakes the task that drives an instance because the instance may have to end. That task is polled several times for each
/// request, and looks at its exchanges only after an alarm.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    waker: AtomicWaker,
    rung: AtomicBool,
}

impl Alarm {
    pub(super) fn ring(&self) {
        self.rung.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Wakes this task from now on.
    pub(super) fn register(&self, context: &Context<'_>) {
        self.waker.register(context.waker());
    }

    /// Whether it has rung since the last call.
    pub(super) fn take(&self) -> bool {
        self.rung.load(Ordering::Acquire) && self.rung.swap(false, Ordering::AcqRel)
    }
}
