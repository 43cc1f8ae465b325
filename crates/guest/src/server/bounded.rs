//! Work that may take for ever: reading a slow disk, code of a component that does not return. In: the work, and a time for it.
//! Out: its result; or that it was given up, and whether it goes on. Never here: a caller that waits for longer.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

/// Work that was given up.
#[derive(Clone, Debug)]
pub struct GivenUp {
    time: Duration,
    /// Owned by the thread that does it.
    thread: Weak<()>,
}

impl GivenUp {
    /// How long it was waited for.
    pub fn time(&self) -> Duration {
        self.time
    }

    /// Whether it has ended meanwhile. Until then it holds a thread, and may hold a core.
    pub fn is_over(&self) -> bool {
        self.thread.strong_count() == 0
    }
}

/// Why there is no result.
#[derive(Debug)]
pub(super) enum NotDone {
    /// It takes too long.
    GivenUp(GivenUp),
    /// It panicked.
    Panicked,
    /// The system has no thread for it.
    NoThread(io::Error),
}

/// Does this work on a thread of its own, which is given up after some time.
pub(super) fn bounded<T: Send + 'static>(
    time: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NotDone> {
    let (done, is_done) = sync_channel(1);
    let running = Arc::new(());
    let thread = Arc::downgrade(&running);
    let work = move || {
        let _running = running;
        // An error means that it was given up.
        let _ = done.send(work());
    };
    thread::Builder::new().name("load".to_owned()).spawn(work).map_err(NotDone::NoThread)?;
    is_done.recv_timeout(time).map_err(|error| match error {
        RecvTimeoutError::Timeout => NotDone::GivenUp(GivenUp { time, thread }),
        RecvTimeoutError::Disconnected => NotDone::Panicked,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_does_not_end_is_given_up_and_known_until_its_end() {
        assert_eq!(bounded(Duration::from_secs(60), || 7).ok(), Some(7));
        let (kept, forever) = sync_channel::<()>(0);
        let given_up = bounded(Duration::from_millis(20), move || {
            let _ = forever.recv();
            7
        });
        let Err(NotDone::GivenUp(given_up)) = given_up else { panic!("{given_up:?}") };
        assert!(!given_up.is_over());
        drop(kept);
        isomer_testing::wait_until("it has ended", || given_up.is_over());
    }
}
