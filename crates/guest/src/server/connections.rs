//! Every open connection. In: what each is at, and the clients for whom there is no room. Out: the one to close when there are too
//! many, or to end with its response; those to close for idleness. Never here: a byte of them.

use super::exchange::Exchange;
use super::time::now_ms;
use futures_util::task::AtomicWaker;
use rustix::process::{Resource, getrlimit};
use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

/// How long a connection may take to notice that its only exchange was cancelled. One that is blocked in writing to a
/// client that does not read never does.
const NOTICE: Duration = Duration::from_secs(5);

/// How long a client may take nothing of the end of a response. The kernel tells of room only when a good part of its buffer is
/// free, which is some seconds on a slow line.
const WRITE_TIME: Duration = Duration::from_secs(20);

/// How long a connection is left alone that is without a request, also when there are too many: its client's request may be on
/// its way.
pub(super) const GRACE: Duration = Duration::from_millis(250);

/// What the task of a connection is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Order {
    /// To go on.
    Serve,
    /// To end with the requests that it has.
    Retire,
    /// To end at once.
    Close,
}

/// The order that was given, and the task to tell of it: one waker for all orders, as a connection's task looks at it each
/// time it is polled, which is several times for each request.
#[derive(Debug, Default)]
struct Orders {
    given: AtomicU8,
    waker: AtomicWaker,
}

impl Orders {
    /// One that follows a stronger one changes nothing.
    fn give(&self, order: Order) {
        if self.given.fetch_max(order as u8, Ordering::AcqRel) < order as u8 {
            self.waker.wake();
        }
    }

    fn given(&self) -> Order {
        match self.given.load(Ordering::Acquire) {
            given if given == Order::Close as u8 => Order::Close,
            given if given == Order::Retire as u8 => Order::Retire,
            _ => Order::Serve,
        }
    }
}

