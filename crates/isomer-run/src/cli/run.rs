//! `isomer-run run`: choose, verify, load, run.

use super::input;
use super::select;
use super::signers;
use super::store;
use crate::signals;
use isomer_contract::Hinted;
use isomer_guest::{Call, Directory, Guest, GuestError, Outcome};
use isomer_runtime::{Expected, LoadError, Loaded, Profiler, SealedBytes, Trust, VerifiedArtifact, VerifyError};
use isomer_store::{Installed, LoadPath, OpenedArtifact};
use isomer_terminal::Failure;
use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What a process that aborts exits with, 128 + SIGABRT; `wasmtime run` says so of traps.
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
    word: signers::Word,
    #[command(flatten)]
    store: store::Location,
    /// Say which variant it is, how it was read and why, to standard error
    #[arg(long)]
    explain: bool,
    /// Give the guest a directory, to read and write
    #[arg(long = "dir", value_name = "HOST[::GUEST]", value_parser = directory)]
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
}

fn directory(text: &str) -> Result<Directory, String> {
    let (host, guest) = text.split_once("::").unwrap_or((text, text));
    if host.is_empty() || guest.is_empty() {
        return Err("expected HOST or HOST::GUEST".to_owned());
    }
    Ok(Directory { host: PathBuf::from(host), guest: guest.to_owned() })
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
    check_operand(arguments)?;
    execute(arguments).map_err(|failure| failure.hint(misplaced_option(arguments)))
}

fn execute(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let Program { name, artifact, load_path, words } = program(arguments)?;
    if arguments.explain {
        explain(&name, &artifact, load_path.as_ref());
    }
    let words = words.iter().map(text).collect::<Result<Vec<_>, _>>()?;
    let loaded = isomer_runtime::load_with(artifact, arguments.profile.unwrap_or_default())
        .map_err(|error| load_failure(&name, &error))?;
    let guest = guest(arguments, &name, words)?;
    finish(&name, isomer_guest::run(&loaded, &guest), &loaded)
}

/// Everything behind the module's name is the guest's, as with `wasmtime run`: who fills in its arguments in a script must
/// not be able to give it a directory. An option that was typed there was perhaps meant for this program.
fn misplaced_option(arguments: &Arguments) -> Option<String> {
    let command = <Arguments as clap::Args>::augment_args(clap::Command::new("run"));
    let is_option = |word: &&str| {
        let name = word.strip_prefix("--").map(|word| word.split_once('=').map_or(word, |(name, _)| name));
        name.is_some_and(|name| command.get_arguments().any(|option| option.get_long() == Some(name)))
    };
    let word = arguments.operands.iter().skip(1).filter_map(|word| word.to_str()).find(is_option)?;
    Some(format!("`{word}` went to the guest, as all that follows the module: options go before the module"))
}

/// Refuses an operand that nothing can be run from, before anything is said of what it contains.
fn check_operand(arguments: &Arguments) -> Result<(), Failure> {
    let Some(path) = arguments.operands.first().filter(|it| arguments.store.module(it).is_none()).map(Path::new) else {
        return Ok(());
    };
    let shown = path.display();
    let there = path.metadata().map_err(|error| {
        let missing = error.kind() == ErrorKind::NotFound;
        let hint = missing.then(|| "is the path right? `isomer-run list` shows what is installed".to_owned());
        Failure::because(format!("cannot open `{shown}`"), &error).hint(hint)
    })?;
    if there.is_file() && path.extension().is_some_and(|it| it == "tar") {
        let failure = Failure::new(format!("`{shown}` is a tar file; expected a release's directory or a .cwasm"));
        return Err(failure.hint(format!("install a module from it: `isomer-run pull oci-archive:{shown}:NAME`")));
    }
    Ok(())
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
    if let Some(name) = arguments.store.module(path) {
        let installed = arguments.store.find(name)?;
        let OpenedArtifact { artifact, load_path } = of_store(arguments, &installed)?;
        return Ok(Program { name: installed.module().name.clone(), artifact, load_path: Some(load_path), words });
    }
    let path = Path::new(path);
    if path.is_dir() {
        let Some((module, words)) = words.split_first() else { return Err(select::which_module(path, "run")) };
        let name = text(module)?;
        Ok(Program { artifact: of_release(arguments, path, &name)?, name, load_path: None, words })
    } else {
        let name = text(&path.file_name().unwrap_or(path.as_os_str()).to_owned())?;
        Ok(Program { name, artifact: of_file(arguments, path)?, load_path: None, words })
    }
}

/// A variant of an installed module: on the word on which it was installed, unless an option says on whose.
fn of_store(arguments: &Arguments, installed: &Installed) -> Result<OpenedArtifact, Failure> {
    let trust = arguments.word.read()?;
    let trusted = installed.trust(trust.as_ref()).map_err(|error| store::failure(error, None, "on this machine"))?;
    let chosen = trusted
        .choose(&input::this_machine()?, arguments.require.as_deref())
        .map_err(|error| store::not_chosen(&error, "on this machine", installed))?;
    select::log_steps_down(&installed.module().name, chosen.variant(), chosen.steps_down());
    Ok(installed.open(&chosen)?)
}

