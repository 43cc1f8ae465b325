//! A guest's standard streams. In: inherited, null, or a file, and how much may be written. Out: wasmtime-wasi's streams.
//! Never here: a thread.

use super::stdin::Stdin;
use crate::host::Process;
use crate::limits::{LimitHit, LimitKind};
use bytes::Bytes;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{InputFile, IsTerminal, OutputFile, StdoutStream};
use wasmtime_wasi::p2::{self, OutputStream, Pollable, StreamResult};

/// Where a standard stream comes from or goes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stream {
    /// This process's own.
    #[default]
    Inherit,
    /// Nothing is read, and what is written is dropped.
    Null,
    /// A file; written, it is created, and emptied first.
    File(PathBuf),
}

/// The three standard streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    /// Standard input.
    pub stdin: Stream,
    /// Standard output.
    pub stdout: Stream,
    /// Standard error.
    pub stderr: Stream,
}

/// A file for a standard stream cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open `{}` as its {stream}", .path.display())]
pub struct StreamError {
    /// Which stream.
    pub stream: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

impl Streams {
    pub(super) fn open(&self, process: &mut Process, written: &Written) -> Result<(), StreamError> {
        let failed = |stream, path: &PathBuf| {
            let path = path.clone();
            move |source| StreamError { stream, path, source }
        };
        process.stdin = match &self.stdin {
            Stream::Inherit => Box::new(Stdin::default()),
            Stream::Null => Box::new(tokio::io::empty()),
            Stream::File(path) => Box::new(InputFile::new(File::open(path).map_err(failed("standard input", path))?)),
        };
        let create = |stream, path: &PathBuf| File::create(path).map(OutputFile::new).map_err(failed(stream, path));
        let output = |stream, to: &Stream, inherited: Box<dyn StdoutStream + Sync>| match to {
            Stream::Inherit => Ok(inherited),
            Stream::Null => Ok(Box::new(tokio::io::empty()) as Box<dyn StdoutStream + Sync>),
            Stream::File(path) => Ok(Box::new(create(stream, path)?) as Box<_>),
        };
        let (stdout, stderr) = match (&self.stdout, &self.stderr) {
            // One file for both, as `2>&1`: neither overwrites what the other writes.
            (Stream::File(path), Stream::File(other)) if path == other => {
                let both = create("standard output", path)?;
                (Box::new(both.clone()) as Box<dyn StdoutStream + Sync>, Box::new(both) as Box<_>)
            }
            (stdout, stderr) => (
                output("standard output", stdout, Box::new(io::stdout()))?,
                output("standard error", stderr, Box::new(io::stderr()))?,
            ),
        };
        process.stdout = written.limit(stdout);
        process.stderr = written.limit(stderr);
        Ok(())
    }
}

/// How much the guest has written, and may write.
#[derive(Clone, Debug)]
pub(super) struct Written {
    bytes: Arc<AtomicU64>,
    allowed: Option<u64>,
}

impl Written {
    pub(super) fn new(allowed: Option<u64>) -> Written {
        Written { bytes: Arc::default(), allowed }
    }

    /// That it has written, or would have, more than it may.
    pub(super) fn hit(&self) -> Option<LimitHit> {
        let written = self.bytes.load(Ordering::Relaxed);
        let allowed = self.allowed.filter(|allowed| written > *allowed)?;
        Some(LimitHit { limit: LimitKind::Output, allowed, requested: Some(written) })
    }

    fn limit(&self, to: Box<dyn StdoutStream + Sync>) -> Box<dyn StdoutStream + Sync> {
        match self.allowed {
            Some(_) => Box::new(Limited { to, written: self.clone() }),
            None => to,
        }
    }

    fn count(&self, size_bytes: usize) -> Result<(), LimitHit> {
        self.bytes.fetch_add(size_bytes as u64, Ordering::Relaxed);
        self.hit().map_or(Ok(()), Err)
    }
}

/// A stream that counts what is written to it.
struct Limited<T> {
    to: T,
    written: Written,
}

impl IsTerminal for Limited<Box<dyn StdoutStream + Sync>> {
    fn is_terminal(&self) -> bool {
        self.to.is_terminal()
    }
}

impl StdoutStream for Limited<Box<dyn StdoutStream + Sync>> {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(Limited { to: Pin::from(self.to.async_stream()), written: self.written.clone() })
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Limited { to: self.to.p2_stream(), written: self.written.clone() })
    }
}

#[async_trait]
impl Pollable for Limited<Box<dyn OutputStream>> {
    async fn ready(&mut self) {
        self.to.ready().await;
    }
}

impl OutputStream for Limited<Box<dyn OutputStream>> {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.written.count(bytes.len()).map_err(|hit| p2::StreamError::Trap(hit.into()))?;
        self.to.write(bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.to.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.to.check_write()
    }
}

/// WASI 0.3 knows no trap here: the guest is told that the write failed.
impl AsyncWrite for Limited<Pin<Box<dyn AsyncWrite + Send + Sync>>> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.to.as_mut().poll_write(context, bytes) {
            Poll::Ready(Ok(size_bytes)) => {
                Poll::Ready(self.written.count(size_bytes).map(|()| size_bytes).map_err(io::Error::other))
            }
            other => other,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.to.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.to.as_mut().poll_shutdown(context)
    }
}
