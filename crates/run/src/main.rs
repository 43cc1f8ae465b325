//! The program `isomer-run`: a command line around the library of the same name.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
