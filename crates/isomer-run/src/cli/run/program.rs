//! What is run. In: operands, and what is trusted. Out: a verified artifact, how it was read, and how long that took. Never
//! here: a guest.

use super::Arguments;
use crate::cli::operand::{Operand, open_release, which_module};
use crate::cli::{input, select, wording};
use isomer_contract::Hinted;
use isomer_runtime::{Expected, Request, SealedBytes, Trust, VerifiedArtifact, VerifyError};
use isomer_store::{Installed, LoadPath, OpenedArtifact};
use isomer_terminal::Failure;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// What is run.
pub(super) struct Program<'a> {
    /// The guest's name.
    pub(super) name: String,
    pub(super) artifact: VerifiedArtifact,
    /// How it was read, where it is installed.
    pub(super) load_path: Option<LoadPath>,
    /// The operands that are the guest's arguments.
    pub(super) words: &'a [OsString],
    pub(super) times: Times,
}

/// What each step before the guest took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    /// To open the release or the store, look at signatures and choose.
    pub(super) select: Duration,
    /// To read and hash the artifact, or to find out that it was hashed.
    pub(super) verify: Duration,
    pub(super) load: Duration,
}

/// An artifact, and what it took.
struct Opened {
    artifact: VerifiedArtifact,
    load_path: Option<LoadPath>,
    times: Times,
}

impl Opened {
    fn new(artifact: VerifiedArtifact, started: Instant, selected: Instant) -> Opened {
        let times = Times { select: selected - started, verify: selected.elapsed(), load: Duration::ZERO };
        Opened { artifact, load_path: None, times }
    }
}

pub(super) fn program<'a>(arguments: &'a Arguments, request: &Request<'_>) -> Result<Program<'a>, Failure> {
    let (path, words) = arguments.operands.split_first().ok_or_else(|| Failure::new("nothing to run"))?;
    let (name, Opened { artifact, load_path, times }, words) = match Operand::of(path, &arguments.store) {
        Operand::Installed(name) => {
            let installed = arguments.store.find(name)?;
            (installed.module().name.clone(), of_store(arguments, request, &installed)?, words)
        }
        Operand::Release(dir) => {
            let Some((module, words)) = words.split_first() else { return Err(which_module(dir, "run")) };
            let name = text(module)?;
            let opened = of_release(arguments, request, dir, &name)?;
            (name, opened, words)
        }
        Operand::File(path) => {
            let name = text(path.file_name().unwrap_or(path.as_os_str()))?;
            (name, of_file(arguments, path)?, words)
        }
    };
    Ok(Program { name, artifact, load_path, words, times })
}

/// A module that `--preload` names, trusted as the one that is run: an installed one, a file, or `DIR/MODULE` of a release.
pub(super) fn preload(
    arguments: &Arguments,
    request: &Request<'_>,
    operand: &OsStr,
) -> Result<VerifiedArtifact, Failure> {
    let opened = match Operand::of(operand, &arguments.store) {
        Operand::Installed(name) => of_store(arguments, request, &arguments.store.find(name)?)?,
        Operand::Release(dir) => return Err(which_module(dir, "run --preload NAME=DIR/MODULE")),
        Operand::File(path) => match (path.parent(), path.file_name().and_then(OsStr::to_str)) {
            (Some(dir), Some(module)) if !path.exists() && dir.join("oci-layout").exists() => {
                of_release(arguments, request, dir, module)?
            }
            _ => {
                Operand::File(path).check_runnable()?;
                of_file(arguments, path)?
            }
        },
    };
    Ok(opened.artifact)
}

/// A variant of an installed module: on the basis on which it was installed, unless an option states another.
fn of_store(arguments: &Arguments, request: &Request<'_>, installed: &Installed) -> Result<Opened, Failure> {
    let started = Instant::now();
    let trust = arguments.trust.read()?;
    let trusted = installed.trust(trust.as_ref()).map_err(wording::store)?;
    let chosen = trusted
        .choose(&input::this_machine()?, request)
        .map_err(|error| wording::select_installed(&error, "on this machine", installed))?;
    select::log_steps_down(&installed.module().name, chosen.variant(), chosen.steps_down());
    let selected = Instant::now();
    let OpenedArtifact { artifact, load_path } = installed.open(&chosen).map_err(wording::store)?;
    Ok(Opened { load_path: Some(load_path), ..Opened::new(artifact, started, selected) })
}

