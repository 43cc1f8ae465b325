//! `isomer-run run`: choose, verify, load, run. In: the command line. Out: the guest's exit code. Never here: what an option
//! means to a guest, which `isomer-guest` knows.

mod ending;
mod file;
mod observe;
mod process;
mod program;
mod stats;
mod upstream;

use super::grant_options::{GrantOptions, environment};
use super::limit_options::LimitOptions;
use super::operand::Operand;
use super::{signers, store, wording};
use crate::signals;
use isomer_contract::{Demand, Urgency};
use isomer_guest::{Call, Guest, Limits};
use isomer_runtime::{Loaded, Loader, Request};
use isomer_terminal::Failure;
use observe::Profile;
use process::ProcessOptions;
use program::{Program, text};
use stats::{Stats, StatsFormat};
use std::ffi::OsString;
use std::mem;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use upstream::UpstreamOptions;

#[derive(clap::Args)]
#[command(
    override_usage = "isomer-run run [OPTIONS] <MODULE | DIR/ MODULE | FILE> [ARGS]...",
    after_help = "Examples:
  isomer-run run --dir photos::/in:ro resize /in/cat.jpg      # installed by `isomer-run pull`
  isomer-run run --trust trust.toml resize:1.4.0              # … its signatures verified again
  isomer-run run --trust trust.toml --dir photos::/in dist/ resize --width 640 /in/cat.jpg
  isomer-run run --key farm.pub dist/ resize                  # no policy, one key
  isomer-run run --digest sha256:9f86d0… dist/ resize
  isomer-run run --allow-unsigned --env LANG resize.x86-64-v3.cwasm
  isomer-run run --allow-unsigned --invoke add dist/ sort 1 2 # a core module's function
  isomer-run run --allow-unsigned --invoke 'hello(\"you\")' dist/ greet   # a component's, in WAVE
  isomer-run run --timeout 30s --max-memory 256MiB --allow-net db.example.com:5432 report
  isomer-run run -f run.toml report                           # the same in a file

Exit code: the guest's own; 124 at its time limit; 134 when it traps or reaches another limit; 1 for an error; 2 for an \
invalid command line."
)]
pub(crate) struct Arguments {
    /// An installed module; or a release (a directory, with a `/`) and the name of a module in it; or a compiled artifact
    /// (.cwasm). All that follows are the guest's arguments
    #[arg(value_name = "MODULE | DIR/ MODULE | FILE", required = true, num_args = 1.., trailing_var_arg = true)]
    operands: Vec<OsString>,
    #[command(flatten)]
    store: store::Location,
    /// Print to standard error which variant is run, how it was read and why
    #[arg(long)]
    explain: bool,
    /// Fail unless the choice is the variant for this target
    #[arg(long, value_name = "TARGET")]
    require: Option<String>,
    /// Run the variant for this target, although another may be better
    #[arg(long, value_name = "TARGET", conflicts_with = "require")]
    target: Option<String>,
    /// Call this function instead of running a command, with ARGS or as `name(argument, …)`
    #[arg(long, value_name = "NAME")]
    invoke: Option<String>,
    /// Link this compiled core module under a name that the guest imports from; it is verified as the guest is
    #[arg(long = "preload", value_name = "NAME=MODULE", value_parser = preload)]
    preloads: Vec<(String, OsString)>,
    /// Read grants, limits and the guest's process from this TOML file; options override it
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    trust: signers::TrustOptions,
    #[command(flatten)]
    grants: GrantOptions,
    #[command(flatten)]
    process: ProcessOptions,
    #[command(flatten)]
    limits: LimitOptions,
    #[command(flatten)]
    observe: ObserveOptions,
    #[command(flatten)]
    upstream: UpstreamOptions,
}

/// What is seen of the guest.
#[derive(clap::Args)]
#[command(next_help_heading = "Diagnostics")]
struct ObserveOptions {
    /// Write what a profiler needs: `perfmap` and `jitdump` name functions for perf; `guest` writes samples for
    /// <https://profiler.firefox.com>
    #[arg(long, value_name = "perfmap|jitdump|guest[=FILE]")]
    profile: Option<Profile>,
    /// Write the guest's memory and stack to a file when it traps [default: NAME.coredump]
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    coredump: Option<Option<PathBuf>>,
    /// Print times, memory and fuel to standard error at the end
    #[arg(long, value_name = "FORMAT", num_args = 0..=1, require_equals = true, default_missing_value = "text")]
    stats: Option<StatsFormat>,
}

