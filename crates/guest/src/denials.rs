//! What guests tried and may not do, in the log. In: what was denied, and why. Out: a warning for some of it each second, and how
//! much else there was. Never here: as many lines as a guest likes, or as long ones.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines a second, of all guests together.
const LINES_MAX: u32 = 10;
const SECOND: Duration = Duration::from_secs(1);
/// Room for the longest name that DNS has; a guest may choose longer ones.
const LINE_SIZE_BYTES_MAX: usize = 512;

static SHOWN: Mutex<Shown> = Mutex::new(Shown { since: None, lines: 0, hidden: 0 });

#[derive(Debug)]
struct Shown {
    since: Option<Instant>,
    lines: u32,
    hidden: u64,
}

impl Shown {
    /// Whether one more may be shown now; how many were not, when that is to be reported.
    fn take(&mut self, now: Instant) -> (bool, Option<u64>) {
        let mut hidden = None;
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= SECOND) {
            hidden = Some(std::mem::take(&mut self.hidden)).filter(|hidden| *hidden > 0);
            (self.since, self.lines) = (Some(now), 0);
        }
        let fits = self.lines < LINES_MAX;
        if fits {
            self.lines += 1;
        } else {
            self.hidden += 1;
        }
        (fits, hidden)
    }
}

/// Logs what was denied, and why.
pub(crate) fn report(denied: &str) {
    let (fits, hidden) = SHOWN.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now());
    if let Some(hidden) = hidden {
        tracing::warn!("{hidden} more denials are not shown");
    }
    if fits {
        let line = denied.get(..denied.floor_char_boundary(LINE_SIZE_BYTES_MAX)).unwrap_or_default();
        tracing::warn!("{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_shown_each_second_and_the_others_counted() {
        let mut shown = Shown { since: None, lines: 0, hidden: 0 };
        let begun = Instant::now();
        let fitting = (0..100).filter(|_| shown.take(begun).0).count();
        assert_eq!(fitting, LINES_MAX as usize);
        assert_eq!(shown.take(begun + SECOND / 2), (false, None));
        assert_eq!(shown.take(begun + SECOND), (true, Some(91)));
        assert_eq!(shown.take(begun + SECOND * 2), (true, None));
    }
}
