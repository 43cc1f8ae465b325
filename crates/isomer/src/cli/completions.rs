//! `isomer completions SHELL`.

use super::Cli;
use clap::CommandFactory;
use clap_complete::{Shell, generate};
use isomer_terminal::{Failures, print};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The shell to complete for
    shell: Shell,
}

pub(super) fn run(args: &Args) -> Result<(), Failures> {
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "isomer", &mut script);
    print(&*String::from_utf8_lossy(&script))?;
    Ok(())
}
