//! When to ask sources again. In: the directories that change with them. Out: a wake-up for each change, by inotify, and
//! whether all changes are noticed: where inotify fails, a directory is missing, or a symbolic link leads to it, sources are
//! asked at intervals. Never here: what has changed.

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::{BTreeSet, HashMap};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread;

/// How long the thread waits for a change before it looks for directories that were missing, and for its own end.
const PAUSE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Room for some events; the others are read next.
const BUFFER_SIZE_BYTES: usize = 4096;

/// A name in the directory is another file's, or the directory itself is another one.
fn mask() -> WatchMask {
    let names = WatchMask::CREATE | WatchMask::DELETE | WatchMask::MOVED_FROM | WatchMask::MOVED_TO;
    names | WatchMask::DELETE_SELF | WatchMask::MOVE_SELF | WatchMask::ONLYDIR
}

/// What the thread is woken for that keeps the active versions in service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// The settings are to be read again.
    Reload,
    /// A source may have another active version.
    Changed,
}

/// Watched directories, until this is dropped.
#[derive(Debug)]
pub(super) struct Notices {
    complete: Arc<AtomicBool>,
    stopped: Arc<AtomicBool>,
}

impl Notices {
    /// Watches these directories on a thread of its own.
    pub(super) fn start(directories: BTreeSet<PathBuf>, wake: Sender<Wake>) -> Notices {
        let (complete, stopped) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let notices = Notices { complete: Arc::clone(&complete), stopped: Arc::clone(&stopped) };
        let inotify = match Inotify::init() {
            Ok(inotify) => inotify,
            Err(error) => {
                tracing::info!(target: "switch", "active versions are looked for at intervals: no inotify: {error}");
                return notices;
            }
        };
        let watcher = Watcher { inotify, directories, watched: HashMap::new(), wake, complete, stopped };
        // Without it, sources are asked at intervals.
        let _ = thread::Builder::new().name("notices".to_owned()).spawn(move || watcher.run());
        notices
    }

    /// Whether every change is noticed now.
    pub(super) fn are_complete(&self) -> bool {
        self.complete.load(Ordering::Relaxed)
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

struct Watcher {
    inotify: Inotify,
    directories: BTreeSet<PathBuf>,
    watched: HashMap<WatchDescriptor, PathBuf>,
    wake: Sender<Wake>,
    complete: Arc<AtomicBool>,
    stopped: Arc<AtomicBool>,
}

impl Watcher {
    fn run(mut self) {
        while !self.stopped.load(Ordering::Relaxed) {
            let mut changed = self.watch_missing();
            let complete = self.watched.len() == self.directories.len() && self.are_direct();
            self.complete.store(complete, Ordering::Relaxed);
            if !changed {
                // An interrupted wait is one that was shorter.
                let _ = poll(&mut [PollFd::new(&self.inotify, PollFlags::IN)], Some(&PAUSE));
                match self.read() {
                    Some(any) => changed = any,
                    None => break,
                }
            }
            if changed && self.wake.send(Wake::Changed).is_err() {
                break;
            }
        }
        self.complete.store(false, Ordering::Relaxed);
    }

    /// Whether no symbolic link leads to a directory: one that leads elsewhere later changes nothing in a directory that is
    /// watched.
    fn are_direct(&self) -> bool {
        let is_direct = |directory: &PathBuf| {
            let real = directory.canonicalize();
            real.is_ok_and(|real| std::path::absolute(directory).is_ok_and(|path| path == real))
        };
        self.directories.iter().all(is_direct)
    }

    /// Watches directories that were missing. Whether there was one: it may have changed before.
    fn watch_missing(&mut self) -> bool {
        let mut found = false;
        for directory in &self.directories {
            if self.watched.values().any(|watched| watched == directory) {
                continue;
            }
            if let Ok(descriptor) = self.inotify.watches().add(directory, mask()) {
                self.watched.insert(descriptor, directory.clone());
                found = true;
            }
        }
        found
    }

    /// Reads what has changed. Whether anything has; none when inotify itself fails.
    fn read(&mut self) -> Option<bool> {
        let mut buffer = [0; BUFFER_SIZE_BYTES];
        let events = match self.inotify.read_events(&mut buffer) {
            Ok(events) => events,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Some(false),
            Err(error) => {
                tracing::warn!(target: "switch", "active versions are looked for at intervals: inotify fails: {error}");
                return None;
            }
        };
        let mut any = false;
        for event in events {
            any = true;
            if event.mask.contains(EventMask::MOVE_SELF) {
                // Its path leads elsewhere now. A directory that was removed meanwhile is not watched any more.
                let _ = self.inotify.watches().remove(event.wd.clone());
            }
            if event.mask.intersects(EventMask::MOVE_SELF | EventMask::IGNORED) {
                self.watched.remove(&event.wd);
            }
        }
        Some(any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::sync::mpsc::{Receiver, channel};
    use std::time::{Duration, Instant};

    /// Requires a wake-up, and waits for the end of those that follow it.
    #[track_caller]
    fn woken(wakes: &Receiver<Wake>) {
        assert_eq!(wakes.recv_timeout(Duration::from_secs(10)), Ok(Wake::Changed));
        while wakes.recv_timeout(Duration::from_millis(100)).is_ok() {}
    }

    #[test]
    fn a_change_wakes_also_in_a_directory_that_was_replaced() {
        let temporary = std::env::temp_dir().canonicalize().expect("it is there");
        let directory = temporary.join(format!("isomer-notices-{}", std::process::id()));
        let active = directory.join("active");
        fs::create_dir_all(&active).expect("there is room");
        let (wake, wakes) = channel();
        let notices = Notices::start([directory.clone(), active.clone()].into(), wake);
        woken(&wakes);
        assert!(notices.are_complete());
        fs::write(active.join("new"), "").expect("there is room");
        woken(&wakes);
        fs::rename(active.join("new"), active.join("hello.json")).expect("it is there");
        woken(&wakes);
        fs::rename(&active, directory.join("gone")).expect("it is there");
        woken(&wakes);
        let begun = Instant::now();
        while notices.are_complete() {
            assert!(begun.elapsed() < Duration::from_secs(10), "a directory is missing");
            thread::sleep(Duration::from_millis(5));
        }
        fs::create_dir(&active).expect("there is room");
        woken(&wakes);
        fs::write(active.join("hello.json"), "").expect("there is room");
        woken(&wakes);
        // What a link leads to may be another directory, of which no change tells.
        let link = directory.join("link");
        std::os::unix::fs::symlink(&active, &link).expect("there is room");
        let (wake, wakes_by_link) = channel();
        let by_link = Notices::start([link].into(), wake);
        woken(&wakes_by_link);
        assert!(!by_link.are_complete());
        drop((notices, by_link));
        // The other end is dropped with the thread.
        while wakes.recv_timeout(Duration::from_secs(10)).is_ok() {}
        assert!(wakes.recv().is_err());
        fs::remove_dir_all(&directory).expect("it is there");
    }
}
