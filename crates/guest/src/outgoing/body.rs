//! Bodies of outgoing requests and their responses. Out: the same frames, but none without bytes, and no more than allowed.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep};
use wasmtime_wasi_http::{Error, WasiBody};

/// A guest's body, on its way to a server.
pub(super) struct SentBody(Mutex<WasiBody>);

impl SentBody {
    pub(super) fn new(body: WasiBody) -> SentBody {
        SentBody(Mutex::new(body))
    }

    fn body(&self) -> std::sync::MutexGuard<'_, WasiBody> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Body for SentBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let body = self.get_mut().0.get_mut().unwrap_or_else(PoisonError::into_inner);
        Pin::new(body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body().size_hint()
    }
}

/// A server's body, on its way to a guest.
pub(super) struct Counted {
    from: Incoming,
    left_bytes: u64,
    idle_time: Duration,
    /// When it has stood still for too long; none until the guest waits.
    deadline: Pin<Box<Sleep>>,
    waits: bool,
    _permit: OwnedSemaphorePermit,
}

impl Counted {
    pub(super) fn new(
        from: Incoming,
        size_bytes_max: u64,
        idle_time: Duration,
        permit: OwnedSemaphorePermit,
    ) -> Counted {
        let deadline = Box::pin(sleep(idle_time));
        Counted { from, left_bytes: size_bytes_max, idle_time, deadline, waits: false, _permit: permit }
    }
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        loop {
            let frame = match Pin::new(&mut this.from).poll_frame(context) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    if !this.waits {
                        this.waits = true;
                        this.deadline.as_mut().reset(Instant::now() + this.idle_time);
                    }
                    return this.deadline.as_mut().poll(context).map(|()| Some(Err(Error::ConnectionReadTimeout)));
                }
            };
            this.waits = false;
            return Poll::Ready(match frame {
                // Guests of WASI 0.3 trap over it.
                Some(Ok(frame)) if frame.data_ref().is_some_and(Bytes::is_empty) => continue,
                Some(Ok(frame)) => {
                    let size_bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                    match this.left_bytes.checked_sub(size_bytes) {
                        Some(left_bytes) => {
                            this.left_bytes = left_bytes;
                            Some(Ok(frame))
                        }
                        None => Some(Err(Error::HttpResponseBodySize(None))),
                    }
                }
                Some(Err(_)) => Some(Err(Error::HttpResponseIncomplete)),
                None => None,
            });
        }
    }

    fn is_end_stream(&self) -> bool {
        self.from.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.from.size_hint()
    }
}

/// An error of the guest's own body, as the guest is told of it again.
pub(super) fn copy_of(error: &Error) -> Error {
    match error {
        Error::HttpRequestBodySize(size) => Error::HttpRequestBodySize(*size),
        other => Error::InternalError(Some(other.to_string())),
    }
}
