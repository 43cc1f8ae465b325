//! The end of a server. In: its open connections. Out: every one of them ended, within its time. Never here: a request that is
//! cancelled while it has time left.

use super::clock::Clock;
use super::connections::Connections;
use super::exchange::Cause;
use super::limits::ServerLimits;
use super::watchdog::Stuck;
use std::time::{Duration, Instant};

/// How long cancelled requests may take to end.
const CANCEL_TIME: Duration = Duration::from_secs(1);
/// How long a connection without a request may stay open once the server ends. HTTP/2 has clients acknowledge the end, and
/// some never do.
const IDLE_END_TIME: Duration = Duration::from_secs(1);
/// How often the connections that are left are counted.
const INTERVAL: Duration = Duration::from_millis(20);

/// Waits until every connection has ended, and cancels requests that take too long for that.
pub(super) async fn drained(connections: &Connections, clock: &Clock, limits: &ServerLimits, stuck: &Stuck) -> bool {
    let ended = async |time: Duration, without_stuck: bool| {
        let begun = Instant::now();
        let all = async {
            loop {
                if begun.elapsed() > IDLE_END_TIME {
                    connections.close_overdue(IDLE_END_TIME, IDLE_END_TIME);
                }
                let left = connections.count();
                if left == 0 || (without_stuck && clock.exchange_count() <= stuck.count()) {
                    return;
                }
                tokio::time::sleep(INTERVAL).await;
            }
        };
        tokio::time::timeout(time, all).await.is_ok()
    };
    if ended(limits.drain_time, false).await {
        return true;
    }
    tracing::warn!("{} requests have not ended in time and are cancelled", clock.exchange_count());
    clock.cancel_all(Cause::ServerEnds);
    ended(CANCEL_TIME, true).await;
    false
}
