//! Running other programs. In: a command. Out: that it succeeded, or what it printed; every failure names the command.
//! Never here: what is installed by it.

use crate::root;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where things that tests and benches download or install are kept: outside git, reused by the next call.
pub fn tools() -> PathBuf {
    root().join("target").join("tools")
}

/// cargo, in this checkout.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root());
    cargo
}

/// The directory of a package of `Cargo.lock`, by its name.
///
/// # Errors
/// When cargo lists no such package.
pub fn package(name: &str) -> Result<PathBuf> {
    let metadata = read(cargo().args(["metadata", "--locked", "--format-version", "1"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"].as_array().context("cargo lists no packages")?;
    let package = packages.iter().find(|package| package["name"] == name);
    let manifest = package.and_then(|package| package["manifest_path"].as_str());
    let manifest = Path::new(manifest.with_context(|| format!("cargo lists no package {name}"))?);
    Ok(manifest.parent().expect("a manifest lies in a directory").to_owned())
}

/// Runs `command` with its output shown, and fails with its name when it does not exit with 0.
///
/// # Errors
/// When it cannot be started, or does not exit with 0.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("could not start {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

/// Runs `command` and returns its standard output as text.
///
/// # Errors
/// When it cannot be started, does not exit with 0, or prints something that is not UTF-8.
pub fn read(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("could not start {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).with_context(|| format!("{command:?} printed something that is not UTF-8"))
}

/// The first line that a program printed.
///
/// # Errors
/// As [`read`].
pub fn first_line(command: &mut Command) -> Result<String> {
    Ok(read(command)?.lines().next().unwrap_or_default().to_owned())
}
