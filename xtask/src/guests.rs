//! `cargo xtask guests`: rebuilds what tests/guests holds and compares it. In: names. Out: the answer of the program in
//! `xtask/guests`, which assembles. Never here: an encoder of WebAssembly, so that no other command waits for one.

use crate::languages::{self, Language};
use anyhow::Result;
use isomer_testing::{root, shell};
use std::path::Path;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write tests/guests/*.wasm instead of comparing with them.
    #[arg(long)]
    bless: bool,
    /// Run every case of guests.toml with upstream's wasmtime as well.
    #[arg(long)]
    run: bool,
    /// Build servers in languages that bring an interpreter, into target/guests.
    #[arg(long = "language", value_name = "LANGUAGE")]
    languages: Vec<Language>,
    /// Only these guests.
    names: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.languages.is_empty() || !args.names.is_empty() {
        let mut assemble = assembler();
        assemble.args(args.bless.then_some("--bless")).args(args.run.then_some("--run")).args(&args.names);
        shell::run(&mut assemble)?;
    }
    for language in &args.languages {
        let component = languages::build(*language)?;
        println!("{}", component.strip_prefix(root()).unwrap_or(&component).display());
    }
    Ok(())
}

/// Assembles the modules that are hard to compile into `directory`, each as NAME.wasm.
pub(crate) fn assemble_pathological(directory: &Path) -> Result<()> {
    shell::run(assembler().arg("--pathological").arg(directory))
}

fn assembler() -> std::process::Command {
    let mut cargo = shell::cargo();
    cargo.args(["run", "--quiet", "--locked", "--package", "xtask-guests", "--"]);
    cargo
}
