//! What `isomer` and `isomer-run` show alike: results on standard output, and what failed on standard error. Colour
//! stays away where a person does not look: `anstream` asks NO_COLOR, CLICOLOR and whether the stream is a terminal.

mod failure;
mod output;

pub use failure::{Failure, Failures};
pub use output::{print, print_json};
