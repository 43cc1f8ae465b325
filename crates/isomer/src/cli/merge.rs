//! `isomer merge DIR… -o OUT`.

use super::release::{signatures_text, warn_of_signatures};
use super::state;
use crate::wording;
use isomer_compile::release::merge;
use isomer_layout::Summary;
use isomer_terminal::{Failures, print, print_json};
use isomer_terminal::{aligned, bytes};
use serde_json::json;
use std::path::PathBuf;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  isomer release --shard 1/3 -o part-1/         on one machine, 2/3 and 3/3 on others
  isomer merge part-*/ -o dist/                 the same release as from one machine
  isomer merge dist-47/ dist-48/ -o dist/       of two versions of wasmtime")]
pub(super) struct Args {
    /// Directories that `isomer release` wrote
    #[arg(required = true, value_name = "DIR")]
    releases: Vec<PathBuf>,
    /// The directory to write the joined release into
    #[arg(long, short, value_name = "OUT")]
    output: PathBuf,
    /// Print the digests as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failures> {
    let Summary { modules, written, reused, signatures, .. } =
        merge(&args.releases, &args.output, state::open_or_warn().as_ref()).map_err(wording::failure)?;
    warn_of_signatures(&signatures);
    if args.json {
        let modules = modules
            .iter()
            .map(|module| json!({"reference": module.reference, "digest": module.digest, "wasm": module.wasm}));
        return Ok(print_json(&json!({"modules": modules.collect::<Vec<_>>()}))?);
    }
    let rows = modules.iter().map(|module| vec![module.reference.clone(), module.digest.to_string()]);
    let (written, kept) = (bytes(written.size_bytes), bytes(reused.size_bytes));
    let signatures = signatures_text(&signatures);
    Ok(print(&format!("{}\n{}: {written} written, {kept} kept\n{signatures}", aligned(rows), args.output.display()))?)
}
