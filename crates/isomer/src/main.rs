//! The `isomer` program: reads the command line, calls one file of `cli` per command, and prints errors. Never here: logic
//! that a user of the library `isomer-compile` would miss.

mod cell_failures;
mod cli;
mod progress;
mod timings;
mod warning;
mod wording;

use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    // A write beyond the limit on file sizes is an error, and not the end of the process. It fails for signals alone that
    // no process can handle.
    let _ = signal_hook::flag::register(libc::SIGXFSZ, Arc::default());
    isomer_terminal::with_enough_stack(|| match cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failures) => {
            failures.print();
            // The status that a shell reports for a program that a signal ended.
            cli::interruption().map_or(ExitCode::FAILURE, |signal| ExitCode::from(128 + signal))
        }
    })
}
