//! `cargo xtask foreign`: what it takes to run artifacts for CPUs that this machine is not. In: Debian's and Python's
//! package registries. Out, under `target/tools/foreign`: QEMU's user-mode emulators, `isomer-run` and the tests'
//! loader built for aarch64, riscv64 and s390x, and `foreign.json`, which says where each is or why it is not there.
//! Nothing is installed over the system but Debian's cross compilers; what is there already is kept.

use crate::{debian, setup};
use anyhow::{Context, Result, ensure};
use isomer_testing::root;
use isomer_testing::shell::{cargo, run, tools};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

mod rust;

/// An architecture that this machine only emulates.
pub(crate) struct Foreign {
    /// As QEMU, GNU and isomer call it.
    pub arch: &'static str,
    /// As Debian calls it.
    pub debian: &'static str,
    /// As Rust calls it.
    pub triple: &'static str,
}

/// All that Cranelift generates code for, but x86-64.
pub(crate) const FOREIGN: [Foreign; 3] = [
    Foreign { arch: "aarch64", debian: "arm64", triple: "aarch64-unknown-linux-gnu" },
    Foreign { arch: "riscv64", debian: "riscv64", triple: "riscv64gc-unknown-linux-gnu" },
    Foreign { arch: "s390x", debian: "s390x", triple: "s390x-unknown-linux-gnu" },
];

/// The emulators: x86-64 too, for CPUs that lack what this one has.
const EMULATED: [&str; 4] = ["aarch64", "riscv64", "s390x", "x86_64"];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Build for these alone: aarch64, riscv64, s390x
    architectures: Vec<String>,
}

/// What `foreign.json` says.
#[derive(Default, Serialize)]
struct Found {
    /// Emulator by architecture.
    emulators: BTreeMap<String, PathBuf>,
    /// What runs under them, by architecture.
    runners: BTreeMap<String, Runner>,
    /// Why something is not there, by `emulators` or architecture.
    skipped: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Runner {
    /// The C library of the architecture, for the emulator.
    sysroot: PathBuf,
    /// `isomer-run` of this checkout.
    #[serde(skip_serializing_if = "Option::is_none")]
    isomer_run: Option<PathBuf>,
    /// The loader that checks nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    loader: Option<PathBuf>,
    /// Upstream's `wasmtime`, where `isomer-run` could not be built.
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<PathBuf>,
}

/// Where `foreign.json` is written.
pub(crate) fn description() -> PathBuf {
    directory().join("foreign.json")
}

fn directory() -> PathBuf {
    tools().join("foreign")
}

pub(crate) fn run_foreign(args: &Args) -> Result<()> {
    for name in &args.architectures {
        let known = FOREIGN.iter().map(|foreign| foreign.arch).collect::<Vec<_>>();
        ensure!(known.contains(&name.as_str()), "no foreign architecture is called `{name}`; there are {known:?}");
    }
    let only = &args.architectures;
    let found = set_up(|foreign| only.is_empty() || only.iter().any(|name| name == foreign.arch))?;
    for (arch, emulator) in &found.emulators {
        println!("{arch:<8} {}", emulator.display());
    }
    for (arch, runner) in &found.runners {
        let program = runner.isomer_run.as_ref().or(runner.upstream.as_ref());
        println!("{arch:<8} {}", program.map_or_else(String::new, |path| path.display().to_string()));
    }
    for (what, reason) in &found.skipped {
        println!("skipped: {what}: {reason}");
    }
    Ok(())
}

/// Sets up all that can be had, and writes down what cannot. Only a disk that takes no files is an error.
pub(crate) fn set_up_all() -> Result<PathBuf> {
    set_up(|_| true).map(|_| description())
}

/// The emulators alone, which run this machine's own programs on lesser CPUs: building for three architectures takes
/// more time than all tests together.
pub(crate) fn set_up_emulators() -> Result<PathBuf> {
    set_up(|_| false).map(|_| description())
}

fn set_up(wanted: impl Fn(&Foreign) -> bool) -> Result<Found> {
    fs::create_dir_all(directory())?;
    let mut found = Found::default();
    match timed("emulators", || debian::emulators(&directory(), &EMULATED)) {
        Ok(emulators) => found.emulators = emulators,
        Err(error) => _ = found.skipped.insert("emulators".to_owned(), format!("{error:#}")),
    }
    for foreign in FOREIGN.iter().filter(|_| !found.emulators.is_empty()) {
        if !wanted(foreign) {
            let reason = "`cargo xtask prove` builds for it and runs it; this command does not";
            found.skipped.insert(foreign.arch.to_owned(), reason.to_owned());
            continue;
        }
        match timed(foreign.arch, || build(foreign)) {
            Ok(runner) => _ = found.runners.insert(foreign.arch.to_owned(), runner),
            Err(error) => _ = found.skipped.insert(foreign.arch.to_owned(), format!("{error:#}")),
        }
    }
    let text = serde_json::to_string_pretty(&found)?;
    fs::write(description(), text).with_context(|| format!("could not write {}", description().display()))?;
    Ok(found)
}

/// Says how long a part took, which is what a CI job's budget is made of.
fn timed<T>(what: &str, part: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let result = part();
    println!("foreign: {what}: {} s", start.elapsed().as_secs());
    result
}

/// Our own run side for one architecture, or upstream's where there is a wheel of it.
fn build(foreign: &Foreign) -> Result<Runner> {
    let sysroot = PathBuf::from(format!("/usr/{}-linux-gnu", foreign.arch));
    let why = match build_run_side(foreign) {
        Ok(binaries) => {
            let [isomer_run, loader] = ["isomer-run", "isomer-loader"].map(|name| Some(binaries.join(name)));
            return Ok(Runner { sysroot, isomer_run, loader, upstream: None });
        }
        Err(error) => error,
    };
    if foreign.arch != "aarch64" {
        return Err(why);
    }
    eprintln!("note: {why:#}; upstream's wasmtime runs artifacts for {} instead", foreign.arch);
    let upstream = setup::foreign_wasmtime("manylinux2014_aarch64")?;
    Ok(Runner { sysroot, isomer_run: None, loader: None, upstream: Some(upstream) })
}

fn build_run_side(foreign: &Foreign) -> Result<PathBuf> {
    setup::install_cross_compiler(foreign.arch, foreign.debian)?;
    let linker = format!("{}-linux-gnu-gcc", foreign.arch);
    let variable = format!("CARGO_TARGET_{}_LINKER", foreign.triple.to_uppercase().replace('-', "_"));
    let target = root().join("target/foreign");
    let mut cargo = cargo();
    cargo.args(["build", "--quiet", "--locked", "--profile", "foreign", "--target", foreign.triple]);
    cargo.args(["--package", "isomer-run", "--package", "isomer-loader"]);
    cargo.env("CARGO_TARGET_DIR", &target).env(variable, linker);
    if let Some(rustc) = rust::compiler_for(foreign, &directory())? {
        cargo.env("RUSTC", rustc);
    }
    run(&mut cargo)?;
    Ok(target.join(foreign.triple).join("foreign"))
}
