//! Warnings about the cache, without which everything works. In: why it is not used. Out: a line on standard error, and what
//! is done about it. Never here: an error that ends a command.

use isomer_compile::cache::CacheError;
use isomer_contract::one_line;
pub(crate) use isomer_terminal::warn;

/// Prints what is wrong with the cache and what is done about it.
pub(crate) fn warn_of_cache(error: &CacheError) {
    let consequence = match error {
        CacheError::Damaged { .. } => "it is compiled again",
        _ => "nothing more is stored in the cache this time",
    };
    warn(&one_line(error), consequence);
}
