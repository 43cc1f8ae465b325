//! What a test needs of this machine. In: a program's name. Out: whether it is there, or a line in the log of skipped
//! tests. Never here: a test that is skipped in silence.

use std::fs;
use std::io::Write;

/// Says that a test cannot run here, where `cargo xtask test` counts it.
pub fn skip(test: &str, reason: &str) {
    println!("skipped: {reason}");
    let Some(log) = std::env::var_os("ISOMER_SKIP_LOG") else { return };
    let file = fs::OpenOptions::new().append(true).create(true).open(log);
    // One short write, so that lines of tests that run at once do not mix.
    file.and_then(|mut file| file.write_all(format!("{test}: {reason}\n").as_bytes())).expect("the log can be written");
}

/// Whether a program is on PATH.
pub fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(name).is_file())
}
