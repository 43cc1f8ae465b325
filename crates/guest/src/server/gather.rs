//! When a response leaves. In: that a guest has given one. Out: whether those that are ready soon leave with it. Never here: a
//! wait of which only this thread knows: a guest may hold it next.
//!
//! Each send to a client on the same machine wakes it, which takes as long as half of a quick guest's run; several responses
//! wake it once.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

/// A guest that took longer is not quick: behind some of them, a response would wait for too long.
const QUICK_US: u64 = 200;
/// Where responses follow each other less closely, no other is ready soon.
const BUSY_US: u64 = 500;

/// Gathers the responses of one route.
#[derive(Debug, Default)]
pub(super) struct Gather {
    /// When the last response was ready.
    last_us: AtomicU64,
}

impl Gather {
    /// A response is ready, after so long.
    pub(super) async fn with_others(&self, took_us: u64, now_us: u64) {
        if self.is_worthwhile(took_us, now_us) {
            give_way().await;
        }
    }

    fn is_worthwhile(&self, took_us: u64, now_us: u64) -> bool {
        let last_us = self.last_us.swap(now_us, Ordering::Relaxed);
        took_us < QUICK_US && now_us.saturating_sub(last_us) < BUSY_US
    }
}

/// Lets the tasks that are queued on this thread go first. Not by tokio's `yield_now`, after which no idle thread could go on
/// with this task while a guest that takes long has this thread.
async fn give_way() {
    let mut gave_way = false;
    poll_fn(|context| {
        if std::mem::replace(&mut gave_way, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn only_quick_guests_of_a_busy_route_are_worth_it() {
        let gather = Gather::default();
        assert!(!gather.is_worthwhile(50, 10_000), "the first");
        assert!(gather.is_worthwhile(50, 10_499));
        assert!(!gather.is_worthwhile(200, 10_700), "not quick");
        assert!(!gather.is_worthwhile(50, 11_200), "not busy");
    }

    #[tokio::test]
    async fn responses_that_are_ready_together_leave_after_the_last_guest() {
        let (gather, order) = (Gather::default(), Mutex::new(Vec::new()));
        let answer = async |number: u64| {
            order.lock().expect("no test panics with it").push(("guest", number));
            gather.with_others(50, 10_000 + number).await;
            order.lock().expect("no test panics with it").push(("response", number));
        };
        answer(1).await;
        futures_util::future::join(answer(2), answer(3)).await;
        let first = [("guest", 1), ("response", 1)];
        let others = [("guest", 2), ("guest", 3), ("response", 2), ("response", 3)];
        assert_eq!(order.into_inner().expect("as above"), [&first[..], &others[..]].concat());
    }
}
