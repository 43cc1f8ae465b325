//! The program `isomer-run`: the command line around the libraries `isomer-runtime`, `isomer-store` and `isomer-guest`.

mod cli;
mod log;
mod panics;
mod signals;

use std::process::ExitCode;

fn main() -> ExitCode {
    signals::set_up();
    isomer_terminal::with_enough_stack(|| panics::as_errors(cli::main))
}