fn of_release(arguments: &Arguments, request: &Request<'_>, release: &Path, module: &str) -> Result<Opened, Failure> {
    let started = Instant::now();
    let (layout, module) = open_release(release, module)?;
    let trust = arguments.trust.read()?.ok_or_else(|| {
        let what = format!("`{}` of `{}`", module.name, release.display());
        wording::untrusted(&what, "`--key`, `--trust`, `--digest`", "its index", module.digest)
    })?;
    let from = release.display().to_string();
    let trusted = isomer_runtime::trust(&layout, module, &trust).map_err(|error| wording::trust(error, Some(&from)))?;
    let host = input::this_machine()?;
    let chosen = trusted.choose(&host, request).map_err(|error| wording::select(&error, "on this machine", false))?;
    select::log_steps_down(&trusted.module().name, chosen.variant(), chosen.steps_down());
    let selected = Instant::now();
    Ok(Opened::new(chosen.fetch(&layout).map_err(Failure::from)?, started, selected))
}

fn of_file(arguments: &Arguments, file: &Path) -> Result<Opened, Failure> {
    let options = [("--require", &arguments.require), ("--target", &arguments.target)];
    if let Some((option, _)) = options.iter().find(|(_, target)| target.is_some()) {
        let failure = Failure::new(format!("`{option}` is about a release; `{}` is one artifact", file.display()));
        return Err(failure.hint("`isomer-run check FILE` tells what it needs".to_owned()));
    }
    if let Some(option) = arguments.trust.signers.given() {
        let failure = Failure::new(format!("`{option}` is about a release; `{}` is one artifact", file.display()));
        return Err(failure.hint("signatures are of releases; a single file is trusted by `--digest`".to_owned()));
    }
    let started = Instant::now();
    let because = |error: &dyn std::error::Error| Failure::because(format!("cannot run `{}`", file.display()), error);
    let bytes = SealedBytes::copy(input::open(file)?, isomer_contract::limits::ARTIFACT_SIZE_BYTES_MAX)
        .map_err(|error| because(&error).hint(error.hint()))?;
    let expected = match arguments.trust.read()? {
        Some(Trust::Digest(digest)) => Expected::Digest(digest),
        Some(_) => Expected::AnyArtifact,
        None => return Err(wording::untrusted(&format!("`{}`", file.display()), "`--digest`", "it", bytes.digest())),
    };
    let artifact =
        isomer_runtime::verify(bytes, expected).map_err(|error: VerifyError| because(&error).hint(error.hint()))?;
    Ok(Opened::new(artifact, started, started))
}

impl Program<'_> {
    /// How the artifact was read.
    pub(super) fn load_path(&self) -> String {
        let installed = self.load_path.as_ref().map(LoadPath::to_string);
        installed.unwrap_or_else(|| "copied into sealed memory and hashed there".to_owned())
    }

    /// Prints which variant it is, how it was read and why, on standard error.
    pub(super) fn explain(&self) {
        let Program { name, artifact, .. } = self;
        let form = artifact.target().map(|target| format!(" as {target}")).unwrap_or_default();
        let engine = &artifact.requirements().engine;
        let unseen = match self.load_path {
            Some(LoadPath::Mapped { .. }) => {
                "\n  damage of the disk since then is not seen; `isomer-run list --check` hashes it"
            }
            _ => "",
        };
        let how = self.load_path();
        // A closed standard error cannot be reported.
        let _ = writeln!(anstream::stderr(), "{name} runs{form} (wasmtime {engine})\nthe artifact is {how}{unseen}");
    }
}

pub(super) fn text(word: &OsStr) -> Result<String, Failure> {
    let text = word.to_str().map(str::to_owned);
    text.ok_or_else(|| Failure::new(format!("`{}` is not UTF-8, which guests are given", word.to_string_lossy())))
}
