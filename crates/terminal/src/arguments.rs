//! Arguments of the command line that are not text. In: clap's error. Out: the same, with the arguments that it is about.

use crate::escaped;
use clap::error::ErrorKind;
use std::env;

/// Names the arguments that are not UTF-8, where `error` is about that: clap says only that there are some.
pub fn name_invalid_utf8(error: clap::Error, command: &mut clap::Command) -> clap::Error {
    if error.kind() != ErrorKind::InvalidUtf8 {
        return error;
    }
    let invalid = env::args_os().skip(1).filter(|argument| argument.to_str().is_none());
    let shown: Vec<_> = invalid.map(|argument| format!("`{}`", escaped(&argument.to_string_lossy()))).collect();
    command.error(ErrorKind::InvalidUtf8, format!("expected UTF-8, found {}", shown.join(", ")))
}
