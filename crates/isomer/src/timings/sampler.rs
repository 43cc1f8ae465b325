//! What the machine does while jobs run: how busy its cores are, and how much memory this process and its workers hold.
//! Read from `/proc`; where that cannot be read, there are no samples.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_millis(200);

/// One look at the machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// When, since the beginning.
    pub(super) at: Duration,
    /// The part of all cores that was busy since the sample before, from 0 to 1.
    pub(super) busy: f64,
    /// What this process and its children hold in memory.
    pub(super) memory_bytes: u64,
}

/// A thread that looks.
pub(super) struct Sampler {
    samples: Arc<Mutex<Vec<Sample>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sampler {
    pub(super) fn begin() -> Sampler {
        let (samples, ended) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (to, until) = (samples.clone(), ended.clone());
        let look = move || {
            let begun = Instant::now();
            let mut before = core_time();
            while !until.load(Ordering::Relaxed) {
                thread::sleep(INTERVAL);
                let now = core_time();
                if let (Some((busy, all)), Some((busy_before, all_before))) = (now, before)
                    && all > all_before
                {
                    let busy = busy.saturating_sub(busy_before) as f64 / (all - all_before) as f64;
                    let sample = Sample { at: begun.elapsed(), busy, memory_bytes: memory_bytes() };
                    to.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
                }
                before = now;
            }
        };
        let thread = thread::Builder::new().name("isomer-sampler".to_owned()).spawn(look).ok();
        Sampler { samples, ended, thread }
    }

    pub(super) fn samples(&self) -> Vec<Sample> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

/// The time that all cores together were busy, and all time, in the system's ticks: the first line of `/proc/stat`.
fn core_time() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let fields = text.lines().next()?.split_whitespace().skip(1).take(8);
    let fields: Vec<u64> = fields.map(|field| field.parse().ok()).collect::<Option<_>>()?;
    let all = fields.iter().sum();
    // The fourth is idle, the fifth waits for a disk.
    let idle = fields.get(3)? + fields.get(4)?;
    Some((all - idle, all))
}

fn memory_bytes() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let children: Vec<String> =
        children.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect();
    let processes = std::iter::once("self").chain(children.iter().map(String::as_str));
    processes.filter_map(resident_bytes).sum()
}

fn resident_bytes(process: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? << 10)
}
