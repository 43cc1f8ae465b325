//! What guests print. In: bytes of a guest's standard output or error. Out: events of the log, a line each, with the route
//! and the request. Never here: a write that waits: the guest's thread is the executor's. What is beyond a route's rate is
//! counted and dropped.

use super::instance::Instance;
use super::time::now_ms;
use bytes::Bytes;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// A longer line is logged in parts.
const LINE_SIZE_BYTES_MAX: usize = 8 << 10;
/// What a guest may write at once.
const WRITE_SIZE_BYTES_MAX: usize = 64 << 10;
/// How often dropped output is reported.
const REPORT_INTERVAL_MS: u64 = 1000;

/// How much of a route's guests' output is logged.
#[derive(Debug)]
pub(super) struct Rate {
    bytes_a_second: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    left_bytes: u64,
    filled_ms: u64,
    dropped_bytes: u64,
    reported_ms: u64,
}

impl Rate {
    pub(super) fn new(bytes_a_second: usize) -> Rate {
        let bytes_a_second = bytes_a_second as u64;
        let state = State { left_bytes: bytes_a_second, filled_ms: now_ms(), ..State::default() };
        Rate { bytes_a_second, state: Mutex::new(state) }
    }

    /// Whether so many bytes may be logged now; how many were dropped, when that is to be reported.
    fn take(&self, bytes: u64, now_ms: u64) -> (bool, Option<u64>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let passed_ms = now_ms.saturating_sub(state.filled_ms).min(1000);
        let filled = state.left_bytes + self.bytes_a_second * passed_ms / 1000;
        if filled != state.left_bytes {
            state.left_bytes = filled.min(self.bytes_a_second);
            state.filled_ms = now_ms;
        }
        let fits = bytes <= state.left_bytes;
        if fits {
            state.left_bytes -= bytes;
        } else {
            state.dropped_bytes += bytes;
        }
        let due = state.dropped_bytes > 0 && now_ms.saturating_sub(state.reported_ms) >= REPORT_INTERVAL_MS;
        let report = due.then(|| {
            state.reported_ms = now_ms;
            std::mem::take(&mut state.dropped_bytes)
        });
        (fits, report)
    }
}

/// One of an instance's standard streams.
#[derive(Clone, Debug)]
pub(super) struct GuestLog {
    stream: &'static str,
    instance: Arc<Instance>,
    rate: Arc<Rate>,
    line: Arc<Mutex<Vec<u8>>>,
}

impl GuestLog {
    pub(super) fn new(stream: &'static str, instance: Arc<Instance>, rate: Arc<Rate>) -> GuestLog {
        GuestLog { stream, instance, rate, line: Arc::default() }
    }

    fn write(&self, bytes: &[u8]) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            for part in part.chunks(LINE_SIZE_BYTES_MAX) {
                if line.len() + part.len() > LINE_SIZE_BYTES_MAX {
                    self.log(&line);
                    line.clear();
                }
                line.extend_from_slice(part);
            }
            if line.ends_with(b"\n") {
                self.log(&line);
                line.clear();
            }
        }
    }

    fn log(&self, line: &[u8]) {
        let (fits, dropped_bytes) = self.rate.take(line.len() as u64, now_ms());
        let route = &*self.instance.route;
        if let Some(bytes) = dropped_bytes {
            tracing::warn!(route, bytes, "guests print more than is logged; the rest was dropped");
        }
        if !fits {
            return;
        }
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end_matches(['\n', '\r']);
        // With several requests at once in an instance, no one knows whose line it is.
        let request = match self.instance.exchanges().as_slice() {
            [exchange] => exchange.id.to_string(),
            _ => String::new(),
        };
        let (stream, instance) = (self.stream, self.instance.id);
        tracing::info!(target: "guest", route, stream, instance, request, "{text}");
    }
}

impl Drop for GuestLog {
    fn drop(&mut self) {
        // The last owner of a line that has no end.
        if let Some(line) = Arc::get_mut(&mut self.line) {
            let line = std::mem::take(line.get_mut().unwrap_or_else(PoisonError::into_inner));
            if !line.is_empty() {
                self.log(&line);
            }
        }
    }
}

impl IsTerminal for GuestLog {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestLog {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for GuestLog {
    async fn ready(&mut self) {}
}

impl OutputStream for GuestLog {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        GuestLog::write(self, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_SIZE_BYTES_MAX)
    }
}

impl AsyncWrite for GuestLog {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let bytes = bytes.get(..WRITE_SIZE_BYTES_MAX).unwrap_or(bytes);
        GuestLog::write(&self, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_rate_is_dropped_and_reported() {
        let rate = Rate::new(100);
        let start = now_ms();
        assert_eq!(rate.take(100, start), (true, None));
        let (fits, _) = rate.take(10, start);
        assert!(!fits);
        let (fits, reported) = rate.take(50, start + 2000);
        assert!(fits);
        assert!(reported.is_none_or(|bytes| bytes == 10));
        assert!(!rate.take(60, start + 2000).0, "it fills up to one second's bytes");
        assert!(rate.take(60, start + 2100).0);
    }
}
