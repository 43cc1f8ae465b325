//! `isomer run …`: executes the `isomer-run` in the directory of this program, or the one on PATH, as cargo does for its
//! commands.

use isomer_terminal::{Failure, Failures};
use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Arguments of `isomer-run run`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    args: Vec<OsString>,
}

pub(super) fn run(args: &Args) -> Result<(), Failures> {
    let sibling = env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join("isomer-run")));
    let program = sibling.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from("isomer-run"));
    let error = Command::new(&program).arg("run").args(&args.args).exec();
    let failure = Failure::new(format!("cannot start {}", program.display())).caused_by(error.to_string());
    Err(failure.hint("install isomer-run in the directory of isomer or on PATH".to_owned()).into())
}
