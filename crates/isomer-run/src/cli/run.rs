//! `isomer-run run`: choose, verify, load, run.

use super::operand::{Operand, open_release, which_module};
use super::{input, select, signers, store, wording};
use crate::signals;
use isomer_contract::{Demand, Hinted};
use isomer_guest::{Call, Directory, Finished, Guest, GuestError, Outcome};
use isomer_runtime::{Expected, Loaded, Loader, Profiler, Request, SealedBytes, Trust, VerifiedArtifact, VerifyError};
use isomer_store::{Installed, LoadPath, OpenedArtifact};
use isomer_terminal::Failure;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// The exit code of a process that aborts, 128 + SIGABRT, which `wasmtime run` has for traps.
const EXIT_TRAP: u8 = 134;

/// Run an installed module, or one of a release in the best form for this machine, or an artifact
///
/// The guest gets standard input, output and error, its arguments, and nothing else of this machine but what the
/// options give it.
#[derive(clap::Args)]
#[command(
    override_usage = "isomer-run run [OPTIONS] <MODULE | DIR/ MODULE | FILE> [ARGS]...",
    after_help = "Examples:
  isomer-run run --dir photos::/in resize /in/cat.jpg               # installed by `isomer-run pull`
  isomer-run run --trust trust.toml resize:1.4.0                    # … and its signatures looked at again
  isomer-run run --trust trust.toml --dir photos::/in dist/ resize --width 640 /in/cat.jpg
  isomer-run run --key farm.pub dist/ resize                        # no policy, one key
  isomer-run run --digest sha256:9f86d0… dist/ resize
  isomer-run run --allow-unsigned --env LANG resize.x86-64-v3.cwasm
  isomer-run run --allow-unsigned --invoke add dist/ sort 1 2       # a core module's function
  isomer-run run --allow-unsigned --invoke 'hello(\"you\")' dist/ greet # a component's, in WAVE

Exit code: the guest's own; 134 when it traps; 1 for an error."
)]
pub(crate) struct Arguments {
    /// An installed module; or a release (a directory, with a `/`) and the name of a module in it; or a compiled artifact
    /// (.cwasm). All that follows are the guest's arguments
    #[arg(value_name = "MODULE | DIR/ MODULE | FILE", required = true, num_args = 1.., trailing_var_arg = true)]
    operands: Vec<OsString>,
    #[command(flatten)]
    trust: signers::TrustOptions,
    #[command(flatten)]
    store: store::Location,
    /// Print which variant it is, how it was read and why, to standard error
    #[arg(long)]
    explain: bool,
    /// Give the guest a directory, to read and write
    #[arg(long = "dir", value_name = "HOST[::GUEST][:ro|:rw]")]
    directories: Vec<Directory>,
    /// Give the guest an environment variable; without a value, this process's own
    #[arg(long = "env", value_name = "NAME[=VALUE]", value_parser = variable)]
    environment: Vec<String>,
    /// Call this function instead of running a command, with ARGS or as `name(argument, …)`
    #[arg(long, value_name = "NAME")]
    invoke: Option<String>,
    /// Tell a profiler which function is where: `perfmap` writes /tmp/perf-PID.map for `perf`
    #[arg(long, value_name = "PROFILER", value_parser = profiler)]
    profile: Option<Profiler>,
    /// Fail unless the choice is the variant for this target
    #[arg(long, value_name = "TARGET")]
    require: Option<String>,
    /// Run the variant for this target, although another may be better
    #[arg(long, value_name = "TARGET", conflicts_with = "require")]
    target: Option<String>,
}

impl Arguments {
    fn request(&self) -> Request<'_> {
        Request {
            demand: Demand { target: self.target.clone(), ..Demand::default() },
            require: self.require.as_deref(),
        }
    }
}

fn profiler(text: &str) -> Result<Profiler, String> {
    if text == "perfmap" { Ok(Profiler::PerfMap) } else { Err("expected `perfmap`".to_owned()) }
}

fn variable(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with('=') {
        return Err("expected NAME or NAME=VALUE".to_owned());
    }
    Ok(text.to_owned())
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    signals::reap_children();
    let operand = arguments.operands.first().map(|it| Operand::of(it, &arguments.store));
    operand.map_or(Ok(()), Operand::check_runnable)?;
    execute(arguments).map_err(|failure| failure.hint(misplaced_option(arguments)))
}

