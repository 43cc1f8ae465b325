//! The bodies of an exchange. In: the client's body, the guest's body. Out: the same frames, with every wait and the end
//! reported to the [`Exchange`]. Never here: more of a request's body than its route allows; a frame without bytes, over
//! which guests of WASI 0.3 trap.

use super::exchange::{Cause, Exchange, Waiter};
use super::time::now_ms;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use wasmtime_wasi_http::{Error, WasiBody};

/// A client's body, for a guest.
pub(super) struct RequestBody<B> {
    from: B,
    left_bytes: u64,
    exchange: Arc<Exchange>,
}

impl<B> RequestBody<B> {
    /// At most `size_bytes_max` of `from`.
    pub(super) fn new(from: B, size_bytes_max: usize, exchange: Arc<Exchange>) -> RequestBody<B> {
        RequestBody { from, left_bytes: size_bytes_max as u64, exchange }
    }
}

/// Whether a frame has data without a byte in it.
fn is_empty(frame: &Frame<Bytes>) -> bool {
    frame.data_ref().is_some_and(Bytes::is_empty)
}

fn waits(since_ms: &AtomicU64) {
    let _ = since_ms.compare_exchange(0, now_ms(), Ordering::Relaxed, Ordering::Relaxed);
}

fn waits_no_more(since_ms: &AtomicU64) {
    since_ms.store(0, Ordering::Relaxed);
}

impl<B> Body for RequestBody<B>
where
    B: Body<Data = Bytes, Error = hyper::Error> + Unpin,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        if this.exchange.poll_cancelled(context, Waiter::RequestBody).is_ready() {
            return Poll::Ready(Some(Err(Error::ConnectionReadTimeout)));
        }
        loop {
            let since_ms = &this.exchange.waiting.request_frame_since;
            let Poll::Ready(frame) = Pin::new(&mut this.from).poll_frame(context) else {
                waits(since_ms);
                return Poll::Pending;
            };
            waits_no_more(since_ms);
            let frame = match frame {
                Some(Ok(frame)) if is_empty(&frame) => continue,
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(Error::Hyper(error)))),
                None => return Poll::Ready(None),
            };
            let size_bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
            let Some(left_bytes) = this.left_bytes.checked_sub(size_bytes) else {
                this.left_bytes = 0;
                return Poll::Ready(Some(Err(Error::HttpRequestBodySize(None))));
            };
            this.left_bytes = left_bytes;
            return Poll::Ready(Some(Ok(frame)));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.from.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.from.size_hint()
    }
}

impl<B> Drop for RequestBody<B> {
    fn drop(&mut self) {
        waits_no_more(&self.exchange.waiting.request_frame_since);
    }
}

/// A guest's body, for a client. What is held until its end, `Held`, is a route's permit and the like.
pub(super) struct ResponseBody<Held> {
    from: WasiBody,
    exchange: Arc<Exchange>,
    held: Option<Held>,
}

impl<Held> ResponseBody<Held> {
    /// The body of the response to `exchange`, which is over when this ends.
    pub(super) fn new(from: WasiBody, exchange: Arc<Exchange>, held: Held) -> ResponseBody<Held> {
        if from.is_end_stream() {
            exchange.complete();
        } else {
            waits(&exchange.waiting.client_since);
        }
        ResponseBody { from, exchange, held: Some(held) }
    }

    fn end(&mut self) {
        self.exchange.complete();
        self.held = None;
    }
}

impl<Held: Unpin> Body for ResponseBody<Held> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        if let Poll::Ready(cause) = this.exchange.poll_cancelled(context, Waiter::ResponseBody) {
            this.held = None;
            return Poll::Ready(Some(Err(Error::InternalError(Some(cause.to_string())))));
        }
        waits_no_more(&this.exchange.waiting.client_since);
        let since_ms = &this.exchange.waiting.response_frame_since;
        let Poll::Ready(frame) = Pin::new(&mut this.from).poll_frame(context) else {
            waits(since_ms);
            return Poll::Pending;
        };
        waits_no_more(since_ms);
        match &frame {
            // Nothing follows them.
            Some(Ok(frame)) if frame.is_trailers() => this.end(),
            Some(Ok(_)) => waits(&this.exchange.waiting.client_since),
            Some(Err(_)) => {
                this.exchange.cancel(Cause::InstanceEnded);
                this.held = None;
            }
            None => this.end(),
        }
        // What has been declared as its length is there: the client reads no further and no frame follows.
        if this.from.is_end_stream() {
            this.end();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.from.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.from.size_hint()
    }
}

impl<Held> Drop for ResponseBody<Held> {
    fn drop(&mut self) {
        self.exchange.cancel(Cause::ClientGone);
    }
}

/// A body of a server's own answer.
pub(super) fn text(text: String) -> WasiBody {
    http_body_util::Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync()
}
