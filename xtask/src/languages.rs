//! Servers in languages that bring an interpreter along: too large to be checked in, and not the same bytes each time. In:
//! tests/guests/languages, npm, PyPI. Out: a component of wasi:http 0.2 in target/guests, built once for each source. Never
//! here: a guest of guests.toml.

use crate::setup;
use anyhow::{Context, Result};
use clap::ValueEnum;
use isomer_testing::guests::directory;
use isomer_testing::shell;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const JAVASCRIPT: &str = "@bytecodealliance/componentize-js@0.23.0";
const PYTHON: &str = "componentize-py==0.25.1";

/// The crate whose package holds the interfaces of WASI's releases.
const WASI_HTTP: &str = "wasmtime-wasi-http";

/// The version of WASI 0.2 that componentize-js exports, whatever the world names.
const JAVASCRIPT_WASI: &str = "0.2.10";

/// The world of both.
const WORLD: &str = "package isomer:guests;\n\nworld server {\n  include wasi:http/proxy@0.2.12;\n}\n";
const WORLD_WASI: &str = "0.2.12";

/// A language.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Language {
    /// SpiderMonkey, by componentize-js
    Javascript,
    /// CPython, by componentize-py
    Python,
}

/// The component; it is built where there is none of this source yet.
pub(crate) fn build(language: Language) -> Result<PathBuf> {
    let (name, source, tool) = match language {
        Language::Javascript => ("javascript", "languages/server.js", JAVASCRIPT),
        Language::Python => ("python", "languages/server.py", PYTHON),
    };
    let source = directory().join(source);
    let text = fs::read(&source).with_context(|| format!("could not read {}", source.display()))?;
    let digest = Sha256::new().chain_update(tool).chain_update(WORLD).chain_update(text).finalize();
    let out = isomer_testing::root().join("target/guests").join(name);
    let component = out.join(format!("{name}-{}.wasm", &hex::encode(digest)[..16]));
    if !component.is_file() {
        fs::create_dir_all(&out)?;
        let partial = out.join("partial.wasm");
        match language {
            Language::Javascript => javascript(&source, &out, &partial)?,
            Language::Python => python(&source, &out, &partial)?,
        }
        fs::rename(&partial, &component)?;
    }
    Ok(component)
}

fn javascript(source: &Path, out: &Path, to: &Path) -> Result<()> {
    let wit = write_wit(out, JAVASCRIPT_WASI)?;
    let tool = setup::npm_install(JAVASCRIPT)?.join("node_modules/.bin/componentize-js");
    shell::run(Command::new(tool).arg("--wit").arg(wit).arg("-o").arg(to).arg(source).stdout(Stdio::null()))
}

fn python(source: &Path, out: &Path, to: &Path) -> Result<()> {
    let wit = write_wit(out, WORLD_WASI)?;
    let installed = shell::tools().join(PYTHON.replace("==", "-"));
    setup::pip_install(&["--only-binary=:all:", PYTHON], &installed)?;
    // A directory of its own: all that lies beside the program is found by its imports.
    let app = out.join("app");
    fs::create_dir_all(&app)?;
    fs::copy(source, app.join("server.py"))?;
    let mut tool = Command::new(installed.join("bin/componentize-py"));
    tool.env("PYTHONPATH", &installed).current_dir(&app).arg("--wit-path").arg(wit).args(["--world", "server"]);
    shell::run(tool.args(["componentize", "server", "-o"]).arg(to).stdout(Stdio::null()))
}

/// The world and what it includes, with every version of WASI 0.2 replaced by this one.
fn write_wit(out: &Path, version: &str) -> Result<PathBuf> {
    let wit = out.join("wit");
    let _ = fs::remove_dir_all(&wit);
    fs::create_dir_all(wit.join("deps"))?;
    fs::write(wit.join("world.wit"), WORLD.replace(WORLD_WASI, version))?;
    for entry in fs::read_dir(shell::package(WASI_HTTP)?.join("wit/deps"))? {
        let entry = entry?;
        let text = fs::read_to_string(entry.path())?;
        fs::write(wit.join("deps").join(entry.file_name()), text.replace(WORLD_WASI, version))?;
    }
    Ok(wit)
}
