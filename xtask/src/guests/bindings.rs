//! What a server written in C is compiled with. In: its world, a `.wit` file. Out: C, a header, and an object that holds
//! the world's type. The interfaces of WASI come from the crate that gives them to guests, so that no copy of them is
//! here. Never here: a compiler.

use crate::shell;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use wit_bindgen_c::Opts;
use wit_bindgen_core::{Files, wit_parser::Resolve};

/// The crate whose package holds the interfaces.
const WASI_HTTP: &str = "wasmtime-wasi-http";

/// Writes the bindings into `directory`; what the compiler is given beside the guest's source.
pub(super) fn generate(world: &Path, directory: &Path) -> Result<Vec<PathBuf>> {
    let text = fs::read_to_string(world).with_context(|| format!("could not read {}", world.display()))?;
    let interfaces = wasi_http()?.join(if text.contains("@0.3.") { "src/p3/wit" } else { "wit" });
    let mut resolve = Resolve::default();
    resolve.push_path(&interfaces)?;
    // Without its path, which errors alone would show.
    let package = resolve.push_str("world.wit", &text)?;
    let world = resolve.select_world(&[package], None)?;
    let mut files = Files::default();
    Opts::default().build().generate(&mut resolve, world, &mut files)?;
    let _ = fs::remove_dir_all(directory);
    fs::create_dir_all(directory)?;
    let mut inputs = Vec::new();
    for (name, content) in files.iter() {
        let path = directory.join(name);
        fs::write(&path, content)?;
        inputs.push(path);
    }
    inputs.retain(|path| path.extension().is_none_or(|extension| extension != "h"));
    Ok(inputs)
}

/// The directory of the locked package.
pub(crate) fn wasi_http() -> Result<PathBuf> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(shell::root()).args(["metadata", "--locked", "--format-version", "1"]);
    let metadata: serde_json::Value = serde_json::from_str(&shell::read(&mut cargo)?)?;
    let packages = metadata["packages"].as_array().context("cargo lists no packages")?;
    let package = packages.iter().find(|package| package["name"] == WASI_HTTP);
    let manifest = package.and_then(|package| package["manifest_path"].as_str());
    let manifest = Path::new(manifest.with_context(|| format!("cargo lists no package {WASI_HTTP}"))?);
    Ok(manifest.parent().expect("a manifest lies in a directory").to_owned())
}
