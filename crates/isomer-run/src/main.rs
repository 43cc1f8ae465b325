//! The program `isomer-run`: the command line around the libraries `isomer-runtime`, `isomer-store` and `isomer-guest`.

mod cli;
mod log;
mod panics;
mod signals;

use std::process::ExitCode;

/// musl's allocator has one lock for all threads, and asks the system for memory more often.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    signals::set_up();
    isomer_terminal::with_enough_stack(|| panics::as_errors(cli::main))
}
