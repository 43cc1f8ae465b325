//! In: how one thing failed so far. Out: how long to wait before it is tried again, or that it is not. Never here: a
//! clock, a request.

use crate::Retry;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The pauses between the attempts at one thing.
pub(crate) struct Backoff {
    retry: Retry,
    /// Attempts since it last got further.
    tries: u32,
    attempts: u32,
    paused: Duration,
}

impl Backoff {
    pub(crate) fn new(retry: Retry) -> Backoff {
        Backoff { retry, tries: 0, attempts: 0, paused: Duration::ZERO }
    }

    /// How often it was tried.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// An attempt failed, and the registry may have said when to come again: how long to wait, or none to give up.
    pub(crate) fn failed(&mut self, got_further: bool, retry_after: Option<Duration>) -> Option<Duration> {
        self.attempts = self.attempts.saturating_add(1);
        self.tries = if got_further { 1 } else { self.tries + 1 };
        if self.tries >= self.retry.tries_max {
            return None;
        }
        let doubled = self.retry.pause_first.saturating_mul(1 << (self.tries - 1).min(20));
        let pause = jittered(doubled.min(self.retry.pause_max)).max(retry_after.unwrap_or_default());
        self.paused += pause;
        (self.paused <= self.retry.pauses_max).then_some(pause)
    }
}

/// Between half of `pause` and all of it: many servers that failed at once do not come again at once.
fn jittered(pause: Duration) -> Duration {
    // The standard library's hasher is seeded by the operating system, each time anew.
    let share = RandomState::new().hash_one(()) as f64 / u64::MAX as f64;
    pause.mul_f64(0.5 + 0.5 * share)
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
    fn what_gets_further_is_tried_on_until_the_pauses_are_used_up() {
        let mut backoff = Backoff::new(RETRY);
        let pauses: Duration = std::iter::from_fn(|| backoff.failed(true, None)).sum();
        assert!(backoff.attempts() > 90 && pauses <= RETRY.pauses_max, "{pauses:?}");
    }

    #[test]
    fn a_registry_may_ask_for_more_time_but_not_for_any() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(Backoff::new(RETRY).failed(false, seconds(7)), seconds(7));
        assert_eq!(Backoff::new(RETRY).failed(false, seconds(11)), None);
    }
}
