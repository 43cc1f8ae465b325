//! Where tests leave the results that `cargo xtask prove` makes its report of.

use serde::Serialize;
use std::fs;
use std::path::PathBuf;

/// Writes the part of the report that is called `name`, if a report is being made.
pub fn record(name: &str, part: &impl Serialize) {
    let Some(directory) = std::env::var_os("ISOMER_PROOF").map(PathBuf::from) else { return };
    let text = serde_json::to_string_pretty(part).expect("results serialize");
    let written = fs::create_dir_all(&directory)
        .and_then(|()| fs::write(directory.join(name).with_extension("json"), format!("{text}\n")));
    written.unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
}
