//! What is run. In: operands, and what is trusted. Out: a verified artifact, how it was read, and how long that took. Never
//! here: a guest.

use super::Arguments;
use crate::cli::artifact::{self, Opened};
use crate::cli::operand::{Operand, which_module};
use isomer_runtime::{Expected, Request, Trust, VerifiedArtifact};
use isomer_store::LoadPath;
use isomer_terminal::{Failure, escaped};
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

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

pub(super) fn program<'a>(arguments: &'a Arguments, request: &Request<'_>) -> Result<Program<'a>, Failure> {
    let (path, words) = arguments.operands.split_first().ok_or_else(|| Failure::new("nothing to run"))?;
    let (name, opened, words) = match Operand::of(path, &arguments.store) {
        Operand::Installed(name) => {
            let installed = arguments.store.find(name)?;
            (installed.module().name.clone(), artifact::of_store(&arguments.trust, request, &installed)?, words)
        }
        Operand::Release(dir) => {
            let Some((module, words)) = words.split_first() else { return Err(which_module(dir, "run")) };
            let name = text(module)?;
            let opened = artifact::of_release(&arguments.trust, request, dir, &name)?;
            (name, opened, words)
        }
        Operand::File(path) => {
            let name = text(path.file_name().unwrap_or(path.as_os_str()))?;
            (name, of_file(arguments, path)?, words)
        }
    };
    let Opened { artifact, load_path, started, selected, .. } = opened;
    let times = Times { select: selected - started, verify: selected.elapsed(), load: Duration::ZERO };
    Ok(Program { name, artifact, load_path, words, times })
}

/// A module that `--preload` names, trusted as the one that is run: an installed one, a file, or `DIR/MODULE` of a release.
pub(super) fn preload(
    arguments: &Arguments,
    request: &Request<'_>,
    operand: &OsStr,
) -> Result<VerifiedArtifact, Failure> {
    let opened = match Operand::of(operand, &arguments.store) {
        Operand::Installed(name) => artifact::of_store(&arguments.trust, request, &arguments.store.find(name)?)?,
        Operand::Release(dir) => return Err(which_module(dir, "run --preload NAME=DIR/MODULE")),
        Operand::File(path) => match (path.parent(), path.file_name().and_then(OsStr::to_str)) {
            (Some(dir), Some(module)) if !path.exists() && dir.join("oci-layout").exists() => {
                artifact::of_release(&arguments.trust, request, dir, module)?
            }
            _ => {
                Operand::File(path).check_runnable()?;
                of_file(arguments, path)?
            }
        },
    };
    Ok(opened.artifact)
}

fn of_file(arguments: &Arguments, file: &Path) -> Result<Opened, Failure> {
    let for_releases = |option: &str| {
        Failure::new(format!("`{option}` applies to releases; `{}` is a single artifact", file.display()))
    };
    let options = [("--require", &arguments.require), ("--target", &arguments.target)];
    if let Some((option, _)) = options.iter().find(|(_, target)| target.is_some()) {
        return Err(for_releases(option).hint("`isomer-run check FILE` tells what it needs".to_owned()));
    }
    if let Some(option) = arguments.trust.signers.given() {
        return Err(
            for_releases(option).hint("signatures are of releases; a single file is trusted by `--digest`".to_owned())
        );
    }
    artifact::of_file(file, "run", |digest| match arguments.trust.read()? {
        Some(Trust::Digest(digest)) => Ok(Expected::Digest(digest)),
        Some(_) => Ok(Expected::AnyArtifact),
        None => Err(artifact::untrusted_file(file, digest)),
    })
}

impl Program<'_> {
    /// How the artifact was read.
    pub(super) fn load_path(&self) -> String {
        let installed = self.load_path.as_ref().map(LoadPath::to_string);
        installed.unwrap_or_else(|| artifact::COPIED.to_owned())
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
        let (name, form) = (escaped(name), escaped(&form));
        let how = self.load_path().lines().map(|line| escaped(line).into_owned()).collect::<Vec<_>>().join("\n");
        // A closed standard error cannot be reported.
        let _ = writeln!(anstream::stderr(), "{name} runs{form} (wasmtime {engine})\nthe artifact is {how}{unseen}");
    }
}

pub(super) fn text(word: &OsStr) -> Result<String, Failure> {
    let text = word.to_str().map(str::to_owned);
    text.ok_or_else(|| Failure::new(format!("`{}` is not UTF-8, which guests are given", word.to_string_lossy())))
}
