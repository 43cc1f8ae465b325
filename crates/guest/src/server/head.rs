//! How long a client takes for a request's head. In: the bytes of a connection, hyper's timer. Out: the connection knows when
//! HTTP/1.1 begins to wait for a head, and when its first byte arrives. Never here: a limit: [`super::connections`] closes what
//! takes too long.

use super::connections::Connection;
use super::time::now_ms;
use hyper::rt::{Sleep, Timer};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{self, AsyncRead, AsyncWrite, ReadBuf};

/// Tells the connection that bytes have arrived, and whether others wait for the client.
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
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(context, from);
        this.connection.write(written.is_pending());
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[std::io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write_vectored(context, from);
        this.connection.write(written.is_pending());
        written
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

/// Hyper's timer for heads, which it starts when it begins to wait for one. It only tells the connection so: a timer of the
/// executor for each request would cost as much as a twentieth of a quick guest's run, and a head's time is looked at with
/// those of idle connections.
#[derive(Clone)]
pub(super) struct HeadTimer {
    connection: Arc<Connection>,
    begun: Instant,
}

impl HeadTimer {
    /// Of this connection.
    pub(super) fn new(connection: Arc<Connection>) -> HeadTimer {
        HeadTimer { connection, begun: Instant::now() }
    }
}

impl Timer for HeadTimer {
    fn sleep(&self, _: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.begun)
    }

    fn sleep_until(&self, _: Instant) -> Pin<Box<dyn Sleep>> {
        // What has arrived since the last head was the rest of its body.
        self.connection.await_head();
        Box::pin(Never)
    }

    fn now(&self) -> Instant {
        self.begun
    }
}

/// The connection is closed from outside when its time is over.
struct Never;

impl Future for Never {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl Sleep for Never {}
