//! In: a manifest's text and a directory. Out: a release in that directory, and a report of every cell of the matrix.
//!
//! A release that is in the directory already is also the memory of the work done: a variant records the digest of
//! its job, so what is unchanged is kept and not compiled again.

mod matrix;
mod previous;
mod report;

pub use report::{CellReport, Outcome, ReleaseReport};

use crate::Input;
use crate::codegen::CodegenError;
use crate::input::InputError;
use crate::release_manifest::{ReleaseManifest, ReleaseManifestError, ReleaseSection};
use crate::targets::{self, TargetError};
use isomer_contract::{Hinted, Profile};
use isomer_release::{Compression, Identity, LayoutError, WriteError, Writer};
use matrix::Matrix;
use previous::Previous;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Why there is no release.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The manifest is wrong.
    #[error(transparent)]
    Manifest(#[from] ReleaseManifestError),
    /// A target of the manifest is wrong.
    #[error("{}: {source}", .manifest.display())]
    Target {
        /// The manifest.
        manifest: PathBuf,
        /// What is wrong.
        source: Box<TargetError>,
    },
    /// A module cannot be read.
    #[error(transparent)]
    Input(#[from] InputError),
    /// wasmtime takes no configuration like a profile's.
    #[error(transparent)]
    Codegen(#[from] CodegenError),
    /// The directory cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The release in the directory cannot be read.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

impl Hinted for ReleaseError {
    fn hint(&self) -> Option<String> {
        match self {
            ReleaseError::Manifest(error) => error.hint(),
            ReleaseError::Target { source, .. } => source.hint(),
            ReleaseError::Input(error) => error.hint(),
            ReleaseError::Codegen(error) => error.hint(),
            ReleaseError::Write(error) => error.hint(),
            ReleaseError::Layout(error) => error.hint(),
        }
    }
}

/// A module of the release with the profiles that it is compiled for.
pub struct Module {
    /// Its name in the release.
    pub name: String,
    /// What is compiled.
    pub input: Input,
    /// What for.
    pub profiles: Vec<Profile>,
}

/// What a release is made of, read and understood.
pub struct Release {
    /// The manifest.
    pub manifest: ReleaseManifest,
    /// Its modules.
    pub modules: Vec<Module>,
}

/// How a release is written.
#[derive(Clone, Copy)]
pub struct Options {
    /// How artifacts are stored.
    pub compression: Compression,
    /// How many jobs run at once.
    pub parallelism: NonZeroUsize,
    /// Instead of the manifest's.
    pub counter: Option<u64>,
}

/// What happens while a release is made.
pub enum Step<'a> {
    /// So many jobs are to be done.
    Planned(usize),
    /// A job began.
    Started(usize, &'a str, &'a str),
    /// A job ended.
    Finished(usize),
    /// Something of the former release could not be used and is made again.
    Damaged(String),
}

impl Release {
    /// Reads the manifest at `path` and everything that it names.
    pub fn read(path: &Path) -> Result<Release, ReleaseError> {
        let text = std::fs::read_to_string(path).map_err(|error| ReleaseManifestError {
            path: path.to_owned(),
            line: None,
            problem: crate::release_manifest::Problem::Read(error.to_string()),
        })?;
        let manifest = ReleaseManifest::parse(path, &text)?;
        let base = path.parent().unwrap_or(Path::new(""));
        let resolve = |words: &[String]| {
            targets::resolve(words, base)
                .map_err(|source| ReleaseError::Target { manifest: path.to_owned(), source: Box::new(source) })
        };
        let all = resolve(&manifest.release.targets)?;
        let mut modules = Vec::new();
        for section in &manifest.modules {
            let mut input = Input::read(&base.join(&section.path))?;
            input.name = section.name();
            let profiles = section.targets.as_deref().map_or_else(|| Ok(all.clone()), resolve)?;
            modules.push(Module { name: section.name(), input, profiles });
        }
        Ok(Release { manifest, modules })
    }

    fn identity(&self, options: Options) -> Identity {
        let ReleaseSection { name, version, counter, .. } = &self.manifest.release;
        Identity { name: name.clone(), version: version.clone(), counter: options.counter.unwrap_or(*counter) }
    }

    /// Compiles what is not in `directory` yet and writes the release there.
    ///
    /// A cell that fails keeps the release from being written; the others are compiled all the same, so that one
    /// call names every failure. `Err` is for what concerns the release as a whole.
    pub fn write(
        &self,
        directory: &Path,
        options: Options,
        on_step: &mut dyn FnMut(Step<'_>),
    ) -> Result<ReleaseReport, ReleaseError> {
        let writer = Writer::open(directory)?;
        let mut matrix = Matrix::plan(self, options, &writer);
        matrix.recall(&Previous::read(directory, on_step), on_step);
        // The first round compiles what was never compiled; the second what was, but is now shipped itself because
        // the variant that stood for it has left the release.
        for _ in 0..2 {
            matrix.compile_missing(on_step)?;
        }
        let cells = matrix.report();
        if cells.iter().any(|cell| cell.outcome.is_failure()) {
            return Ok(ReleaseReport { cells, summary: None });
        }
        let modules = matrix.modules()?;
        drop(matrix);
        Ok(ReleaseReport { cells, summary: Some(writer.finish(&self.identity(options), modules)?) })
    }
}
