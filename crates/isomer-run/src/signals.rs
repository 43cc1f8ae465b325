//! Signals. In: which process this is. Out: how it ends by them. Never here: a signal that means more than its end.

use rustix::process::{WaitOptions, getpid, wait};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::flag;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Those that people and container engines end a process with.
const ENDING: [i32; 6] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];

/// A write beyond the limit on file sizes is an error and not the end of the process. The first process of a container, for
/// which the kernel has no default actions, ends by the signals that end others, with the exit codes that shells show.
pub(crate) fn set_up() {
    // Both fail for signals alone that no process can handle.
    let _ = flag::register(libc::SIGXFSZ, Arc::default());
    if is_first_process() {
        for signal in ENDING {
            let _ = flag::register_conditional_shutdown(signal, 128 + signal, Arc::new(AtomicBool::new(true)));
        }
    }
}

/// The first process of a container inherits those whose parents have ended, and has none of its own from here on: none
/// stays as a zombie.
#[allow(unsafe_code, reason = "libc has no safe wrapper")]
pub(crate) fn reap_children() {
    if !is_first_process() {
        return;
    }
    // SAFETY: no handler is installed, so none can do what handlers must not. From now on the kernel reaps.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    // Those that have ended already.
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}

fn is_first_process() -> bool {
    getpid().is_init()
}
