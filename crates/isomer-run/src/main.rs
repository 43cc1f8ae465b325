//! The program `isomer-run`: the command line around the libraries `isomer-runtime`, `isomer-store` and `isomer-guest`.

#[cfg(any(test, target_env = "musl"))]
mod allocator;
mod cli;
mod log;
mod panics;
mod signals;
#[cfg(target_os = "linux")]
mod unwinding;

use std::process::ExitCode;

/// musl's own has one lock for all threads, and asks the system for memory more often.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

fn main() -> ExitCode {
    signals::set_up();
    isomer_terminal::with_enough_stack(|| panics::as_errors(cli::main))
}
