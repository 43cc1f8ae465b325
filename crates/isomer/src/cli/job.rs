//! `isomer job`: called by a worker of a remote farm. In: the files of a module and a profile. Out: the artifact's file.

use isomer_compile::executor::do_one;
use isomer_compile::targets::PROFILE_SIZE_BYTES_MAX;
use isomer_contract::limits::WASM_SIZE_BYTES_MAX;
use isomer_layout::write_atomically;
use isomer_terminal::Failures;
use std::path::PathBuf;

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
    let wasm = isomer_file::read(&args.module, WASM_SIZE_BYTES_MAX)?;
    let profile = isomer_file::read_text(&args.profile, PROFILE_SIZE_BYTES_MAX)?;
    let artifact = do_one(wasm, profile)?;
    Ok(write_atomically(&args.artifact, |file| file.write_all(&artifact))?)
}
