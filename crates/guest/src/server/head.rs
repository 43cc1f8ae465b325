//! How long a client takes for a request's head. In: the bytes of a connection, hyper's timer. Out: hyper's time limit counts
//! from the head's first byte. Never here: how long a connection may be idle between requests, which hyper would count too.

use super::connections::Connection;
use super::time::now_ms;
use hyper::rt::{Sleep, Timer};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{self, AsyncRead, AsyncWrite, ReadBuf};

/// Tells the connection that bytes have arrived.
pub(super) struct Received<I> {
    io: I,
    connection: Arc<Connection>,
}

impl<I> Received<I> {
    pub(super) fn new(io: I, connection: Arc<Connection>) -> Received<I> {
        Received { io, connection }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Received<I> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = to.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(context, to))?;
        if to.filled().len() > before {
            this.connection.receive(now_ms());
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Received<I> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(context, from)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[std::io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(context, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}

/// Hyper's timer for heads, which it starts when it begins to wait for one.
#[derive(Clone)]
pub(super) struct HeadTimer {
    connection: Arc<Connection>,
    time: Duration,
}

impl HeadTimer {
    /// A head may take this `time` from its first byte on.
    pub(super) fn new(connection: Arc<Connection>, time: Duration) -> HeadTimer {
        HeadTimer { connection, time }
    }
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        // What has arrived since the last head was the rest of its body.
        self.connection.await_head();
        let sleep = Box::pin(tokio::time::sleep_until(deadline.into()));
        Box::pin(HeadSleep { sleep, connection: Arc::clone(&self.connection), time: self.time })
    }
}

struct HeadSleep {
    sleep: Pin<Box<tokio::time::Sleep>>,
    connection: Arc<Connection>,
    time: Duration,
}

impl Future for HeadSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            ready!(this.sleep.as_mut().poll(context));
            // While nothing of a head has arrived, it cannot have taken too long.
            let taken = this.connection.head_since_ms().map_or(0, |since_ms| now_ms().saturating_sub(since_ms));
            let left = this.time.saturating_sub(Duration::from_millis(taken));
            if left.is_zero() {
                return Poll::Ready(());
            }
            this.sleep.as_mut().reset(tokio::time::Instant::now() + left);
        }
    }
}

impl Sleep for HeadSleep {}
