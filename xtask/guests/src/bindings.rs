//! What a component written in C is compiled with. In: its world, a `.wit` file. Out: C, a header, and an object that holds
//! the world's type. The interfaces of WASI come from the crates that give them to guests, so that no copy of them is
//! here. Never here: a compiler.

use anyhow::{Context, Result};
use isomer_testing::shell;
use std::fs;
use std::path::{Path, PathBuf};
use wit_bindgen_c::Opts;
use wit_bindgen_core::{Files, wit_parser::Resolve};

/// The crate whose package holds the interfaces of WASI's releases.
const WASI_HTTP: &str = "wasmtime-wasi-http";

/// The packages of WASI that are drafts: what a world says that imports from one, the crate that holds it, and where.
const DRAFTS: [(&str, &str, &str); 3] = [
    ("wasi:config/store@", "wasmtime-wasi-config", "wit/deps/config"),
    ("wasi:tls/types@0.2.", "wasmtime-wasi-tls", "wit/deps/tls"),
    ("wasi:tls/types@0.3.", "wasmtime-wasi-tls", "src/p3/wit/deps/tls"),
];

/// All of `wasi:tls` 0.2 is marked as a part of this feature.
const UNSTABLE: &str = "tls";

/// Writes the bindings into `directory`; what the compiler is given beside the guest's source.
pub(super) fn generate(world: &Path, directory: &Path) -> Result<Vec<PathBuf>> {
    let text = fs::read_to_string(world).with_context(|| format!("could not read {}", world.display()))?;
    let interfaces = shell::package(WASI_HTTP)?.join(if text.contains("@0.3.") { "src/p3/wit" } else { "wit" });
    let mut resolve = Resolve::default();
    resolve.features.insert(UNSTABLE.to_owned());
    resolve.push_path(&interfaces)?;
    for (draft, name, directory) in DRAFTS {
        if text.contains(draft) {
            resolve.push_path(shell::package(name)?.join(directory))?;
        }
    }
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
