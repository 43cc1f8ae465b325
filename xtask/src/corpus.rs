//! `cargo xtask corpus`: tests/corpus.toml goes in, target/corpus/NAME.wasm come out with exactly the bytes that are
//! pinned there, then `isomer compile` takes all of them for all targets and is held to what the list expects. Bytes
//! with another hash are never kept, and no registry is asked for a module that is already there.

mod download;
mod manifest;

use anyhow::{Context, Result, ensure};
use download::download_chosen;
use manifest::{Expect, Module, directory, file_of, read_manifest};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Download and verify, compile nothing.
    #[arg(long)]
    download_only: bool,
    /// Only these modules, heavy or not.
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// Also the modules that are marked `heavy`.
    #[arg(long)]
    heavy: bool,
    /// Where the artifacts go [default: target/corpus/out]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The compiler [default: target/release/isomer]
    #[arg(long, value_name = "FILE")]
    isomer: Option<PathBuf>,
    /// What to compile for.
    #[arg(long = "target", value_name = "NAME", default_value = "all")]
    targets: Vec<String>,
}

/// One module for one target, as `isomer compile --json` says it.
#[derive(Deserialize)]
struct Cell {
    module: String,
    target: String,
    status: Status,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize, PartialEq, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum Status {
    Compiled,
    NotExpressible,
    Refused,
    Failed,
}

pub(crate) fn run(args: Args) -> Result<()> {
    let manifest = read_manifest()?;
    let modules = download_chosen(&manifest, &args.names, args.heavy)?;
    println!("{} modules, {} MB, in {}", modules.len(), megabytes(&modules), directory().display());
    if args.download_only { Ok(()) } else { compile(&args, &modules) }
}

/// The files of the modules with these names, or of all that are not heavy, as far as they compile; downloaded where they
/// are not here yet.
pub(crate) fn fetch(names: &[String]) -> Result<Vec<PathBuf>> {
    let manifest = read_manifest()?;
    let modules = download_chosen(&manifest, names, false)?.into_iter();
    Ok(modules.filter(|module| module.expect == Expect::Compiles).map(file_of).collect())
}

fn megabytes(modules: &[&Module]) -> u64 {
    modules.iter().map(|module| module.bytes).sum::<u64>() / 1_000_000
}

/// One call of isomer for everything, so that its scheduling is part of what is tried.
fn compile(args: &Args, modules: &[&Module]) -> Result<()> {
    let isomer = match &args.isomer {
        Some(isomer) => isomer.clone(),
        None => isomer_testing::root().join("target").join("release").join("isomer"),
    };
    let out = args.out.clone().unwrap_or_else(|| directory().join("out"));
    let mut command = Command::new(&isomer);
    command.args(["compile", "--no-cache"]).args(modules.iter().map(|module| file_of(module)));
    command.args(args.targets.iter().flat_map(|target| ["--target", target]));
    command.arg("--json").arg("--out-dir").arg(&out).stderr(Stdio::inherit());
    let output = command.output().with_context(|| format!("could not start {}", isomer.display()))?;
    // Its status says nothing here: modules that must be refused make it fail. The cells say everything.
    let cells: Vec<Cell> = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{} ended with {} and printed no list of results", isomer.display(), output.status))?;
    let mut surprises = vec![];
    for module in modules {
        let of_module: Vec<_> = cells.iter().filter(|cell| cell.module == module.name).collect();
        println!("{:28} {}", module.name, summary(&of_module));
        if !is_as_expected(&module.expect, &of_module) {
            surprises.push(format!("{}: expected {}, found {}", module.name, module.expect, summary(&of_module)));
        }
    }
    ensure!(surprises.is_empty(), "not what tests/corpus.toml expects:\n{}", surprises.join("\n"));
    Ok(())
}

fn is_as_expected(expect: &Expect, cells: &[&Cell]) -> bool {
    match expect {
        Expect::Compiles => {
            cells.iter().any(|cell| cell.status == Status::Compiled)
                && cells.iter().all(|cell| matches!(cell.status, Status::Compiled | Status::NotExpressible))
        }
        Expect::Refused(proposal) => {
            let names_it = |cell: &&Cell| cell.reason.contains(&format!("`{proposal}`"));
            !cells.is_empty() && cells.iter().all(|cell| cell.status == Status::Refused && names_it(cell))
        }
    }
}

/// "compiled for 14 targets; not expressible for riscv64gc, rva22u64: uses SIMD".
fn summary(cells: &[&Cell]) -> String {
    let compiled = cells.iter().filter(|cell| cell.status == Status::Compiled).count();
    let mut parts = vec![format!("compiled for {compiled} targets")];
    for (status, verb) in
        [(Status::NotExpressible, "not expressible"), (Status::Refused, "refused"), (Status::Failed, "failed")]
    {
        let mut targets: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for cell in cells.iter().filter(|cell| cell.status == status) {
            targets.entry(&cell.reason).or_default().push(&cell.target);
        }
        parts.extend(targets.iter().map(|(reason, targets)| match targets.len() == cells.len() {
            true => format!("{verb}: {reason}"),
            false => format!("{verb} for {}: {reason}", targets.join(", ")),
        }));
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(target: &str, status: Status, reason: &str) -> Cell {
        Cell { module: "m".to_owned(), target: target.to_owned(), status, reason: reason.to_owned() }
    }

    #[test]
    fn some_artifacts_and_no_failure_is_compiles() {
        let (x86, riscv) = (cell("x", Status::Compiled, ""), cell("r", Status::NotExpressible, "uses SIMD"));
        assert!(is_as_expected(&Expect::Compiles, &[&x86, &riscv]));
        assert_eq!(summary(&[&x86, &riscv]), "compiled for 1 targets; not expressible for r: uses SIMD");
        assert!(!is_as_expected(&Expect::Compiles, &[&riscv]));
        assert!(!is_as_expected(&Expect::Compiles, &[]));
        assert!(!is_as_expected(&Expect::Compiles, &[&x86, &cell("z", Status::Failed, "no rule")]));
    }

    #[test]
    fn refused_is_for_the_expected_proposal_only() {
        let refused = cell("x", Status::Refused, "uses the proposal `legacy-exceptions` (...)");
        assert!(is_as_expected(&Expect::Refused("legacy-exceptions".to_owned()), &[&refused]));
        assert!(!is_as_expected(&Expect::Refused("memory-control".to_owned()), &[&refused]));
    }
}
