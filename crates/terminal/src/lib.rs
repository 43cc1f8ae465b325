//! What `isomer` and `isomer-run` show alike: results on standard output, in columns, and what failed on standard error. Colour
//! stays away where a person does not look: `anstream` asks NO_COLOR, CLICOLOR and whether the stream is a terminal.

mod failure;
mod output;
mod table;

pub use failure::{Failure, Failures};
pub use output::{print, print_json};
pub use table::{aligned, bytes};
