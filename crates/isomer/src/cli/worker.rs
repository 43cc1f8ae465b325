//! `isomer worker`: what `isomer` calls itself as, to have a process for each job that runs.

use super::farming::size;
use isomer_contract::Size;
use isomer_terminal::{Failure, Failures};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The memory that one job may take
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<Size>,
}

pub(super) fn run(args: &Args) -> Result<(), Failures> {
    Ok(isomer_compile::farm::serve(args.memory).map_err(|error| Failure::because("the worker cannot go on", &error))?)
}
