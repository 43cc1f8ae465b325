//! A guest's deadline. In: how long it may run, and its store. Out: a trap in code that was compiled with
//! `epoch-interruption`; else, and where a host function blocks, the caller's own end of the process. Never here: an executor:
//! a guest that executes keeps that from running, so a thread of its own watches.

use super::error::GuestError;
use crate::host::Host;
use crate::limits::LimitHit;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};
use wasmtime::{EngineWeak, Store};

/// What a guest is given to reach a point where it traps, or where the executor sees that its time is over.
const GRACE: Duration = Duration::from_millis(500);

/// What is called when nothing but the end of the process interrupts the guest.
pub(super) type OnStuck = Box<dyn FnOnce(LimitHit) + Send>;

/// Watches until it is dropped.
pub(super) struct Deadline {
    _ended: Sender<()>,
}

/// What is watched.
pub(super) struct Watch {
    /// When the guest's time is over, from now on.
    pub(super) timeout: Option<Duration>,
    /// How often the epoch is incremented until then.
    pub(super) tick: Option<Duration>,
    pub(super) on_stuck: Option<OnStuck>,
}

impl Deadline {
    /// Begins now.
    pub(super) fn start(watch: Watch, store: &mut Store<Host>) -> Result<Deadline, GuestError> {
        if store.engine().get_epoch_interruption() {
            store.set_epoch_deadline(1);
        }
        let engine = store.engine().weak();
        let (ended, has_ended) = channel();
        let body = move || watch.run(&engine, &has_ended);
        std::thread::Builder::new().name("deadline".to_owned()).spawn(body).map_err(GuestError::Watchdog)?;
        Ok(Deadline { _ended: ended })
    }
}

impl Watch {
    fn run(self, engine: &EngineWeak, has_ended: &Receiver<()>) {
        let Watch { timeout, tick, on_stuck } = self;
        let started = Instant::now();
        let is_running = |at_most| has_ended.recv_timeout(at_most) == Err(RecvTimeoutError::Timeout);
        loop {
            let left = timeout.map(|timeout| timeout.saturating_sub(started.elapsed()));
            let Some(wait) = [left, tick].into_iter().flatten().min() else { return };
            if !is_running(wait) {
                return;
            }
            if let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
            }
            if let Some(timeout) = timeout.filter(|timeout| started.elapsed() >= *timeout) {
                if is_running(GRACE)
                    && let Some(on_stuck) = on_stuck
                {
                    on_stuck(LimitHit::timeout(timeout));
                }
                return;
            }
        }
    }
}
