//! One instance of a guest. In: the exchanges that it answers, and what its event loop reports. Out: whether it is to end.
//! Never here: a way to end it while its code runs: that is what epochs are for, else [`super::watchdog`] reports it.

use super::alarm::Alarm;
use super::exchange::Exchange;
use super::time::now_ms;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use wasmtime_wasi_http::handler::WorkerStatus;

/// How long an instance may live without a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetimes {
    /// Ready for the next request.
    pub(super) idle: Duration,
    /// Before its first request, or still at work after its last response.
    pub(super) at_work: Duration,
}

/// An instance of a guest.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) id: u64,
    /// Its route, for reports.
    pub(super) route: Arc<str>,
    pub(super) alarm: Arc<Alarm>,
    lifetimes: Lifetimes,
    exchanges: Mutex<Vec<Arc<Exchange>>>,
    /// Without an exchange since then.
    quiet_since_ms: AtomicU64,
    is_idle: AtomicBool,
    /// One of its exchanges was cancelled: it takes no other, and ends with the last.
    is_doomed: AtomicBool,
    /// Since when it is to end, or 0.
    ends_since_ms: AtomicU64,
}

impl Instance {
    pub(super) fn new(route: Arc<str>, lifetimes: Lifetimes) -> Instance {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        Instance {
            id: COUNT.fetch_add(1, Ordering::Relaxed),
            route,
            alarm: Arc::default(),
            lifetimes,
            exchanges: Mutex::default(),
            quiet_since_ms: AtomicU64::new(now_ms()),
            is_idle: AtomicBool::new(false),
            is_doomed: AtomicBool::new(false),
            ends_since_ms: AtomicU64::new(0),
        }
    }

    /// Also those that are over and were not looked at since.
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Exchange>>> {
        self.exchanges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It answers this one, too.
    pub(super) fn take(&self, exchange: Arc<Exchange>) {
        exchange.attach(Arc::clone(&self.alarm));
        self.is_idle.store(false, Ordering::Relaxed);
        self.lock().push(exchange);
    }

    /// What its event loop is at.
    pub(super) fn report(&self, status: WorkerStatus) {
        let idle = status == WorkerStatus::Idle && self.lock().iter().all(|exchange| exchange.is_over());
        if idle && !self.is_idle.swap(true, Ordering::Relaxed) {
            self.quiet_since_ms.store(now_ms(), Ordering::Relaxed);
        }
    }

    /// Whether it may be given more requests.
    pub(super) fn accepts(&self) -> bool {
        !self.is_doomed.load(Ordering::Relaxed) && !self.is_ending()
    }

    /// The exchanges that it is at work for.
    pub(super) fn exchanges(&self) -> Vec<Arc<Exchange>> {
        self.lock().iter().filter(|exchange| !exchange.is_over()).cloned().collect()
    }

    /// Whether it is to end, asked after each step of its event loop.
    pub(super) fn poll_end(&self, context: &Context<'_>) -> Poll<()> {
        self.alarm.register(context);
        let ends = if self.alarm.take() { self.should_end(now_ms()) } else { self.is_ending() };
        if ends { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Forgets the exchanges that are over, and decides whether the instance is to end now.
    pub(super) fn should_end(&self, now_ms: u64) -> bool {
        if self.is_ending() {
            return true;
        }
        let mut exchanges = self.lock();
        let before = exchanges.len();
        exchanges.retain(|exchange| {
            if exchange.cause().is_some() {
                self.is_doomed.store(true, Ordering::Relaxed);
            }
            !exchange.is_over()
        });
        if !exchanges.is_empty() {
            return false;
        }
        if before > 0 {
            self.quiet_since_ms.store(now_ms, Ordering::Relaxed);
        }
        drop(exchanges);
        let quiet_ms = now_ms.saturating_sub(self.quiet_since_ms.load(Ordering::Relaxed));
        let Lifetimes { idle, at_work } = self.lifetimes;
        let lifetime = if self.is_idle.load(Ordering::Relaxed) { idle } else { at_work };
        let ends = self.is_doomed.load(Ordering::Relaxed) || Duration::from_millis(quiet_ms) > lifetime;
        if ends {
            self.ends_since_ms.store(now_ms, Ordering::Relaxed);
        }
        ends
    }

    fn is_ending(&self) -> bool {
        self.ends_since_ms.load(Ordering::Relaxed) != 0
    }

    /// For how long it was to end and has not.
    pub(super) fn overdue(&self, now_ms: u64) -> Option<Duration> {
        let since_ms = self.ends_since_ms.load(Ordering::Relaxed);
        (since_ms != 0).then(|| Duration::from_millis(now_ms.saturating_sub(since_ms)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::exchange::Cause;
    use super::*;

    fn instance() -> Instance {
        let lifetimes = Lifetimes { idle: Duration::from_millis(10), at_work: Duration::from_millis(100) };
        Instance::new("/".into(), lifetimes)
    }

    fn exchange() -> Arc<Exchange> {
        Arc::new(Exchange::new("/".into(), Arc::default()))
    }

    #[test]
    fn it_ends_with_its_last_exchange_once_one_was_cancelled() {
        let (instance, one, two) = (instance(), exchange(), exchange());
        instance.take(Arc::clone(&one));
        instance.take(Arc::clone(&two));
        one.cancel(Cause::ClientGone);
        assert!(!instance.should_end(now_ms()), "it answers another");
        assert!(!instance.accepts());
        two.complete();
        assert!(instance.should_end(now_ms()));
        assert_eq!(instance.overdue(now_ms() + 7).map(|time| time.as_millis() >= 7), Some(true));
    }

    #[test]
    fn without_an_exchange_it_ends_in_time() {
        let (instance, one) = (instance(), exchange());
        assert!(!instance.should_end(now_ms()), "it has just begun");
        instance.take(Arc::clone(&one));
        assert!(!instance.should_end(now_ms() + 10_000), "exchanges have their own limits");
        one.complete();
        let now = now_ms();
        assert!(!instance.should_end(now) && instance.accepts());
        assert!(!instance.should_end(now + 99));
        instance.report(WorkerStatus::Idle);
        assert!(instance.should_end(now_ms() + 11), "idle");
    }
}
