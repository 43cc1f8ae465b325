//! The server's time. In: the system's monotonic clock. Out: how long ago this process first asked; milliseconds are never 0, so
//! that 0 means "not yet" in an atomic. Never here: the time of day, which can jump.

use std::sync::LazyLock;
use std::time::Instant;

static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds since the origin, from 1.
pub(super) fn now_ms() -> u64 {
    1 + u64::try_from(ORIGIN.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
}

/// Microseconds since the origin, from 0.
pub(super) fn now_us() -> u64 {
    u64::try_from(ORIGIN.elapsed().as_micros()).unwrap_or(u64::MAX)
}
