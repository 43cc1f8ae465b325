//! In: a failed call. Out: a pause, or the decision that it is enough. Never here: a retry without a cap in number and
//! in time, or of something that fails the same way every time.

use crate::error::RemoteError;
use crate::options::Retry;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use isomer_contract::chain;
use std::time::{Duration, Instant};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// How many times one operation is taken up again in all, however much each attempt brings. A load balancer that hangs
/// up once a minute is survived for hours.
const ATTEMPTS_MAX: u32 = 250;

/// What is left of the patience for one operation.
pub(crate) struct Budget<'a> {
    limits: &'a Retry,
    /// Failures since something was achieved, and since when.
    fruitless: u32,
    since: Instant,
    failures: u32,
    pauses: ExponentialBackoff,
}

impl Budget<'_> {
    pub(crate) fn new(limits: &Retry) -> Budget<'_> {
        Budget { limits, fruitless: 0, since: Instant::now(), failures: 0, pauses: pauses(limits) }
    }

    /// The last attempt got somewhere: what fails next is another failure.
    pub(crate) fn progress(&mut self) {
        self.fruitless = 0;
        self.since = Instant::now();
        self.pauses = pauses(self.limits);
    }

    /// Waits before the next attempt, or says why there is none.
    pub(crate) async fn after(&mut self, url: &str, call: &'static str, status: &Status) -> Result<(), RemoteError> {
        if !may_pass(status.code()) {
            return Err(refusal(url, call, status));
        }
        self.fruitless += 1;
        self.failures += 1;
        let elapsed = self.since.elapsed();
        let pause = self.pauses.next().unwrap_or(self.limits.pause_max).max(asked_for(status));
        let enough = self.fruitless >= self.limits.attempts_max
            || self.failures >= ATTEMPTS_MAX
            || elapsed + pause > self.limits.time_max;
        if enough {
            let last = describe(status);
            return Err(RemoteError::TooManyRetries {
                url: url.to_owned(),
                call,
                attempts: self.fruitless,
                elapsed,
                last,
                unavailable: status.code() == Code::Unavailable,
            });
        }
        tracing::debug!(url, call, attempt = self.fruitless, ?pause, last = describe(status), "trying again");
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// Each twice the last, between half of it and all of it by chance: many clients must not come back at the same moment.
/// backon adds up to as much again to each.
fn pauses(limits: &Retry) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(limits.pause_first.min(limits.pause_max) / 2)
        .with_max_delay(limits.pause_max / 2)
        .without_max_times()
        .with_jitter()
        .build()
}

/// Failures that may be gone at the next attempt.
pub(crate) fn may_pass(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable | Code::Aborted | Code::Internal | Code::Unknown | Code::Cancelled | Code::ResourceExhausted
    )
}

/// The pause that the remote requests (`google.rpc.RetryInfo`).
fn asked_for(status: &Status) -> Duration {
    status.get_details_retry_info().and_then(|info| info.retry_delay).unwrap_or_default()
}

/// The error for a status that no retry will change.
pub(crate) fn refusal(url: &str, call: &'static str, status: &Status) -> RemoteError {
    let url = url.to_owned();
    let message = words(status);
    match status.code() {
        Code::Unauthenticated => RemoteError::Unauthenticated { url, message },
        Code::PermissionDenied => RemoteError::Permission { url, call, message },
        Code::Unimplemented => RemoteError::NoService { url, call, message },
        _ => RemoteError::Refused { url, call, reason: describe(status) },
    }
}

/// The code in the standard's spelling, and the remote's words.
pub(crate) fn describe(status: &Status) -> String {
    format!("{:?}: {}", status.code(), words(status))
}

/// The remote's words, or those of the layers below when no remote answered. Both are cut to a readable length, and
/// nothing in them can move a terminal's cursor.
pub(crate) fn words(status: &Status) -> String {
    let mut parts = vec![status.message().to_owned()];
    for text in chain(status).skip(1).map(ToString::to_string) {
        if !parts.contains(&text) {
            parts.push(text);
        }
    }
    parts.retain(|part| !part.is_empty());
    if parts.is_empty() {
        return "no reason given".to_owned();
    }
    printable(&parts.join(": "), 1000)
}

/// Without control characters other than line ends, and not longer than that many characters.
pub(crate) fn printable(text: &str, characters_max: usize) -> String {
    let mut kept: String = text
        .chars()
        .map(
            |character| {
                if character.is_control() && !matches!(character, '\n' | '\t') { '\u{fffd}' } else { character }
            },
        )
        .take(characters_max)
        .collect();
    if text.chars().nth(characters_max).is_some() {
        kept.push('…');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_differ() {
        let limits = Retry::default();
        let mut longest = Duration::ZERO;
        let rows: Vec<Vec<Duration>> = (0..20).map(|_| pauses(&limits).take(40).collect()).collect();
        for index in 0..40 {
            let column: Vec<_> = rows.iter().map(|row| row[index]).collect();
            assert!(column.iter().all(|pause| *pause <= limits.pause_max), "{column:?}");
            assert!(column.iter().any(|pause| *pause != column[0]), "no jitter in {column:?}");
            longest = longest.max(column[0]);
        }
        assert!(longest >= limits.pause_max / 2);
    }

    #[test]
    fn control_characters_of_a_remote_are_replaced() {
        assert_eq!(words(&Status::internal("\u{1b}[2Jgone\r")), "\u{fffd}[2Jgone\u{fffd}");
        assert_eq!(words(&Status::internal("")), "no reason given");
        assert_eq!(words(&Status::internal("x".repeat(5000))).chars().count(), 1001);
    }
}
