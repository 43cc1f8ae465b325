//! Panics: bugs, and libraries that panic when the system refuses what they take for granted. In: a panic. Out: an error as
//! a person sees others. Never here: one that is caught where it occurs, over a damaged artifact.

use isomer_terminal::Failure;
use std::panic::{self, UnwindSafe};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

/// As Rust's programs exit.
const EXIT_BUG: u8 = 101;

/// The last panic of the main thread: its message and location.
static LAST: Mutex<Option<(String, String)>> = Mutex::new(None);

/// Runs the program.
pub(crate) fn as_errors(main: impl FnOnce() -> ExitCode + UnwindSafe) -> ExitCode {
    let main_thread = std::thread::current().id();
    let default = panic::take_hook();
    let wants_backtrace = std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0");
    panic::set_hook(Box::new(move |panic| {
        if wants_backtrace || std::thread::current().id() != main_thread {
            default(panic);
        }
        let text = panic.payload_as_str().unwrap_or("it gave no reason").to_owned();
        let location = panic.location().map_or_else(|| "an unknown location".to_owned(), ToString::to_string);
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some((text, location));
    }));
    panic::catch_unwind(main).unwrap_or_else(|_| {
        let (text, location) = LAST.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
        let (failure, code) = failure(text, &location);
        failure.print();
        code
    })
}

/// What a person is told, and the exit code: an error of the system's is no bug.
fn failure(text: String, location: &str) -> (Failure, ExitCode) {
    if text.contains("os error") || text.contains("Os {") {
        let failure = Failure::new("the system refuses what isomer-run needs").caused_by(text);
        let hint = "raise the limit (on processes: `pids.max`, `ulimit -u`; on memory: `ulimit -v`; a huge `RUST_MIN_STACK` \
                    counts, too), or allow the system call (seccomp profile)";
        return (failure.hint(hint.to_owned()), ExitCode::FAILURE);
    }
    let failure = Failure::new("isomer-run panicked, which is a bug").caused_by(text);
    (failure.caused_by(format!("at {location}")).hint("please report it".to_owned()), ExitCode::from(EXIT_BUG))
}
