//! One request and its response. In: what its bodies and its handler report. Out: whether it is over, and why; a waker for
//! all that wait for its cancellation. Never here: a timer, which a guest that spins could hold up: [`super::clock`] looks at all
//! exchanges from a thread of its own.

use super::alarm::Alarm;
use super::limits::RouteLimits;
use super::time::{ms, now_ms, now_us};
use futures_util::task::AtomicWaker;
use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

/// Why an exchange ended before its response was complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Cause {
    /// The client closed the connection or reset the stream.
    ClientGone = 2,
    /// No response within the time for it.
    NoResponse,
    /// The whole exchange took too long.
    TooLong,
    /// The guest waits for the request's body, and the client sends nothing.
    RequestBodyIdle,
    /// The client waits for the response's body, and the guest writes nothing.
    ResponseBodyIdle,
    /// The guest writes, and the client does not read.
    ClientNotReading,
    /// The server ends, and the time for that is over.
    ServerEnds,
    /// The guest trapped, or its instance was ended over another request.
    InstanceEnded,
}

impl Cause {
    /// Its name in metrics and logs.
    pub(super) fn name(self) -> &'static str {
        match self {
            Cause::ClientGone => "client-gone",
            Cause::NoResponse => "request-time",
            Cause::TooLong => "total-time",
            Cause::RequestBodyIdle => "request-body-idle",
            Cause::ResponseBodyIdle => "response-body-idle",
            Cause::ClientNotReading => "client-not-reading",
            Cause::ServerEnds => "server-ends",
            Cause::InstanceEnded => "instance-ended",
        }
    }

    fn of(value: u8) -> Option<Cause> {
        const ALL: [Cause; 8] = [
            Cause::ClientGone,
            Cause::NoResponse,
            Cause::TooLong,
            Cause::RequestBodyIdle,
            Cause::ResponseBodyIdle,
            Cause::ClientNotReading,
            Cause::ServerEnds,
            Cause::InstanceEnded,
        ];
        ALL.into_iter().find(|cause| *cause as u8 == value)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cause::ClientGone => "the client closed the connection",
            Cause::NoResponse => "no response within the time for it",
            Cause::TooLong => "the exchange took too long",
            Cause::RequestBodyIdle => "the client stopped sending the request's body",
            Cause::ResponseBodyIdle => "the guest stopped writing the response's body",
            Cause::ClientNotReading => "the client stopped reading the response",
            Cause::ServerEnds => "the server ends",
            Cause::InstanceEnded => "the guest's instance ended",
        })
    }
}

const OPEN: u8 = 0;
const COMPLETE: u8 = 1;

/// Who waits for the end of an exchange. Each has a waker of its own.
#[derive(Clone, Copy, Debug)]
pub(super) enum Waiter {
    /// The task of the connection, for the response's head.
    Connection,
    /// The guest's event loop.
    Guest,
    /// The body of the request.
    RequestBody,
    /// The body of the response.
    ResponseBody,
}

/// What an exchange waits for, each since a time of [`now_ms`], 0 where it does not.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// The guest waits for the client's next frame.
    pub(super) request_frame_since: AtomicU64,
    /// The client waits for the guest's next frame.
    pub(super) response_frame_since: AtomicU64,
    /// The guest's frame waits for the client.
    pub(super) client_since: AtomicU64,
}

/// A request and its response.
#[derive(Debug)]
pub(super) struct Exchange {
    /// As logs and responses name it.
    pub(super) id: RequestId,
    /// When its head had arrived.
    started_us: u64,
    /// The same, for limits: no request has less time than its limit.
    started_ms: u64,
    /// When the guest had given the response's head, or 0.
    responded_ms: AtomicU64,
    pub(super) waiting: Waiting,
    route: Arc<str>,
    limits: Arc<RouteLimits>,
    state: AtomicU8,
    wakers: [AtomicWaker; 4],
    /// Of the guest's instance.
    instance: OnceLock<Arc<Alarm>>,
}

impl Exchange {
    /// A request to `route` has arrived.
    pub(super) fn new(route: Arc<str>, limits: Arc<RouteLimits>) -> Exchange {
        let started_us = now_us();
        Exchange {
            id: RequestId::next(),
            started_us,
            started_ms: ms(started_us),
            responded_ms: AtomicU64::new(0),
            waiting: Waiting::default(),
            route,
            limits,
            state: AtomicU8::new(OPEN),
            wakers: Default::default(),
            instance: OnceLock::new(),
        }
    }

    /// How long ago its head had arrived, at `now_us`.
    pub(super) fn age(&self, now_us: u64) -> Duration {
        Duration::from_micros(now_us.saturating_sub(self.started_us))
    }

    /// An instance answers it: that instance is told when it is cancelled, too.
    pub(super) fn attach(&self, instance: Arc<Alarm>) {
        // A request is given to one instance.
        let _ = self.instance.set(instance);
        if self.cause().is_some() {
            self.wake();
        }
    }

    /// The guest has given the response's head.
    pub(super) fn respond(&self) {
        self.responded_ms.store(now_ms(), Ordering::Relaxed);
    }

    /// The response is complete. Wakes no task: all that wait for it wait for a cancellation.
    pub(super) fn complete(&self) {
        self.end(COMPLETE);
    }

