//! Clocks for runs that can be repeated. In: the time that they show. Out: the same readings in each run. Never here: this
//! machine's time.

use crate::grants::FrozenClock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use wasmtime_wasi::clocks::{HostMonotonicClock, HostWallClock};

impl HostWallClock for FrozenClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        self.since_epoch
    }
}

/// Each reading is a microsecond after the one before, so that what waits for time to pass does not wait forever.
#[derive(Debug, Default)]
pub(super) struct CountedReadings {
    readings: AtomicU64,
}

impl HostMonotonicClock for CountedReadings {
    fn resolution(&self) -> u64 {
        1000
    }

    fn now(&self) -> u64 {
        self.readings.fetch_add(1, Ordering::Relaxed) * 1000
    }
}
