//! In: a future. Out: what it comes to. No runtime: what guests wait for here is ready at the next poll, or never.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// A guest that waits longer than this never goes on.
const WAIT_MAX: Duration = Duration::from_secs(60);

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls the future until it is ready.
///
/// # Panics
/// When nothing wakes it for [`WAIT_MAX`]: the process ends, and with it the script.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        let begun = Instant::now();
        thread::park_timeout(WAIT_MAX);
        assert!(begun.elapsed() < WAIT_MAX, "nothing woke the guest for {WAIT_MAX:?}");
    }
}