    /// Ends it early. The first cause counts, and is logged.
    pub(super) fn cancel(&self, cause: Cause) {
        if !self.end(cause as u8) {
            return;
        }
        let (route, request) = (&*self.route, self.id.to_string());
        match cause {
            // What a client does is its own affair, and what ended an instance is reported there.
            Cause::ClientGone | Cause::InstanceEnded => tracing::debug!(route, request, "{cause}"),
            _ => tracing::warn!(route, request, "{cause}"),
        }
        self.wake();
    }

    fn end(&self, state: u8) -> bool {
        self.state.compare_exchange(OPEN, state, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn wake(&self) {
        self.wakers.iter().for_each(AtomicWaker::wake);
        if let Some(instance) = self.instance.get() {
            instance.ring();
        }
    }

    /// Whether it is complete or was cancelled.
    pub(super) fn is_over(&self) -> bool {
        self.state.load(Ordering::Acquire) != OPEN
    }

    /// Why it was cancelled.
    pub(super) fn cause(&self) -> Option<Cause> {
        Cause::of(self.state.load(Ordering::Acquire))
    }

    /// Ready once it was cancelled.
    pub(super) fn poll_cancelled(&self, context: &mut Context<'_>, waiter: Waiter) -> Poll<Cause> {
        self.wakers[waiter as usize].register(context.waker());
        self.cause().map_or(Poll::Pending, Poll::Ready)
    }

    /// Waits until it is cancelled.
    pub(super) async fn cancelled(&self, waiter: Waiter) -> Cause {
        std::future::poll_fn(|context| self.poll_cancelled(context, waiter)).await
    }

    /// Cancels it if one of its limits has passed.
    pub(super) fn check(&self, now_ms: u64) {
        if let Some(cause) = self.overdue(now_ms) {
            self.cancel(cause);
        }
    }

    /// The limit that has passed.
    pub(super) fn overdue(&self, now_ms: u64) -> Option<Cause> {
        let since = |at_ms: u64| Duration::from_millis(now_ms.saturating_sub(at_ms));
        let waits = |at_ms: &AtomicU64| {
            let at_ms = at_ms.load(Ordering::Relaxed);
            at_ms != 0 && since(at_ms) > self.limits.body_idle_time
        };
        if since(self.started_ms) > self.limits.total_time {
            return Some(Cause::TooLong);
        }
        if waits(&self.waiting.request_frame_since) {
            return Some(Cause::RequestBodyIdle);
        }
        if self.responded_ms.load(Ordering::Relaxed) == 0 {
            return (since(self.started_ms) > self.limits.request_time).then_some(Cause::NoResponse);
        }
        if waits(&self.waiting.response_frame_since) {
            return Some(Cause::ResponseBodyIdle);
        }
        waits(&self.waiting.client_since).then_some(Cause::ClientNotReading)
    }
}

/// A request's name in logs: unique in this process, and not to be guessed from another process's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestId(u64);

impl RequestId {
    /// Consecutive in this process.
    pub(super) fn number(self) -> u64 {
        self.0
    }

    fn next() -> RequestId {
        use std::hash::{BuildHasher, RandomState};
        static START: OnceLock<u64> = OnceLock::new();
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let start = START.get_or_init(|| RandomState::new().hash_one(std::process::id()));
        RequestId(start.wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed)))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange() -> Exchange {
        let second = Duration::from_secs(1);
        let limits = RouteLimits {
            request_time: second,
            body_idle_time: second * 2,
            total_time: second * 9,
            ..Default::default()
        };
        Exchange { started_ms: 1000, ..Exchange::new("/".into(), Arc::new(limits)) }
    }

    #[test]
    fn each_time_limit_has_its_cause() {
        let late = |set: &dyn Fn(&Exchange), now_ms| {
            let exchange = exchange();
            set(&exchange);
            exchange.check(now_ms);
            exchange.cause()
        };
        let responded = |exchange: &Exchange| exchange.responded_ms.store(1, Ordering::Relaxed);
        assert_eq!(late(&|_| (), 2000), None);
        assert_eq!(late(&|_| (), 2001), Some(Cause::NoResponse));
        assert_eq!(late(&responded, 10_000), None);
        assert_eq!(late(&responded, 10_001), Some(Cause::TooLong));
        let request = |it: &Exchange| it.waiting.request_frame_since.store(1000, Ordering::Relaxed);
        assert_eq!(late(&request, 3001), Some(Cause::RequestBodyIdle));
        let set = |of: fn(&Waiting) -> &AtomicU64| {
            move |exchange: &Exchange| {
                exchange.responded_ms.store(1, Ordering::Relaxed);
                of(&exchange.waiting).store(2000, Ordering::Relaxed);
            }
        };
        let (guest, client) = (set(|it| &it.response_frame_since), set(|it| &it.client_since));
        assert_eq!((late(&guest, 4000), late(&guest, 4001)), (None, Some(Cause::ResponseBodyIdle)));
        assert_eq!((late(&client, 4000), late(&client, 4001)), (None, Some(Cause::ClientNotReading)));
    }

    #[test]
    fn the_first_end_counts() {
        let exchange = exchange();
        exchange.cancel(Cause::ClientGone);
        exchange.cancel(Cause::TooLong);
        exchange.complete();
        assert_eq!(exchange.cause(), Some(Cause::ClientGone));
        let exchange = self::exchange();
        exchange.complete();
        exchange.cancel(Cause::TooLong);
        assert!(exchange.is_over() && exchange.cause().is_none());
    }
}
