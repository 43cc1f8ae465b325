//! Standard output, where only results go.

use crate::Failure;
use serde::Serialize;
use std::io::{ErrorKind, Write};

/// Prints `text`. A reader who has seen enough, as `head` has, is no error.
///
/// # Errors
///
/// Standard output cannot be written, for example because its disk is full.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = anstream::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::because("cannot write to standard output", &error))
        }
        _ => Ok(()),
    }
}

/// Prints `value` as indented JSON.
///
/// # Errors
///
/// Those of [`print()`], and those of the value's own serialization.
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(value).map_err(|error| Failure::because("cannot write JSON", &error))?;
    print(&format!("{json}\n"))
}