fn execute(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let Program { name, artifact, load_path, words } = program(arguments)?;
    if arguments.explain {
        explain(&name, &artifact, load_path.as_ref());
    }
    let words = words.iter().map(|word| text(word)).collect::<Result<Vec<_>, _>>()?;
    let loader = Loader::new().profiler(arguments.profile.unwrap_or_default());
    let loaded = loader.load(artifact).map_err(|error| wording::load(&name, &error))?;
    let guest = guest(arguments, &name, words)?;
    finish(&name, isomer_guest::run(&loaded, guest), &loaded)
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

/// What is run.
struct Program<'a> {
    /// The guest's name.
    name: String,
    artifact: VerifiedArtifact,
    /// How it was read, where it is installed.
    load_path: Option<LoadPath>,
    /// The operands that are the guest's arguments.
    words: &'a [OsString],
}

fn program(arguments: &Arguments) -> Result<Program<'_>, Failure> {
    let (path, words) = arguments.operands.split_first().ok_or_else(|| Failure::new("nothing to run"))?;
    match Operand::of(path, &arguments.store) {
        Operand::Installed(name) => {
            let installed = arguments.store.find(name)?;
            let OpenedArtifact { artifact, load_path } = of_store(arguments, &installed)?;
            Ok(Program { name: installed.module().name.clone(), artifact, load_path: Some(load_path), words })
        }
        Operand::Release(dir) => {
            let Some((module, words)) = words.split_first() else { return Err(which_module(dir, "run")) };
            let name = text(module)?;
            Ok(Program { artifact: of_release(arguments, dir, &name)?, name, load_path: None, words })
        }
        Operand::File(path) => {
            let name = text(path.file_name().unwrap_or(path.as_os_str()))?;
            Ok(Program { name, artifact: of_file(arguments, path)?, load_path: None, words })
        }
    }
}

/// A variant of an installed module: on the basis on which it was installed, unless an option states another.
fn of_store(arguments: &Arguments, installed: &Installed) -> Result<OpenedArtifact, Failure> {
    let trust = arguments.trust.read()?;
    let trusted = installed.trust(trust.as_ref()).map_err(wording::store)?;
    let chosen = trusted
        .choose(&input::this_machine()?, &arguments.request())
        .map_err(|error| wording::select_installed(&error, "on this machine", installed))?;
    select::log_steps_down(&installed.module().name, chosen.variant(), chosen.steps_down());
    installed.open(&chosen).map_err(wording::store)
}

fn of_release(arguments: &Arguments, release: &Path, module: &str) -> Result<VerifiedArtifact, Failure> {
    let (layout, module) = open_release(release, module)?;
    let trust = arguments.trust.read()?.ok_or_else(|| {
        let what = format!("`{}` of `{}`", module.name, release.display());
        wording::untrusted(&what, "`--key`, `--trust`, `--digest`", "its index", module.digest)
    })?;
    let from = release.display().to_string();
    let trusted = isomer_runtime::trust(&layout, module, &trust).map_err(|error| wording::trust(error, Some(&from)))?;
    let host = input::this_machine()?;
    let chosen = trusted
        .choose(&host, &arguments.request())
        .map_err(|error| wording::select(&error, "on this machine", false))?;
    select::log_steps_down(&trusted.module().name, chosen.variant(), chosen.steps_down());
    chosen.fetch(&layout).map_err(Failure::from)
}

fn of_file(arguments: &Arguments, file: &Path) -> Result<VerifiedArtifact, Failure> {
    let options = [("--require", &arguments.require), ("--target", &arguments.target)];
    if let Some((option, _)) = options.iter().find(|(_, target)| target.is_some()) {
        let failure = Failure::new(format!("`{option}` is about a release; `{}` is one artifact", file.display()));
        return Err(failure.hint("`isomer-run check FILE` tells what it needs".to_owned()));
    }
    if let Some(option) = arguments.trust.signers.given() {
        let failure = Failure::new(format!("`{option}` is about a release; `{}` is one artifact", file.display()));
        return Err(failure.hint("signatures are of releases; a single file is trusted by `--digest`".to_owned()));
    }
    let because = |error: &dyn std::error::Error| Failure::because(format!("cannot run `{}`", file.display()), error);
    let bytes = SealedBytes::copy(input::open(file)?, isomer_contract::limits::ARTIFACT_SIZE_BYTES_MAX)
        .map_err(|error| because(&error).hint(error.hint()))?;
    let expected = match arguments.trust.read()? {
        Some(Trust::Digest(digest)) => Expected::Digest(digest),
        Some(_) => Expected::AnyArtifact,
        None => return Err(wording::untrusted(&format!("`{}`", file.display()), "`--digest`", "it", bytes.digest())),
    };
    isomer_runtime::verify(bytes, expected).map_err(|error: VerifyError| because(&error).hint(error.hint()))
}