fn of_release(arguments: &Arguments, release: &Path, module: &str) -> Result<VerifiedArtifact, Failure> {
    let (layout, module) = select::open(release, module)?;
    let trust = arguments.word.read()?.ok_or_else(|| {
        let what = format!("`{}` of `{}`", module.name, release.display());
        signers::untrusted(&what, "`--key`, `--trust`, `--digest`", "its index", module.digest)
    })?;
    let from = release.display().to_string();
    let trusted =
        isomer_runtime::trust(&layout, module, &trust).map_err(|error| signers::failure(Some(&from), error))?;
    let host = input::this_machine()?;
    let chosen = trusted
        .choose(&host, arguments.require.as_deref())
        .map_err(|error| select::failure(&error, "on this machine", false))?;
    select::log_steps_down(&trusted.module().name, chosen.variant(), chosen.steps_down());
    chosen.fetch(&layout).map_err(Failure::from)
}

fn of_file(arguments: &Arguments, file: &Path) -> Result<VerifiedArtifact, Failure> {
    if arguments.require.is_some() {
        let failure = Failure::new(format!("`--require` is about a release; `{}` is one artifact", file.display()));
        return Err(failure.hint("`isomer-run check FILE` tells what it needs".to_owned()));
    }
    if let Some(option) = arguments.word.signers.given() {
        let failure = Failure::new(format!("`{option}` is about a release; `{}` is one artifact", file.display()));
        return Err(failure.hint("signatures are of releases; a single file is trusted by `--digest`".to_owned()));
    }
    let because = |error: &dyn std::error::Error| Failure::because(format!("cannot run `{}`", file.display()), error);
    let bytes = SealedBytes::copy(input::open(file)?, isomer_contract::limits::ARTIFACT_SIZE_BYTES_MAX)
        .map_err(|error| because(&error).hint(error.hint()))?;
    let expected = match arguments.word.read()? {
        Some(Trust::Digest(digest)) => Expected::Digest(digest),
        Some(_) => Expected::AnyArtifact,
        None => return Err(signers::untrusted(&format!("`{}`", file.display()), "`--digest`", "it", bytes.digest())),
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
    // Nobody is left to be told when standard error is closed.
    let _ = writeln!(anstream::stderr(), "{name} runs{form} (wasmtime {engine})\nthe artifact is {how}{unseen}");
}

fn load_failure(name: &str, error: &LoadError) -> Failure {
    match error {
        LoadError::Mismatch(mismatches) => {
            Failure::new(format!("`{name}` does not run on this machine")).reasons(mismatches)
        }
        other => Failure::because(format!("cannot load `{name}`"), other).hint(other.hint()),
    }
}

fn guest(arguments: &Arguments, name: &str, words: Vec<String>) -> Result<Guest, Failure> {
    let mut environment = Vec::new();
    for variable in &arguments.environment {
        match variable.split_once('=') {
            Some((name, value)) => environment.push((name.to_owned(), value.to_owned())),
            // As wasmtime: a variable that is not set here is not set there.
            None => match std::env::var_os(variable) {
                Some(value) => environment.push((variable.clone(), variable_text(variable, value)?)),
                None => continue,
            },
        }
    }
    let argv = [name.to_owned()].into_iter().chain(words.iter().cloned()).collect();
    Ok(Guest {
        arguments: argv,
        environment,
        directories: arguments.directories.clone(),
        invoke: arguments.invoke.clone().map(|name| Call::new(name, words)),
    })
}

fn variable_text(name: &str, value: OsString) -> Result<String, Failure> {
    value.into_string().map_err(|value| {
        let failure = Failure::new(format!("the value of the variable `{name}` is not UTF-8, as guests require"));
        let failure = failure.caused_by(format!("it is `{}`", value.to_string_lossy()));
        failure.hint(format!("give the guest another value: `--env {name}=VALUE`"))
    })
}

fn finish(name: &str, ended: Result<Outcome, GuestError>, loaded: &Loaded) -> Result<ExitCode, Failure> {
    match ended {
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
        Err(GuestError::Failed(error)) => {
            Err(Failure::because(format!("`{name}` did not run to its end"), error.as_ref()))
        }
        Err(error) => Err(Failure::because(format!("cannot run `{name}`"), &error).hint(error.hint())),
    }
}

/// The error's chain: where it was executing, then why it trapped.
fn trap(message: &str, error: &wasmtime::Error) -> Failure {
    error.chain().fold(Failure::new(message), |failure, cause| failure.caused_by(cause.to_string()))
}

fn text(word: &OsString) -> Result<String, Failure> {
    let text = word.to_str().map(str::to_owned);
    text.ok_or_else(|| Failure::new(format!("`{}` is not UTF-8, which guests are given", word.to_string_lossy())))
}
