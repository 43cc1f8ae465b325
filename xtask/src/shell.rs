//! Running other programs: every failure names the command.

use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use std::process::Command;

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_path_buf()
}

/// Where things that tests and benches download or install are kept: outside git, reused by the next call.
pub(crate) fn tools() -> PathBuf {
    root().join("target").join("tools")
}

/// cargo, in this checkout.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root());
    cargo
}

/// Runs `command` with its output shown, and fails with its name when it does not exit with 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("could not start {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

/// Runs `command` and returns its standard output as text.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("could not start {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).with_context(|| format!("{command:?} printed something that is not UTF-8"))
}

/// Whether a directory of PATH holds the program.
pub(crate) fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// The first line that a program printed.
pub(crate) fn first_line(command: &mut Command) -> Result<String> {
    Ok(read(command)?.lines().next().unwrap_or_default().to_owned())
}
