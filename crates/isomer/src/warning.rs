//! Warnings, on standard error: what went wrong, and what is done about it. Never here: an error that ends a command.

use anstyle::{AnsiColor, Effects, Style};
use isomer_compile::cache::CacheError;
use std::fmt::Display;

const WARNING: Style = AnsiColor::Yellow.on_default().effects(Effects::BOLD);

/// Prints what went wrong and what is done about it.
pub(crate) fn warn(what: &dyn Display, consequence: &str) {
    anstream::eprintln!("{WARNING}warning:{WARNING:#} {what}");
    anstream::eprintln!("  {consequence}");
}

/// The same for the cache, without which everything works.
pub(crate) fn warn_of_cache(error: &CacheError) {
    let consequence = match error {
        CacheError::Damaged { .. } => "it is compiled again",
        _ => "nothing more is stored in the cache this time",
    };
    warn(error, consequence);
}