/// A connection.
#[derive(Debug, Default)]
pub(super) struct Connection {
    exchanges: Mutex<Vec<Arc<Exchange>>>,
    /// Without an exchange since then.
    idle_since_ms: AtomicU64,
    had_request: AtomicBool,
    /// HTTP/1.1 waits for the head of its next request.
    awaits_head: AtomicBool,
    /// The first bytes after its last exchange arrived then, or 0.
    head_since_ms: AtomicU64,
    /// Its client has taken nothing of what is to be written since then, or 0.
    writes_since_ms: AtomicU64,
    /// All its exchanges were cancelled by then, or 0.
    over_since_ms: AtomicU64,
    orders: Orders,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connection {
    /// An exchange begins on it.
    pub(super) fn begin(self: &Arc<Self>, exchange: Arc<Exchange>) -> Busy {
        lock(&self.exchanges).push(Arc::clone(&exchange));
        Busy { connection: Arc::clone(self), exchange }
    }

    /// What it is told to do; wakes the task that asked last when that changes.
    pub(super) fn order(&self, context: &Context<'_>) -> Order {
        self.orders.waker.register(context.waker());
        self.orders.given()
    }

    /// Waits until it is to be closed at once.
    pub(super) async fn closing(&self) {
        poll_fn(|context| if self.order(context) == Order::Close { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Bytes were written, or wait for the client.
    pub(super) fn write(&self, waits: bool) {
        if !waits {
            self.writes_since_ms.store(0, Ordering::Relaxed);
        } else if self.writes_since_ms.load(Ordering::Relaxed) == 0 {
            self.writes_since_ms.store(now_ms(), Ordering::Relaxed);
        }
    }

    /// Bytes have arrived.
    pub(super) fn receive(&self, now_ms: u64) {
        if self.head_since_ms.load(Ordering::Relaxed) == 0 && lock(&self.exchanges).is_empty() {
            self.head_since_ms.store(now_ms, Ordering::Relaxed);
        }
    }

    /// HTTP/1.1 begins to wait for the next head, of which nothing has been read yet.
    pub(super) fn await_head(&self) {
        self.head_since_ms.store(0, Ordering::Relaxed);
        self.awaits_head.store(true, Ordering::Relaxed);
    }

    /// The head of a request is complete.
    pub(super) fn complete_head(&self, now_ms: u64) {
        self.had_request.store(true, Ordering::Relaxed);
        self.idle_since_ms.store(now_ms, Ordering::Relaxed);
        self.head_since_ms.store(0, Ordering::Relaxed);
        self.awaits_head.store(false, Ordering::Relaxed);
    }

    /// Since when the client takes for the head of its next request; none while it has sent nothing of one, and may take as
    /// long as a connection may be idle. Of HTTP/2, whose frames need not belong to a head, only the first one is timed.
    fn head_since_ms(&self) -> Option<u64> {
        if !self.had_request.load(Ordering::Relaxed) {
            return Some(self.idle_since_ms.load(Ordering::Relaxed));
        }
        let since_ms = self.head_since_ms.load(Ordering::Relaxed);
        (since_ms != 0 && self.awaits_head.load(Ordering::Relaxed)).then_some(since_ms)
    }

    /// Whether it is without an exchange, and takes too long for the next head or to begin with it.
    fn is_overdue(&self, now_ms: u64, header_time: Duration, idle_time: Duration) -> bool {
        let Some(idle_since_ms) = self.idle_since_ms() else { return false };
        let (since_ms, limit) = match self.head_since_ms() {
            Some(since_ms) => (since_ms, header_time),
            None => (idle_since_ms, idle_time),
        };
        Duration::from_millis(now_ms.saturating_sub(since_ms)) > limit
    }

    /// Whether the head of a request has been complete.
    pub(super) fn had_request(&self) -> bool {
        self.had_request.load(Ordering::Relaxed)
    }

    /// Since when it is without an exchange and nothing more has arrived, where it is: the first bytes of a head are a request on
    /// its way, which has its own limit of time. Nor is it idle while its client takes the end of a response.
    fn idle_since_ms(&self) -> Option<u64> {
        if self.writes_since_ms.load(Ordering::Relaxed) != 0 {
            return None;
        }
        let since_ms = || self.idle_since_ms.load(Ordering::Relaxed).max(self.head_since_ms.load(Ordering::Relaxed));
        lock(&self.exchanges).is_empty().then(since_ms)
    }

    /// Whether its client's next request may be on its way: the first one, or one of which something has arrived.
    pub(super) fn expects_request(&self) -> bool {
        let is_begun = || !self.had_request() || self.head_since_ms.load(Ordering::Relaxed) != 0;
        lock(&self.exchanges).is_empty() && is_begun()
    }

    /// Whether it ends with the requests that it has, or at once.
    pub(super) fn is_ending(&self) -> bool {
        self.orders.given() != Order::Serve
    }

    /// Has it end with the requests that it has.
    pub(super) fn retire(&self) {
        self.orders.give(Order::Retire);
    }

    /// Whether it has exchanges, and none that goes on, for so long that it must be blocked; or a client that takes nothing of the
    /// end of a response.
    fn is_blocked(&self, now_ms: u64) -> bool {
        let exchanges = lock(&self.exchanges);
        let writes_since_ms = self.writes_since_ms.load(Ordering::Relaxed);
        if exchanges.is_empty() && writes_since_ms != 0 {
            return Duration::from_millis(now_ms.saturating_sub(writes_since_ms)) > WRITE_TIME;
        }
        if exchanges.is_empty() || !exchanges.iter().all(|exchange| exchange.cause().is_some()) {
            self.over_since_ms.store(0, Ordering::Relaxed);
            return false;
        }
        let since_ms = self.over_since_ms.load(Ordering::Relaxed);
        if since_ms == 0 {
            self.over_since_ms.store(now_ms, Ordering::Relaxed);
            return false;
        }
        Duration::from_millis(now_ms.saturating_sub(since_ms)) > NOTICE
    }
}

/// A connection has this exchange until it is dropped.
#[derive(Debug)]
pub(super) struct Busy {
    connection: Arc<Connection>,
    exchange: Arc<Exchange>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut exchanges = lock(&self.connection.exchanges);
        exchanges.retain(|other| other.id != self.exchange.id);
        if exchanges.is_empty() {
            self.connection.idle_since_ms.store(now_ms(), Ordering::Relaxed);
        }
    }
}

/// Descriptors for all but connections: listeners, files, guests' own connections.
const DESCRIPTORS_BESIDE: u64 = 64;
/// The least number of connections, however low the limit on descriptors is.
const CONNECTIONS_MIN: u64 = 8;

/// As many connections as are wanted, or as the process' limit on file descriptors leaves room for: beyond it, none could be
/// accepted, and it would take a while until one that is idle made room.
pub(super) fn connections_max(wanted: usize) -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let room = descriptors.saturating_sub(DESCRIPTORS_BESIDE).max(CONNECTIONS_MIN);
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    if room < wanted {
        tracing::warn!(
            "the limit on file descriptors, {descriptors}, leaves room for {room} connections and not for {wanted}: raise it \
             (LimitNOFILE, ulimit -n)"
        );
    }
    wanted.min(room)
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Connections {
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    count: AtomicU64,
    /// The server ends, and every connection with the requests that it has.
    retiring: AtomicBool,
    /// The numbers of clients that wait until there is room for them, and for whom no connection has been chosen yet.
    waiting: Mutex<Vec<u64>>,
    /// How many these are: requests look at it.
    waiting_count: AtomicUsize,
}

impl Connections {
    /// One more, until the result is dropped.
    pub(super) fn open(self: &Arc<Self>) -> Open {
        let connection = Arc::new(Connection { idle_since_ms: AtomicU64::new(now_ms()), ..Connection::default() });
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        lock(&self.open).insert(number, Arc::clone(&connection));
        // After it is among those that are told.
        if self.retiring.load(Ordering::SeqCst) {
            connection.orders.give(Order::Retire);
        }
        Open { all: Arc::clone(self), number, connection }
    }

    /// How many are open.
    pub(super) fn count(&self) -> usize {
        lock(&self.open).len()
    }

    fn all(&self) -> Vec<Arc<Connection>> {
        lock(&self.open).values().cloned().collect()
    }

    /// Closes so many of those that are idle for longest, so that others can be accepted. Whether there was any.
    pub(super) fn close_idlest(&self, count: usize, now_ms: u64) -> bool {
        let all = self.all();
        let open = all.iter().filter(|connection| connection.orders.given() != Order::Close);
        let idle = open.filter_map(|connection| Some((connection.idle_since_ms()?, connection)));
        let is_old = |since_ms: u64| Duration::from_millis(now_ms.saturating_sub(since_ms)) > GRACE;
        let mut idle: Vec<_> = idle.filter(|(since_ms, _)| is_old(*since_ms)).collect();
        idle.sort_by_key(|(since_ms, _)| *since_ms);
        idle.iter().take(count).for_each(|(_, connection)| connection.orders.give(Order::Close));
        !idle.is_empty()
    }

    /// A client waits, until the result is dropped: the connection that has the next response ends with it.
    pub(super) fn wait_for_room(self: &Arc<Self>) -> WaitsForRoom {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let waits = WaitsForRoom { all: Arc::clone(self), number };
        waits.again();
        waits
    }

    /// Whether the connection of the response that is ready now is to end with it, to make room. Each client that waits ends one.
    pub(super) fn makes_room(&self, connection: &Connection) -> bool {
        if self.waiting_count.load(Ordering::Relaxed) == 0 || connection.is_ending() {
            return false;
        }
        let mut waiting = lock(&self.waiting);
        let chosen = waiting.pop().is_some();
        self.waiting_count.store(waiting.len(), Ordering::Relaxed);
        chosen
    }

    /// Has all end with the requests that they have, also those that are opened from now on.
    pub(super) fn retire_all(&self) {
        self.retiring.store(true, Ordering::SeqCst);
        self.all().iter().for_each(|connection| connection.orders.give(Order::Retire));
    }

    /// Closes all at once.
    pub(super) fn close_all(&self) {
        self.all().iter().for_each(|connection| connection.orders.give(Order::Close));
    }

    /// Closes those that are idle for too long, take too long for a head, or are blocked.
    pub(super) fn close_overdue(&self, header_time: Duration, idle_time: Duration) {
        let now_ms = now_ms();
        for connection in self.all() {
            if connection.is_overdue(now_ms, header_time, idle_time) || connection.is_blocked(now_ms) {
                connection.orders.give(Order::Close);
            }
        }
    }
}

/// A client for whom there is no room yet.
#[derive(Debug)]
pub(super) struct WaitsForRoom {
    all: Arc<Connections>,
    number: u64,
}

impl WaitsForRoom {
    /// Whether a connection ends to make room.
    pub(super) fn is_chosen(&self) -> bool {
        !lock(&self.all.waiting).contains(&self.number)
    }

    /// The connection that was chosen, if one was, takes long to end: another one ends, too.
    pub(super) fn again(&self) {
        let mut waiting = lock(&self.all.waiting);
        if !waiting.contains(&self.number) {
            waiting.push(self.number);
        }
        self.all.waiting_count.store(waiting.len(), Ordering::Relaxed);
    }
}

impl Drop for WaitsForRoom {
    fn drop(&mut self) {
        let mut waiting = lock(&self.all.waiting);
        waiting.retain(|number| *number != self.number);
        self.all.waiting_count.store(waiting.len(), Ordering::Relaxed);
    }
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) all: Arc<Connections>,
    number: u64,
    pub(super) connection: Arc<Connection>,
}

impl Drop for Open {
    fn drop(&mut self) {
        lock(&self.all.open).remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::super::exchange::Cause;
    use super::*;

    #[test]
    fn the_idlest_is_closed_and_none_that_is_busy() {
        let connections = Arc::new(Connections::default());
        let (busy, idle, idlest) = (connections.open(), connections.open(), connections.open());
        let exchange = busy.connection.begin(Arc::new(Exchange::new("/".into(), Arc::default())));
        let closing = |open: &Open| open.connection.orders.given() == Order::Close;
        busy.connection.idle_since_ms.store(1, Ordering::Relaxed);
        idle.connection.idle_since_ms.store(3, Ordering::Relaxed);
        idlest.connection.idle_since_ms.store(2, Ordering::Relaxed);
        assert!(!connections.close_idlest(3, 250), "their requests may be on their way");
        connections.close_idlest(1, 1000);
        assert_eq!([closing(&busy), closing(&idle), closing(&idlest)], [false, false, true]);
        connections.close_idlest(1, 1000);
        assert_eq!([closing(&busy), closing(&idle)], [false, true]);
        drop((exchange, busy, idle, idlest));
        assert_eq!(connections.count(), 0);
    }

    #[test]
    fn all_retire_and_those_that_are_opened_later() {
        let connections = Arc::new(Connections::default());
        let order = |open: &Open| open.connection.orders.given();
        let (early, closed) = (connections.open(), connections.open());
        closed.connection.orders.give(Order::Close);
        assert_eq!(order(&early), Order::Serve);
        connections.retire_all();
        let late = connections.open();
        assert_eq!([order(&early), order(&closed), order(&late)], [Order::Retire, Order::Close, Order::Retire]);
    }

    #[test]
    fn a_head_has_its_own_time_and_other_bytes_have_none() {
        let connection = Arc::new(Connection { idle_since_ms: AtomicU64::new(1000), ..Connection::default() });
        let overdue = |now_ms| connection.is_overdue(now_ms, Duration::from_millis(10), Duration::from_millis(100));
        assert!(!overdue(1010) && overdue(1011), "the first request");
        connection.complete_head(2000);
        assert!(!overdue(2100) && overdue(2101), "idle");
        connection.receive(2020);
        assert!(!overdue(2100), "the rest of a body, or a frame of HTTP/2");
        connection.await_head();
        assert!(!overdue(2100) && overdue(2101), "idle after it");
        connection.receive(2050);
        connection.receive(2055);
        assert!(!overdue(2060) && overdue(2061), "from the head's first byte on");
        let _busy = connection.begin(Arc::new(Exchange::new("/".into(), Arc::default())));
        assert!(!overdue(9000), "an exchange has its own limits");
    }

    #[test]
    fn a_head_that_has_begun_is_a_request_on_its_way() {
        let connections = Arc::new(Connections::default());
        let (begun, idle) = (connections.open(), connections.open());
        let closing = |open: &Open| open.connection.orders.given() == Order::Close;
        for (open, idle_since_ms) in [(&begun, 1), (&idle, 500)] {
            open.connection.complete_head(idle_since_ms);
        }
        begun.connection.receive(900);
        assert!(connections.close_idlest(2, 1000));
        assert_eq!([closing(&begun), closing(&idle)], [false, true]);
        // It takes too long for that.
        assert!(connections.close_idlest(1, 1151));
        assert!(closing(&begun));
    }

    #[test]
    fn each_client_that_waits_ends_one_connection() {
        let connections = Arc::new(Connections::default());
        let open = [(); 4].map(|()| connections.open());
        let makes_room = |index: usize| connections.makes_room(&open[index].connection);
        assert!(!makes_room(0), "no client waits");
        let (first, second) = (connections.wait_for_room(), connections.wait_for_room());
        assert_eq!([makes_room(0), makes_room(1), makes_room(2)], [true, true, false]);
        first.again();
        first.again();
        open[3].connection.retire();
        assert!(!makes_room(3), "it ends anyway");
        assert_eq!([makes_room(2), makes_room(1)], [true, false]);
        second.again();
        drop((first, second));
        assert!(!makes_room(0), "there was room for it");
    }

    #[test]
    fn a_response_whose_end_is_being_written_is_not_idle() {
        let connections = Arc::new(Connections::default());
        let open = connections.open();
        open.connection.complete_head(1);
        open.connection.writes_since_ms.store(1000, Ordering::Relaxed);
        assert!(!connections.close_idlest(1, 20_000) && !open.connection.is_blocked(20_000));
        open.connection.write(true);
        assert!(open.connection.is_blocked(21_001), "nothing was taken meanwhile");
        open.connection.write(false);
        assert!(!open.connection.is_blocked(60_000) && connections.close_idlest(1, 60_000));
    }

    #[test]
    fn a_connection_whose_exchanges_are_all_cancelled_is_blocked_after_a_while() {
        let connection = Arc::new(Connection::default());
        let exchange = Arc::new(Exchange::new("/".into(), Arc::default()));
        let _busy = connection.begin(Arc::clone(&exchange));
        assert!(!connection.is_blocked(1) && !connection.is_blocked(5000));
        exchange.cancel(Cause::ClientNotReading);
        assert!(!connection.is_blocked(5000) && !connection.is_blocked(10_000));
        assert!(connection.is_blocked(10_001));
    }
}
