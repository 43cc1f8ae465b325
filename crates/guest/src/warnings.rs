//! Warnings that guests cause. In: each of them, of one kind and one route. Out: some of them each second in the log, and how many
//! others there were. Never here: as many lines as a guest likes; a guest that hides what another route's guests do.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Lines a second.
const LINES_MAX: u32 = 10;
const SECOND: Duration = Duration::from_secs(1);

/// Warnings of one kind.
#[derive(Debug)]
pub(crate) struct Warnings {
    route: Option<Arc<str>>,
    /// What several of them are called.
    kind: &'static str,
    shown: Mutex<Shown>,
}

#[derive(Debug, Default)]
struct Shown {
    since: Option<Instant>,
    lines: u32,
    hidden: u64,
}

impl Shown {
    /// How many were not shown, once the second is over in which they were not.
    fn end(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_some_and(|since| now.saturating_duration_since(since) < SECOND) {
            return None;
        }
        self.since = None;
        Some(std::mem::take(&mut self.hidden)).filter(|hidden| *hidden > 0)
    }

    /// Whether one more may be shown now.
    fn take(&mut self, now: Instant) -> bool {
        if self.since.is_none() {
            (self.since, self.lines) = (Some(now), 0);
        }
        let fits = self.lines < LINES_MAX;
        if fits {
            self.lines += 1;
        } else {
            self.hidden += 1;
        }
        fits
    }
}

impl Warnings {
    /// Those that are called `kind`, of this route, if there are routes.
    pub(crate) fn new(route: Option<Arc<str>>, kind: &'static str) -> Warnings {
        Warnings { route, kind, shown: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs this, unless there were as many in this second as are shown.
    pub(crate) fn warn(&self, line: fmt::Arguments<'_>) {
        let now = Instant::now();
        self.end_second(now);
        if self.lock().take(now) {
            tracing::warn!(route = self.route.as_deref(), "{line}");
        }
    }

    /// Logs how many were not shown in the last second, if it is over. To be called every now and then.
    pub(crate) fn end_second(&self, now: Instant) {
        let hidden = self.lock().end(now);
        if let Some(hidden) = hidden {
            self.warn_of_hidden(hidden);
        }
    }

    fn warn_of_hidden(&self, hidden: u64) {
        tracing::warn!(route = self.route.as_deref(), "{hidden} more {} are not shown", self.kind);
    }
}

impl Drop for Warnings {
    fn drop(&mut self) {
        let hidden = self.lock().hidden;
        if hidden > 0 {
            self.warn_of_hidden(hidden);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_shown_each_second_and_the_others_counted() {
        let mut shown = Shown::default();
        let begun = Instant::now();
        let fitting = (0..100).filter(|_| shown.take(begun)).count();
        assert_eq!(fitting, LINES_MAX as usize);
        assert!(shown.end(begun + SECOND / 2).is_none() && !shown.take(begun + SECOND / 2));
        // Without another one.
        assert_eq!(shown.end(begun + SECOND), Some(91));
        assert_eq!(shown.end(begun + SECOND), None);
        assert!(shown.take(begun + SECOND * 2));
    }
}
