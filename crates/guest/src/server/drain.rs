//! The end of a server. In: its open connections. Out: every one of them ended, within its time. Never here: a request that is
//! cancelled while it has time left; a timer of the executor, which guests can hold up.

use super::clock::Clock;
use super::connections::Connections;
use super::exchange::Cause;
use super::limits::ServerLimits;
use super::watchdog::Stuck;
use std::thread;
use std::time::{Duration, Instant};

/// How long cancelled requests may take to end.
const CANCEL_TIME: Duration = Duration::from_secs(1);
/// How long a connection without a request may stay open once the server ends. HTTP/2 has clients acknowledge the end, and
/// some never do.
const IDLE_END_TIME: Duration = Duration::from_secs(1);
/// How often what is waited for is looked at.
const INTERVAL: Duration = Duration::from_millis(20);

/// Waits until every connection has ended, and cancels requests that take too long for that. Whether none had to be, also where
/// `is_ended` ends the wait.
pub(super) fn drained(
    connections: &Connections,
    clock: &Clock,
    limits: &ServerLimits,
    stuck: &Stuck,
    is_ended: impl Fn() -> bool,
) -> bool {
    let begun = Instant::now();
    let are_closed = || {
        if begun.elapsed() > IDLE_END_TIME {
            connections.close_overdue(IDLE_END_TIME, IDLE_END_TIME);
        }
        connections.count() == 0
    };
    wait_within(limits.drain_time, || are_closed() || is_ended());
    if connections.count() == 0 || is_ended() {
        return connections.count() == 0;
    }
    if clock.exchange_count() == 0 {
        // Idle ones, and clients that do not take the end of a response.
        connections.close_all();
        wait_within(CANCEL_TIME, || connections.count() == 0 || is_ended());
        return connections.count() == 0;
    }
    tracing::warn!("{} requests have not ended in time and are cancelled", clock.exchange_count());
    clock.cancel_all(Cause::ServerEnds);
    wait_within(CANCEL_TIME, || are_closed() || clock.exchange_count() <= stuck.count() || is_ended());
    false
}

/// Waits until `condition` holds, or for that time.
pub(super) fn wait_within(time: Duration, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() && begun.elapsed() < time {
        thread::sleep(INTERVAL);
    }
}
