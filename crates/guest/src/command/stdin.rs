//! Standard input of a guest. In: this process's descriptor 0. Out: a stream that is read when the guest reads. Never
//! here: a thread. wasmtime-wasi starts one that reads ahead, which panics where a limit allows no other thread.
//!
//! The descriptor stays as it is, since other processes may share it: it is asked whether a read would wait, and read
//! only if not. What the event loop cannot watch, a file, never makes a read wait.

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io::{self, IsTerminal};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, Interest, ReadBuf};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::StdinStream;
use wasmtime_wasi::p2::{InputStream, Pollable, StreamError, StreamResult};

/// However much a guest requests, one read gives no more.
const READ_SIZE_BYTES_MAX: usize = 64 << 10;

/// This process's standard input. All of its streams share one registration in the event loop, which accepts a descriptor
/// once.
#[derive(Clone, Default)]
pub(super) struct Stdin {
    watched: Arc<OnceLock<Option<AsyncFd<io::Stdin>>>>,
}

impl Stdin {
    /// The descriptor in the event loop, unless it is one that a read never waits for.
    #[allow(unsafe_code)]
    fn watched(&self) -> Option<&AsyncFd<io::Stdin>> {
        let watch = || {
            // SAFETY: descriptor 0 is open for as long as this process lives: the standard library sees to that, and
            // nothing here closes it.
            unsafe { AsyncFd::register_with_interest(io::stdin(), Interest::READABLE) }.ok()
        };
        self.watched.get_or_init(watch).as_ref()
    }

    /// Reads into `buffer` what is there, which is nothing at the end.
    fn read(buffer: &mut [u8]) -> io::Result<usize> {
        match rustix::io::retry_on_intr(|| rustix::io::read(io::stdin(), &mut *buffer)) {
            // Nothing can be read from a descriptor that is open for writing alone; the standard library says so, too.
            Err(Errno::BADF) => Ok(0),
            other => Ok(other?),
        }
    }
}

/// Whether a read would not wait: there are bytes, it has ended, or it fails.
fn is_ready() -> bool {
    wait_for_input(Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))
}

/// Waits until a read would not wait, or for so long.
fn wait_for_input(at_most: Option<&Timespec>) -> bool {
    let stdin = io::stdin();
    let mut asked = [PollFd::new(&stdin, PollFlags::IN)];
    // What cannot be polled is read.
    rustix::io::retry_on_intr(|| poll(&mut asked, at_most)).map_or(true, |ready| ready > 0)
}

impl wasmtime_wasi::cli::IsTerminal for Stdin {
    fn is_terminal(&self) -> bool {
        IsTerminal::is_terminal(&io::stdin())
    }
}

impl StdinStream for Stdin {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for Stdin {
    async fn ready(&mut self) {
        std::future::poll_fn(|context| self.poll_ready(context)).await;
    }
}

impl Stdin {
    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        while !is_ready() {
            let Some(watched) = self.watched() else {
                // The guest is all that this thread does.
                wait_for_input(None);
                break;
            };
            // An error means that the event loop ends.
            let Ok(mut guard) = ready!(watched.poll_read_ready(context)) else { break };
            // What arrives after this question makes the guard's readiness a newer one, which is not cleared.
            if is_ready() {
                break;
            }
            guard.clear_ready();
        }
        Poll::Ready(())
    }
}

impl InputStream for Stdin {
    fn read(&mut self, size_bytes: usize) -> StreamResult<Bytes> {
        if size_bytes == 0 || !is_ready() {
            return Ok(Bytes::new());
        }
        let mut buffer = vec![0; size_bytes.min(READ_SIZE_BYTES_MAX)];
        match Stdin::read(&mut buffer) {
            Ok(0) => Err(StreamError::Closed),
            Ok(read) => {
                buffer.truncate(read);
                Ok(buffer.into())
            }
            Err(error) => Err(StreamError::LastOperationFailed(error.into())),
        }
    }
}

impl AsyncRead for Stdin {
    fn poll_read(self: Pin<&mut Stdin>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_ready(context));
        let size_bytes = buffer.remaining().min(READ_SIZE_BYTES_MAX);
        let read = Stdin::read(buffer.initialize_unfilled_to(size_bytes))?;
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }
}