fn preload(text: &str) -> Result<(String, OsString), String> {
    match text.split_once('=') {
        Some((name, module)) if !module.is_empty() => Ok((name.to_owned(), module.into())),
        _ => Err("expected NAME=MODULE, where MODULE is an installed module, a .cwasm, or DIR/MODULE of a release"
            .to_owned()),
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    signals::reap_children();
    let operand = arguments.operands.first().map(|it| Operand::of(it, &arguments.store));
    operand.map_or(Ok(()), Operand::check_runnable)?;
    execute(arguments).map_err(|failure| failure.hint(misplaced_option(arguments)))
}

fn execute(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let (mut guest, argv0) = described(arguments)?;
    let request = request(arguments, &guest);
    let program = program::program(arguments, &request)?;
    if arguments.explain {
        program.explain();
    }
    let load_path = program.load_path();
    let Program { name, artifact, words, mut times, .. } = program;
    let words = words.iter().map(|word| text(word)).collect::<Result<Vec<_>, _>>()?;
    let started = Instant::now();
    let loader = loader(arguments, &guest.limits);
    let loaded = loader.load(artifact).map_err(|error| wording::load(&name, &error))?;
    guest.preloads = preloads(arguments, &request, &loader)?;
    // The process ends with the guest, and unloading code would only delay that: the unwinder of static builds forgets
    // functions one by one, in time that grows with their square.
    guest.preloads.iter().map(|(_, loaded)| loaded).chain([&loaded]).cloned().for_each(mem::forget);
    times.load = started.elapsed();
    guest.arguments = [argv0.unwrap_or_else(|| name.clone())].into_iter().chain(words.iter().cloned()).collect();
    guest.invoke = arguments.invoke.clone().map(|call| Call::new(call, words));
    let target = loaded.target.as_deref();
    let stuck = (name.clone(), loaded.target.clone());
    guest.on_stuck = Some(Box::new(move |hit| ending::end_process(&stuck.0, stuck.1.as_deref(), hit)));
    let finished = isomer_guest::run(&loaded, guest).map_err(|error| wording::guest(&name, target, &error))?;
    let code = ending::finish(&name, target, &finished)?;
    if let Some(format) = arguments.observe.stats {
        Stats::new(&name, target, &load_path, times, &finished.usage).print(format);
    }
    write_observed(arguments, &name, &loaded, &finished)?;
    Ok(code)
}

/// The guest as options and the file describe it, without its module; and its name, where one is stated.
fn described(arguments: &Arguments) -> Result<(Guest, Option<String>), Failure> {
    let file = arguments.file.as_deref().map(file::read).transpose()?.unwrap_or_default();
    let upstream = arguments.upstream.read();
    let mut guest = Guest::new(Vec::new());
    guest.grants = file.grants;
    guest.grants.extend(upstream.grants);
    guest.grants.extend(arguments.grants.grants());
    guest.limits = arguments.limits.limits().or(upstream.limits).or(file.limits);
    guest.environment = environment(&guest.grants)?;
    let process = arguments.process.clone().with_cwd(upstream.cwd).or(file.process);
    guest.streams = process.streams();
    guest.current_dir = process.cwd;
    guest.coredump = arguments.observe.coredump.is_some();
    guest.profile = matches!(arguments.observe.profile, Some(Profile::Guest(_)));
    Ok((guest, process.argv0))
}

/// What the variant must be. Without epochs, a deadline ends the process: a form with them is better, and not required.
fn request<'a>(arguments: &'a Arguments, guest: &Guest) -> Request<'a> {
    let deadline = match (guest.profile, guest.limits.timeout) {
        (true, _) => Urgency::Required,
        (false, Some(_)) => Urgency::Preferred,
        (false, None) => Urgency::None,
    };
    let fuel = if guest.limits.fuel.is_some() { Urgency::Required } else { Urgency::None };
    Request {
        demand: Demand { deadline, fuel, target: arguments.target.clone() },
        require: arguments.require.as_deref(),
    }
}

fn loader(arguments: &Arguments, limits: &Limits) -> Loader {
    let profile = arguments.observe.profile.as_ref();
    let (limits, coredump) = (limits.clone(), arguments.observe.coredump.is_some());
    Loader::new().profiler(Profile::loader(profile)).configure(move |config| {
        limits.configure(config);
        if coredump {
            config.coredump_on_trap(true);
        }
    })
}

fn preloads(arguments: &Arguments, request: &Request<'_>, loader: &Loader) -> Result<Vec<(String, Loaded)>, Failure> {
    let preload = |(name, operand): &(String, OsString)| {
        let artifact = program::preload(arguments, request, operand)?;
        let loaded = loader.load(artifact).map_err(|error| wording::load(name, &error))?;
        Ok((name.clone(), loaded))
    };
    arguments.preloads.iter().map(preload).collect()
}

fn write_observed(
    arguments: &Arguments,
    name: &str,
    loaded: &Loaded,
    finished: &isomer_guest::Finished,
) -> Result<(), Failure> {
    // A module's name is no path, and a file's may be one of another directory.
    let default = |ending: &str| Path::new(&format!("{name}.{ending}")).to_owned();
    if let (Some(path), Some(coredump)) = (&arguments.observe.coredump, &finished.coredump) {
        match coredump {
            Ok(bytes) => observe::write("the core dump", &path.clone().unwrap_or_else(|| default("coredump")), bytes)?,
            Err(reason) => {
                let form = loaded.target.as_deref().unwrap_or("this form");
                tracing::warn!("there is no core dump of `{name}` ({form}): {reason}");
            }
        }
    }
    if let (Some(Profile::Guest(path)), Some(profile)) = (&arguments.observe.profile, &finished.profile) {
        observe::write("the profile", &path.clone().unwrap_or_else(|| default("profile.json")), profile)?;
    }
    Ok(())
}

/// Everything behind the module's name is the guest's, as with `wasmtime run`: a caller who fills in its arguments in a
/// script must not be able to grant it a directory. An option that was typed there was perhaps meant for this program.
fn misplaced_option(arguments: &Arguments) -> Option<String> {
    let command = <Arguments as clap::Args>::augment_args(clap::Command::new("run"));
    let is_option = |word: &&str| {
        let name = word.strip_prefix("--").map(|word| word.split_once('=').map_or(word, |(name, _)| name));
        name.is_some_and(|name| command.get_arguments().any(|option| option.get_long() == Some(name)))
    };
    let word = arguments.operands.iter().skip(1).filter_map(|word| word.to_str()).find(is_option)?;
    Some(format!("`{word}` went to the guest, as all that follows the module: options go before the module"))
}
