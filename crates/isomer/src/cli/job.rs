//! `isomer job`: called by a worker of a remote farm. In: the files of a module and a profile. Out: the artifact's file.

use isomer_compile::executor::do_one;
use isomer_layout::write_atomically;
use isomer_terminal::{Failure, Failures};
use std::fs;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The binary WebAssembly
    module: PathBuf,
    /// A profile that inherits from no other
    profile: PathBuf,
    /// The artifact to write
    artifact: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<(), Failures> {
    let unreadable = |path: &Path| {
        let what = format!("cannot read `{}`", path.display());
        move |error: std::io::Error| Failure::because(what, &error)
    };
    let wasm = fs::read(&args.module).map_err(unreadable(&args.module))?;
    let profile = fs::read_to_string(&args.profile).map_err(unreadable(&args.profile))?;
    let artifact = do_one(wasm, profile)?;
    Ok(write_atomically(&args.artifact, |file| file.write_all(&artifact))?)
}
