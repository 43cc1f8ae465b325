//! The `isomer` command: reads the command line, hands over to one file of `cli` a command, and prints what failed.

mod cell_failures;
mod cli;
mod progress;
mod timings;
mod transfer;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failures) => {
            failures.print();
            // What a shell says of a program that Ctrl-C ended.
            if cli::was_interrupted() { ExitCode::from(130) } else { ExitCode::FAILURE }
        }
    }
}
