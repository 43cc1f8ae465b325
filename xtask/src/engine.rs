//! `cargo xtask engine`: whether `Cargo.lock` has the newest wasmtime that `Cargo.toml` allows. In: the registry's index,
//! by way of cargo. Out: an error that names the newer version: artifacts made by it load beside those made today, and it
//! may hold a security fix. For a job that runs by the clock, not for CI: the answer changes without a commit.

use anyhow::{Context, Result, bail, ensure};
use isomer_testing::shell::cargo;

pub(crate) fn check() -> Result<()> {
    let mut update = cargo();
    let output = update.args(["update", "--dry-run", "--package", "wasmtime"]).output().context("cargo update")?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{update:?} ended with {}: {text}", output.status);
    match newer(&text) {
        Some(step) => bail!("Cargo.lock is behind: {step}; update with `cargo update --package wasmtime`, then test"),
        None => println!("Cargo.lock has the newest wasmtime that Cargo.toml allows"),
    }
    Ok(())
}

/// `wasmtime v48.0.8 -> v48.0.9`, if cargo would take that step.
fn newer(text: &str) -> Option<&str> {
    text.lines()
        .map(str::trim_start)
        .filter_map(|line| line.strip_prefix("Updating "))
        .find(|step| step.starts_with("wasmtime v"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_engine_is_found_among_what_cargo_prints() {
        let text = "    Updating crates.io index\n     Locking 1 package\n    Updating wasmtime v48.0.8 -> v48.0.9\n";
        assert_eq!(newer(text), Some("wasmtime v48.0.8 -> v48.0.9"));
        assert_eq!(newer("    Updating crates.io index\n    Updating wasmtime-environ v48.0.8 -> v48.0.9\n"), None);
    }
}
