//! The server's time. In: the system's monotonic clock. Out: how long ago the machine started, in milliseconds for limits and in
//! microseconds for what is measured; milliseconds are never 0, so that 0 means "not yet" in an atomic. Never here: the time of
//! day, which can jump.

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds, as of the system's last tick: up to 10 ms less than the exact ones. They are read several times for each
/// request, in a fraction of the exact clock's time.
pub(super) fn now_ms() -> u64 {
    ms(us(ClockId::MonotonicCoarse))
}

/// Microseconds, exact.
pub(super) fn now_us() -> u64 {
    us(ClockId::Monotonic)
}

/// A time in microseconds as one in milliseconds.
pub(super) fn ms(us: u64) -> u64 {
    1 + us / 1_000
}

fn us(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    now.tv_sec.cast_unsigned() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_those_of_the_same_clock_and_never_ahead() {
        let mut least_ms = 1;
        for _ in 0..1000 {
            let (now_ms, exact_ms) = (now_ms(), ms(now_us()));
            assert!(least_ms <= now_ms && now_ms <= exact_ms && exact_ms < now_ms + 10_000, "{now_ms} {exact_ms}");
            least_ms = now_ms;
        }
    }
}
