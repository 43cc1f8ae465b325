//! In: a command. Out: how long it took, and what it and its workers took of the machine. Read from `/proc` while it
//! runs: a process that begins and ends between two looks is not seen, and the last moments of one count as nothing.

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_millis(50);

/// What a command took.
pub(super) struct Watched {
    /// How it ended.
    pub(super) status: ExitStatus,
    /// From its start to its end.
    pub(super) wall: Duration,
    /// What it used of the processors itself.
    pub(super) own: Duration,
    /// What its workers used.
    pub(super) workers: Duration,
    /// The most memory that all of them held at once; what they share is counted once.
    pub(super) peak_bytes: u64,
}

/// Runs `command` to its end.
pub(super) fn watch(command: &mut Command) -> Result<Watched> {
    let begun = Instant::now();
    let mut child = command.spawn().with_context(|| format!("could not start {command:?}"))?;
    let (process, ended) = (child.id(), AtomicBool::new(false));
    thread::scope(|scope| {
        let watcher = scope.spawn(|| look_at(process, &ended));
        let status = child.wait();
        let wall = begun.elapsed();
        ended.store(true, Ordering::Relaxed);
        watcher.thread().unpark();
        let (mut used, peak_bytes) = watcher.join().expect("looking does not panic");
        let status = status?;
        let own = used.remove(&process).unwrap_or_default();
        Ok(Watched { status, wall, own, workers: used.into_values().sum(), peak_bytes })
    })
}

/// The processor time of each process of the tree, and the most memory of all together.
fn look_at(root: u32, ended: &AtomicBool) -> (BTreeMap<u32, Duration>, u64) {
    let (mut used, mut peak_bytes) = (BTreeMap::new(), 0);
    while !ended.load(Ordering::Relaxed) {
        let processes = tree(root);
        used.extend(processes.iter().filter_map(|process| Some((*process, processor_time(*process)?))));
        peak_bytes = peak_bytes.max(processes.into_iter().filter_map(memory_bytes).sum());
        thread::park_timeout(INTERVAL);
    }
    (used, peak_bytes)
}

/// A process and all below it.
fn tree(process: u32) -> Vec<u32> {
    let mut found = vec![process];
    let mut next = 0;
    while let Some(of) = found.get(next) {
        let tasks = fs::read_dir(format!("/proc/{of}/task")).into_iter().flatten().flatten();
        let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        found.extend(children.collect::<String>().split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
        next += 1;
    }
    found
}

/// The time that a process has used, in its own code and the kernel's, without its children.
fn processor_time(process: u32) -> Option<Duration> {
    const TICKS_A_SECOND: u64 = 100;
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is the program's name, which may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(Duration::from_millis((ticks()? + ticks()?) * 1000 / TICKS_A_SECOND))
}

/// What a process holds, in bytes: its part of what it shares.
pub(super) fn memory_bytes(process: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}
