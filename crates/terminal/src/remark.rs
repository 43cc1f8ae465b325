//! What is told beside the result, on standard error. In: what happened, and what is done about it. Out: a warning or a
//! note. Never here: an error that ends the command (`failure`).

use crate::escape::{escaped, escaped_lines};
use anstyle::{AnsiColor, Style};
use std::fmt::Display;

const WARNING: Style = AnsiColor::Yellow.on_default().bold();

/// Prints `warning: WHAT`, and below it what is done about it, or what the reader should do.
pub fn warn(what: &dyn Display, consequence: &str) {
    anstream::eprintln!("{WARNING}warning:{WARNING:#} {}", escaped(&what.to_string()));
    for line in consequence.lines() {
        anstream::eprintln!("  {}", escaped_lines(line.trim_start()));
    }
}

/// Prints a line that needs no action.
pub fn note(text: &str) {
    anstream::eprintln!("{}", escaped(text));
}
