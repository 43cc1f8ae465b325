//! In: a pipe or connection. Out: what comes through it, up to a deadline. A thread reads ahead, so that a program which
//! writes much is never stopped by a full pipe.

use anyhow::{Result, bail};
use std::io::Read;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Instant;

/// What came and was not taken yet.
#[derive(Default)]
struct Received {
    bytes: Vec<u8>,
    ended: bool,
}

/// A stream that is read ahead.
pub(super) struct Stream(Arc<(Mutex<Received>, Condvar)>);

impl Stream {
    pub(super) fn of(mut from: impl Read + Send + 'static) -> Stream {
        let shared = Arc::new((Mutex::new(Received::default()), Condvar::new()));
        let to = shared.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let read = from.read(&mut buffer).unwrap_or_default();
                let mut received = to.0.lock().expect("no holder panics");
                received.bytes.extend(&buffer[..read]);
                received.ended = read == 0;
                to.1.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
        Stream(shared)
    }

    /// The next `count` bytes; fewer if the stream ends.
    pub(super) fn take(&self, count: usize, deadline: Instant) -> Result<String> {
        self.take_when(deadline, |received| (received.bytes.len() >= count || received.ended).then_some(count))
    }

    /// The next line, without its end.
    pub(super) fn line(&self, deadline: Instant) -> Result<String> {
        let line = self.take_when(deadline, |received| {
            let end = received.bytes.iter().position(|byte| *byte == b'\n');
            end.map(|end| end + 1).or(received.ended.then_some(received.bytes.len()))
        })?;
        Ok(line.trim_end().to_owned())
    }

    /// All that came until now and was not taken.
    pub(super) fn rest(&self) -> String {
        String::from_utf8_lossy(&self.0.0.lock().expect("no holder panics").bytes).into_owned()
    }

    fn take_when(&self, deadline: Instant, ready: impl Fn(&Received) -> Option<usize>) -> Result<String> {
        let (received, changed) = &*self.0;
        let mut received = received.lock().expect("no holder panics");
        loop {
            if let Some(count) = ready(&received) {
                let count = count.min(received.bytes.len());
                return Ok(String::from_utf8_lossy(&received.bytes.drain(..count).collect::<Vec<_>>()).into_owned());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("only {:?} came in time", String::from_utf8_lossy(&received.bytes));
            }
            received = changed.wait_timeout(received, left).expect("no holder panics").0;
        }
    }
}
