//! Tests that cannot run on this machine. In: a test's name and the reason. Out: a line in the log of skipped tests,
//! which `cargo xtask test` compares with `tests/skips.toml`. Never here: a test that is skipped silently.

use std::fs;
use std::io::Write;

/// Reports `test` as skipped.
///
/// # Panics
/// When the log that `ISOMER_SKIP_LOG` names cannot be written.
pub fn skip(test: &str, reason: &str) {
    println!("skipped: {reason}");
    let Some(log) = std::env::var_os("ISOMER_SKIP_LOG") else { return };
    let file = fs::OpenOptions::new().append(true).create(true).open(log);
    // One short write, so that the lines of concurrent tests do not mix.
    file.and_then(|mut file| file.write_all(format!("{test}: {reason}\n").as_bytes())).expect("the log can be written");
}

/// Whether a program is on PATH.
pub fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(name).is_file())
}
