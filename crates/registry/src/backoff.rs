//! In: how one thing failed so far. Out: how long to wait before the next attempt, or none. Never here: a clock, a
//! request.
//!
//! The remote execution client retries in its own way: its attempts have deadlines of a call, these have progress, since
//! a blob is resumed from where it broke off.

use crate::Retry;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use std::time::Duration;

/// The pauses between the attempts at one thing.
pub(crate) struct Backoff {
    retry: Retry,
    /// Those that are left since it last got further.
    pauses: ExponentialBackoff,
    attempts: u32,
    paused: Duration,
}

impl Backoff {
    pub(crate) fn new(retry: Retry) -> Backoff {
        Backoff { pauses: pauses(&retry), retry, attempts: 0, paused: Duration::ZERO }
    }

    /// How often it was tried.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// An attempt failed, and the registry may have requested a pause: how long to wait, or none to give up.
    pub(crate) fn failed(&mut self, got_further: bool, retry_after: Option<Duration>) -> Option<Duration> {
        self.attempts = self.attempts.saturating_add(1);
        if got_further {
            self.pauses = pauses(&self.retry);
        }
        let pause = self.pauses.next()?.max(retry_after.unwrap_or_default());
        self.paused += pause;
        (self.paused <= self.retry.pauses_max).then_some(pause)
    }
}

/// Each twice the last, between half of it and all of it by chance, so that many servers which failed at once do not
/// retry at once. backon adds up to as much again to each.
fn pauses(retry: &Retry) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(retry.pause_first.min(retry.pause_max) / 2)
        .with_max_delay(retry.pause_max / 2)
        .with_max_times(retry.tries_max.saturating_sub(1) as usize)
        .with_jitter()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Retry = Retry {
        tries_max: 4,
        pause_first: Duration::from_millis(100),
        pause_max: Duration::from_millis(300),
        pauses_max: Duration::from_secs(10),
    };

    #[test]
    fn pauses_grow_up_to_their_maximum_and_end() {
        let mut backoff = Backoff::new(RETRY);
        for full in [100, 200, 300] {
            let pause = backoff.failed(false, None).expect("tried again").as_millis();
            assert!((full / 2..=full).contains(&pause), "{pause}");
        }
        assert_eq!(backoff.failed(false, None), None);
        assert_eq!(backoff.attempts(), 4);
    }

    #[test]
    fn progress_is_retried_until_the_pauses_are_used_up() {
        let mut backoff = Backoff::new(RETRY);
        let pauses: Duration = std::iter::from_fn(|| backoff.failed(true, None)).sum();
        assert!(backoff.attempts() > 90 && pauses <= RETRY.pauses_max, "{pauses:?}");
    }

    #[test]
    fn a_registry_may_request_a_longer_pause_up_to_the_limit() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(Backoff::new(RETRY).failed(false, seconds(7)), seconds(7));
        assert_eq!(Backoff::new(RETRY).failed(false, seconds(11)), None);
    }
}
