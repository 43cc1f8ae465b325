//! `cargo xtask bench`: isomer against upstream's `wasmtime`, as ratios from one run on one machine. Never a test: the
//! numbers of a busy machine say nothing alone, and their ratio says something.

use crate::{release, setup};
use anyhow::{Result, ensure};
use clap::ValueEnum;
use isomer_testing::root;
use isomer_testing::shell::tools;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod cpuid;
mod farm;
mod load;
mod pathological;
mod serve;
mod start;
mod upstream;
mod watch;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to measure
    #[arg(value_enum, default_values_t = What::value_variants().iter().copied())]
    what: Vec<What>,
    /// How often each start is measured
    #[arg(long, default_value_t = 40)]
    runs: usize,
    #[command(flatten)]
    serve: serve::ServeArgs,
    /// Modules of the corpus for `corpus` [default: those that are not heavy]; servers for `serve` [default: all]
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// Where `isomer` and `isomer-run` are [default: they are built]
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// How long a server waits until a module runs, each way that an artifact is loaded
    Start,
    /// A release of the corpus for all targets, nothing and everything cached
    Corpus,
    /// Fifty modules of which one is edited
    Edited,
    /// A thousand small modules for all targets
    Many,
    /// HTTP servers under load
    Serve,
    /// Functions and modules that are hard to compile
    Pathological,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let programs = match &args.programs {
        Some(directory) => directory.clone(),
        None => {
            release::build("isomer")?;
            release::build("isomer-run")?;
            root().join("target/release")
        }
    };
    let bench = Bench { programs, upstream: setup::wasmtime()?, directory: tools().join("bench") };
    let _ = fs::remove_dir_all(&bench.directory);
    fs::create_dir_all(&bench.directory)?;
    for what in &args.what {
        match what {
            What::Start => bench.start(args.runs)?,
            What::Corpus => bench.corpus(&args.names)?,
            What::Edited => bench.edited()?,
            What::Many => bench.many()?,
            What::Serve => bench.serve(&args.serve, &args.names, args.runs)?,
            What::Pathological => bench.pathological()?,
        }
    }
    fs::remove_dir_all(&bench.directory)?;
    Ok(())
}

struct Bench {
    programs: PathBuf,
    upstream: PathBuf,
    directory: PathBuf,
}

impl Bench {
    fn isomer(&self) -> Command {
        Command::new(self.programs.join("isomer"))
    }

    fn isomer_run(&self) -> Command {
        Command::new(self.programs.join("isomer-run"))
    }
}

/// With it set, wasmtime captures a backtrace of the host for every error, also for those that it expects.
const BACKTRACE: &str = "RUST_BACKTRACE";

fn timed(command: &mut Command) -> Result<Duration> {
    command.env_remove(BACKTRACE);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    let status = command.status()?;
    let took = begun.elapsed();
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(took)
}

/// How often the command executes CPUID, and why that is not known.
fn cpuids(command: &mut Command) -> Result<usize> {
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    return cpuid::count(command);
    #[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
    anyhow::bail!("{command:?}: only x86-64 has CPUID");
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