fn explain(name: &str, artifact: &VerifiedArtifact, load_path: Option<&LoadPath>) {
    let form = artifact.target().map(|target| format!(" as {target}")).unwrap_or_default();
    let engine = &artifact.requirements().engine;
    let how = load_path.map_or_else(|| "copied into sealed memory and hashed there".to_owned(), LoadPath::to_string);
    let unseen = match load_path {
        Some(LoadPath::Mapped { .. }) => {
            "\n  damage of the disk since then is not seen; `isomer-run list --check` hashes it"
        }
        _ => "",
    };
    // A closed standard error cannot be reported.
    let _ = writeln!(anstream::stderr(), "{name} runs{form} (wasmtime {engine})\nthe artifact is {how}{unseen}");
}

fn guest(arguments: &Arguments, name: &str, words: Vec<String>) -> Result<Guest, Failure> {
    let mut environment = BTreeMap::new();
    for variable in &arguments.environment {
        match variable.split_once('=') {
            Some((name, value)) => environment.insert(name.to_owned(), value.to_owned()),
            // As wasmtime: a variable that is not set here is not set there.
            None => match std::env::var_os(variable) {
                Some(value) => environment.insert(variable.clone(), variable_text(variable, value)?),
                None => continue,
            },
        };
    }
    let argv = [name.to_owned()].into_iter().chain(words.iter().cloned()).collect();
    let mut guest = Guest::new(argv);
    guest.environment = environment;
    guest.grants.directories = arguments.directories.clone();
    guest.invoke = arguments.invoke.clone().map(|name| Call::new(name, words));
    Ok(guest)
}

fn variable_text(name: &str, value: OsString) -> Result<String, Failure> {
    value.into_string().map_err(|value| {
        let failure = Failure::new(format!("the value of the variable `{name}` is not UTF-8, as guests require"));
        let failure = failure.caused_by(format!("it is `{}`", value.to_string_lossy()));
        failure.hint(format!("give the guest another value: `--env {name}=VALUE`"))
    })
}

fn finish(name: &str, ended: Result<Finished, GuestError>, loaded: &Loaded) -> Result<ExitCode, Failure> {
    match ended.map(|finished| finished.outcome) {
        Ok(Outcome::Returned(results)) => {
            isomer_terminal::print(&results.iter().map(|line| format!("{line}\n")).collect::<String>())?;
            Ok(ExitCode::SUCCESS)
        }
        // What the kernel keeps of any exit code.
        Ok(Outcome::Exited(code)) => Ok(ExitCode::from((code & 0xff) as u8)),
        Ok(Outcome::Trapped(error)) => {
            let form = loaded.target.as_ref().map(|target| format!(" ({target})")).unwrap_or_default();
            trap(&format!("`{name}`{form} trapped"), &error).print();
            Ok(ExitCode::from(EXIT_TRAP))
        }
        Ok(Outcome::Limited { hit, .. }) => Err(Failure::because(format!("`{name}` was ended"), &hit)),
        Ok(other) => Err(Failure::new(format!("`{name}` ended as {other:?}"))),
        Err(error) => Err(wording::guest(name, &error)),
    }
}

/// The error's chain: where it was executing, then why it trapped.
fn trap(message: &str, error: &wasmtime::Error) -> Failure {
    error.chain().fold(Failure::new(message), |failure, cause| failure.caused_by(cause.to_string()))
}

fn text(word: &OsStr) -> Result<String, Failure> {
    let text = word.to_str().map(str::to_owned);
    text.ok_or_else(|| Failure::new(format!("`{}` is not UTF-8, which guests are given", word.to_string_lossy())))
}
