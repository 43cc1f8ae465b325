//! What a server is told from outside, by any thread. In: that it is to end, or to read its settings again. Out: a phase that is
//! waited for, and a wake-up. Never here: what the server does about it.

use super::notices::Wake;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use tokio::sync::watch;

/// Tells a server to end, or to read its settings again, from any thread.
#[derive(Clone, Debug)]
pub struct Control {
    phase: Arc<watch::Sender<Phase>>,
    wake: Sender<Wake>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Serving,
    Draining,
    Ended,
}

impl Control {
    /// Of a server that serves; `wake` wakes what reads the settings.
    pub(super) fn new(wake: Sender<Wake>) -> Control {
        Control { phase: Arc::new(watch::channel(Phase::Serving).0), wake }
    }

    /// Accepts no more connections, answers the requests that there are, and ends.
    pub fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Reads the settings again, and serves what they say if all of it can be.
    pub fn reload(&self) {
        // A server that has ended reads nothing.
        let _ = self.wake.send(Wake::Reload);
    }

    /// Ends at once.
    pub fn end(&self) {
        self.advance(Phase::Ended);
    }

    /// Whether it was told to end.
    pub fn is_ending(&self) -> bool {
        self.has_reached(Phase::Draining)
    }

    /// Wakes what reads the settings.
    pub(super) fn waker(&self) -> Sender<Wake> {
        self.wake.clone()
    }

    fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|phase| std::mem::replace(phase, to.max(*phase)) != *phase);
    }

    /// Whether it is at least in this phase.
    pub(super) fn has_reached(&self, wanted: Phase) -> bool {
        *self.phase.borrow() >= wanted
    }

    /// Waits until it is at least in this phase.
    pub(super) async fn reached(&self, wanted: Phase) {
        // The sender is this value's own.
        let _ = self.phase.subscribe().wait_for(|phase| *phase >= wanted).await;
    }
}
