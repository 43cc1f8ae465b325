//! How many requests are answered at once, or instances made. In: a request. Out: a [`Permit`], at once or after its turn; or
//! that it is refused. Never here: a queue without a bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Admits so many requests at once, and lets so many wait.
#[derive(Debug)]
pub(super) struct Admission {
    running: Arc<Semaphore>,
    running_max: usize,
    waiting: AtomicUsize,
    waiting_max: usize,
    waiting_time: Duration,
}

/// One admitted request; the next is admitted when this is dropped.
#[derive(Debug)]
pub(super) struct Permit(#[allow(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// Why a request is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// As many wait as may.
    Full,
    /// Its turn did not come in time.
    Waited,
}

impl Refused {
    /// Its name in metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Refused::Full => "waiting",
            Refused::Waited => "waiting-time",
        }
    }
}

impl Admission {
    pub(super) fn new(running_max: usize, waiting_max: usize, waiting_time: Duration) -> Admission {
        let running_max = running_max.clamp(1, Semaphore::MAX_PERMITS);
        let running = Arc::new(Semaphore::new(running_max));
        Admission { running, running_max, waiting: AtomicUsize::new(0), waiting_max, waiting_time }
    }

    /// How many are being answered.
    pub(super) fn running(&self) -> usize {
        self.running_max - self.running.available_permits().min(self.running_max)
    }

    /// How many may be answered at once.
    pub(super) fn running_limit(&self) -> usize {
        self.running_max
    }

    /// How many may wait.
    pub(super) fn waiting_limit(&self) -> usize {
        self.waiting_max
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Admits a request when its turn comes.
    pub(super) async fn admit(&self) -> Result<Permit, Refused> {
        if let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() {
            return Ok(Permit(permit));
        }
        let _turn = self.wait_in_line().ok_or(Refused::Full)?;
        let acquired = tokio::time::timeout(self.waiting_time, Arc::clone(&self.running).acquire_owned()).await;
        // The semaphore is never closed.
        acquired.ok().and_then(Result::ok).map(Permit).ok_or(Refused::Waited)
    }

    fn wait_in_line(&self) -> Option<Waiting<'_>> {
        let one_more = |waiting| (waiting < self.waiting_max).then_some(waiting + 1);
        self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Waiting(&self.waiting))
    }
}

/// One that waits, until its turn comes or its client is gone.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiting_is_bounded_in_number_and_time() {
        let admission = Admission::new(1, 1, Duration::from_millis(20));
        let first = admission.admit().await.expect("the first is admitted");
        {
            let second = admission.admit();
            tokio::pin!(second);
            assert!(futures_util::poll!(second.as_mut()).is_pending());
            assert_eq!((admission.running(), admission.waiting()), (1, 1));
            assert_eq!(admission.admit().await.expect_err("no third may wait"), Refused::Full);
            assert_eq!(second.await.expect_err("its turn does not come"), Refused::Waited);
        }
        assert_eq!(admission.waiting(), 0);
        {
            let gone = admission.admit();
            tokio::pin!(gone);
            assert!(futures_util::poll!(gone.as_mut()).is_pending());
        }
        assert_eq!(admission.waiting(), 0, "one that gave up does not count");
        drop(first);
        assert!(admission.admit().await.is_ok());
    }
}
