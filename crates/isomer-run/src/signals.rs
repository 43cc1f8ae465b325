//! Signals. In: which process this is, and whether it is a server. Out: how it ends by them. Never here: what a server does
//! until it ends.

use rustix::process::{WaitOptions, getpid, wait};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;

/// Those that people and container engines end a process with.
const ENDING: [i32; 6] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];

/// Whether the first process of a container ends by a signal at once, as others do.
static END_AT_ONCE: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| Arc::new(AtomicBool::new(true)));

/// A write beyond the limit on file sizes is an error and not the end of the process. The first process of a container, for
/// which the kernel has no default actions, ends by the signals that end others, with the exit codes that shells show.
pub(crate) fn set_up() {
    // Both fail for signals alone that no process can handle.
    let _ = flag::register(libc::SIGXFSZ, Arc::default());
    if is_first_process() {
        for signal in ENDING {
            let _ = flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&END_AT_ONCE));
        }
    }
}

/// Calls `on_signal` for each SIGTERM, SIGINT and SIGHUP, instead of ending by it.
pub(crate) fn handle(mut on_signal: impl FnMut(i32) + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || signals.forever().for_each(&mut on_signal))?;
    END_AT_ONCE.store(false, Ordering::Relaxed);
    Ok(())
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
