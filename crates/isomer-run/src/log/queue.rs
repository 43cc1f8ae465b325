//! Lines on their way to standard error. In: lines, from any thread. Out: the same, written by a thread of their own. Never
//! here: a line that waits: where too many do, they are counted and dropped.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait to be written.
const LINES_MAX: usize = 4096;
/// How long the end of the process waits for the last line.
const FLUSH_TIME: Duration = Duration::from_secs(1);

static SENDER: OnceLock<SyncSender<Message>> = OnceLock::new();
static DROPPED: AtomicU64 = AtomicU64::new(0);

enum Message {
    Line(Vec<u8>),
    /// All lines before this one are written.
    Flushed(SyncSender<()>),
}

/// The queue of the process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue;

impl Queue {
    pub(super) fn start() -> io::Result<Queue> {
        let (sender, receiver) = sync_channel(LINES_MAX);
        thread::Builder::new().name("log".to_owned()).spawn(move || write(&receiver))?;
        // It is started once.
        let _ = SENDER.set(sender);
        Ok(Queue)
    }
}

fn write(messages: &Receiver<Message>) {
    for message in messages {
        // That standard error is closed cannot be reported.
        match message {
            Message::Line(line) => {
                let _ = io::stderr().write_all(&line);
            }
            Message::Flushed(done) => {
                let _ = done.send(());
            }
        }
        let dropped = DROPPED.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let _ = writeln!(
                io::stderr(),
                "warning: {dropped} lines of the log were dropped: they are not read fast enough"
            );
        }
    }
}

/// Waits, for a moment, until what was logged is written.
pub(crate) fn flush() {
    let Some(sender) = SENDER.get() else { return };
    let (done, is_done) = sync_channel(1);
    if sender.try_send(Message::Flushed(done)).is_ok() {
        // One that is not read is waited for no longer.
        let _ = is_done.recv_timeout(FLUSH_TIME);
    }
}

impl MakeWriter<'_> for Queue {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        Line(Vec::new())
    }
}

/// A line that is sent when it is complete.
#[derive(Debug)]
pub(super) struct Line(Vec<u8>);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let line = Message::Line(std::mem::take(&mut self.0));
        if SENDER.get().is_some_and(|sender| sender.try_send(line).is_err()) {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }
}
