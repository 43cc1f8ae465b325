//! Python packages in directories of their own under `target/tools`, installed by the pip of a virtual environment that
//! lies there too. In: packages with their versions. Out: a directory. Never here: the system's Python, which only makes
//! the environment.

use crate::shell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The environment's interpreter; the environment is made when it is missing.
///
/// # Errors
/// The command that failed and its output, where Python has no module `venv` (Debian: `python3-venv`).
pub fn interpreter() -> Result<PathBuf, String> {
    let _turn = turn()?;
    environment()
}

fn environment() -> Result<PathBuf, String> {
    let environment = shell::tools().join("python");
    let interpreter = environment.join("bin/python");
    // pip is the last that is installed into it.
    if !environment.join("bin/pip").is_file() {
        let _ = fs::remove_dir_all(&environment);
        run(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
    }
    Ok(interpreter)
}

/// Installs packages into `directory`, all or none; `packages` may hold more of pip's options. Does nothing where the
/// directory exists.
///
/// # Errors
/// The command that failed and its output.
pub fn install(packages: &[&str], directory: &Path) -> Result<(), String> {
    if directory.exists() {
        return Ok(());
    }
    let _turn = turn()?;
    // Another test or process was faster.
    if directory.exists() {
        return Ok(());
    }
    let partial = directory.with_extension("partial");
    let _ = fs::remove_dir_all(&partial);
    let mut pip = Command::new(environment()?);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]).arg(&partial);
    run(pip.env("PIP_ROOT_USER_ACTION", "ignore").args(packages))?;
    fs::rename(&partial, directory).map_err(|error| format!("could not rename {}: {error}", partial.display()))
}

/// Tests that run at once, in one process or in several, install one after the other: each would remove what the other
/// has begun.
fn turn() -> Result<File, String> {
    let path = shell::tools().join("python.lock");
    let opened = fs::create_dir_all(path.with_file_name("")).and_then(|()| File::create(&path));
    let locked = opened.and_then(|file| file.lock().map(|()| file));
    locked.map_err(|error| format!("could not lock {}: {error}", path.display()))
}

fn run(command: &mut Command) -> Result<(), String> {
    shell::read(command).map(drop).map_err(|error| format!("{error:#}"))
}
