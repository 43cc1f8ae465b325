//! The program `isomer-run`: the command line around the libraries `isomer-runtime`, `isomer-store` and `isomer-guest`.

mod cli;
mod log;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
