//! A guest's deadline. In: how long it may run, and its store. Out: a trap in code that was compiled with
//! `epoch-interruption`; else, and where a host function blocks, the caller's own end of the process. Never here: an executor:
//! a guest that executes keeps that from running, so a thread of its own watches.

use super::error::GuestError;
use crate::host::Host;
use crate::limits::LimitHit;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;
use wasmtime::{EngineWeak, Store};

/// What a guest is given to reach a point where it traps, or where the executor sees that its time is over.
const GRACE: Duration = Duration::from_millis(500);

/// Watches until it is dropped.
pub(super) struct Deadline {
    _ended: Sender<()>,
}

impl Deadline {
    /// Begins now.
    pub(super) fn start(
        timeout: Duration,
        store: &mut Store<Host>,
        on_stuck: Option<Box<dyn FnOnce(LimitHit) + Send>>,
    ) -> Result<Deadline, GuestError> {
        let interrupts = store.engine().get_epoch_interruption();
        if interrupts {
            store.set_epoch_deadline(1);
        }
        let engine = store.engine().weak();
        let (ended, has_ended) = channel();
        let watch = move || watch(timeout, &engine, &has_ended, on_stuck);
        std::thread::Builder::new().name("deadline".to_owned()).spawn(watch).map_err(GuestError::Watchdog)?;
        Ok(Deadline { _ended: ended })
    }
}

fn watch(
    timeout: Duration,
    engine: &EngineWeak,
    has_ended: &Receiver<()>,
    on_stuck: Option<Box<dyn FnOnce(LimitHit) + Send>>,
) {
    let is_running = |at_most| has_ended.recv_timeout(at_most) == Err(RecvTimeoutError::Timeout);
    if !is_running(timeout) {
        return;
    }
    if let Some(engine) = engine.upgrade() {
        engine.increment_epoch();
    }
    if is_running(GRACE)
        && let Some(on_stuck) = on_stuck
    {
        on_stuck(LimitHit::timeout(timeout));
    }
}
