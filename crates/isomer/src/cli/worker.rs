//! `isomer worker`: the process that runs the jobs of the process that started it.

use isomer_terminal::{Failure, Failures};

pub(super) fn run() -> Result<(), Failures> {
    Ok(isomer_compile::executor::serve().map_err(|error| Failure::because("the worker cannot go on", &error))?)
}
