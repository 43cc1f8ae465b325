//! In: a manifest's text and a directory. Out: a release in that directory, and a report of every cell of the matrix.
//!
//! A release that is in the directory already is also a memory of the work done: a variant records the digest of its
//! job, so what is unchanged is kept and not compiled again. The cells (`matrix`) learn what an earlier release
//! (`previous`) and the cache know of them; what is left is planned and carried out (`build`).

mod build;
mod matrix;
mod merge;
mod previous;
mod report;
mod reproducible;
mod shard;

pub use merge::{MergeError, merge};
pub use report::{CellReport, Outcome, ReleaseReport, Verified, WrongPrediction};
pub use reproducible::{Difference, differences};
pub use shard::Shard;

use crate::cache::{Cache, CacheError};
use crate::codegen::CodegenError;
use crate::express::{Inexpressible, Refused};
use crate::input::InputError;
use crate::plan::{Decision, Plan};
use crate::release_manifest::{ReleaseManifest, ReleaseManifestError, ReleaseSection};
use crate::targets::{self, TargetError};
use crate::{Farm, Input};
use build::Build;
use isomer_contract::{Digest, Hinted, Profile};
use isomer_layout::{Compression, Identity, Layout, LayoutError, Manifest, WriteError, Writer, check_place, measure};
use matrix::{Matrix, State};
use previous::Previous;
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
    /// A part would take the place of what is whole, and of its signatures.
    #[error("`{}` holds the whole release {release}; expected a directory for part {shard} alone", .dir.display())]
    Whole {
        /// The directory.
        dir: PathBuf,
        /// The name and version of what it holds.
        release: String,
        /// The part.
        shard: Shard,
    },
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
            ReleaseError::Whole { .. } => {
                Some("name another directory with -o: `isomer merge` joins the parts into this one".to_owned())
            }
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
    /// Instead of the manifest's.
    pub counter: Option<u64>,
    /// The part of the release that is made, when it is not the whole.
    pub shard: Option<Shard>,
    /// Compile also what predictions spare, and compare.
    pub verify_collapse: bool,
}

/// What happens while a release is made.
pub enum Step<'a> {
    /// So many jobs are to be done.
    Planned(usize),
    /// A job began.
    Started(usize, &'a str, &'a str),
    /// A job ended, and has failed where that is true. One that was not tried never began.
    Finished(usize, bool),
    /// Something of the former release or of the cache could not be used and is made again.
    Damaged(String),
    /// The cache could not keep something, and is asked to keep no more.
    CacheTrouble(CacheError),
}

/// What a release would do.
pub struct ReleasePlan {
    /// Every module for every profile, in the manifest's order.
    pub cells: Vec<PlannedCell>,
    /// The places of those that would be compiled, in that order.
    pub jobs: Vec<usize>,
}

/// One module for one profile.
pub struct PlannedCell {
    /// The module.
    pub module: String,
    /// The profile.
    pub target: String,
    /// The digest of its job.
    pub job: Digest,
    /// What would be done.
    pub decision: Decision,
    /// Why nothing can be, where that is so.
    pub obstacle: Option<Obstacle>,
}

/// Why a cell cannot be compiled.
pub enum Obstacle {
    /// The profile cannot express the module.
    NotExpressible(Inexpressible),
    /// The module can be compiled for nothing.
    Refused(Refused),
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
            input.name = section.name.to_string();
            let profiles = section.targets.as_deref().map_or_else(|| Ok(all.clone()), resolve)?;
            modules.push(Module { name: section.name.to_string(), input, profiles });
        }
        Ok(Release { manifest, modules })
    }

    fn identity(&self, options: Options) -> Identity {
        let ReleaseSection { name, version, counter, .. } = &self.manifest.release;
        let counter = options.counter.unwrap_or(*counter);
        Identity { name: name.clone(), version: version.clone(), counter, part: None }
    }

    /// What [`Release::write`] would do in `directory`, which need not be there. Nothing is written.
    ///
    /// # Errors
    /// When a release can't be written there, for what is there already.
    pub fn plan(
        &self,
        directory: &Path,
        cache: Option<&Cache>,
        on_step: &mut dyn FnMut(Step<'_>),
    ) -> Result<ReleasePlan, ReleaseError> {
        check_place(directory)?;
        let mut matrix = Matrix::of(self, true);
        let unchanged = |layout: &Layout, manifest: &Manifest| {
            let found = layout.open_layer(manifest).map(measure).map_err(|error| error.to_string())?;
            match found.map_err(|error| error.to_string())? {
                found if found == manifest.layer.blob => Ok(manifest.layer),
                found => Err(format!("a layer has digest {}, expected {}", found.digest, manifest.layer.blob.digest)),
            }
        };
        matrix.recall(&Previous::read(directory, on_step), cache, unchanged, on_step);
        let Plan { cells, jobs } = matrix.plan();
        let cells = matrix.cells.into_iter().zip(cells).map(|(cell, decision)| PlannedCell {
            module: self.modules[cell.module].name.clone(),
            target: cell.profile.name.clone(),
            job: cell.job,
            decision,
            obstacle: match cell.state {
                State::Inexpressible(reason) => Some(Obstacle::NotExpressible(reason)),
                State::Refused(reason) => Some(Obstacle::Refused(reason)),
                _ => None,
            },
        });
        Ok(ReleasePlan { cells: cells.collect(), jobs })
    }

    /// Compiles what neither `directory` nor the cache holds and writes the release there.
    ///
    /// A cell that fails keeps the release from being written; the others are compiled all the same, so that one
    /// call names every failure. `Err` is for what concerns the release as a whole.
    pub fn write(
        &self,
        directory: &Path,
        options: Options,
        farm: &Farm<'_>,
        cache: Option<&Cache>,
        on_step: &mut dyn FnMut(Step<'_>),
    ) -> Result<ReleaseReport, ReleaseError> {
        let writer = Writer::open(directory)?;
        if let Some(shard) = options.shard {
            check_not_whole(&writer, shard)?;
        }
        let mut matrix = Matrix::of(self, !options.verify_collapse);
        let identity = self.identity(options);
        let part = options.shard.map(|shard| matrix.keep_share(shard, identity.counter, options.compression));
        let keep = |layout: &Layout, manifest: &Manifest| build::keep(&writer, options.compression, layout, manifest);
        matrix.recall(&Previous::read(directory, on_step), cache, keep, on_step);
        let build = Build { writer: &writer, options, farm, cache };
        build.run(&mut matrix, on_step)?;
        let cells = matrix.report();
        if cells.iter().any(|cell| cell.outcome.is_failure()) {
            return Ok(ReleaseReport { cells, summary: None, verified: None });
        }
        let verified = options.verify_collapse.then(|| matrix.verify());
        let cells = if verified.is_some() { matrix.report() } else { cells };
        if verified.as_ref().is_some_and(|verified| !verified.wrong.is_empty()) {
            return Ok(ReleaseReport { cells, summary: None, verified });
        }
        let modules = build.modules(&matrix)?;
        let summary = writer.finish(&Identity { part, ..identity }, modules)?;
        Ok(ReleaseReport { cells, summary: Some(summary), verified })
    }
}

/// That a part of a release finds no whole one in its place.
fn check_not_whole(writer: &Writer, shard: Shard) -> Result<(), ReleaseError> {
    match writer.former()? {
        Some(Identity { name, version, part: None, .. }) => {
            Err(ReleaseError::Whole { dir: writer.dir().to_owned(), release: format!("{name} {version}"), shard })
        }
        _ => Ok(()),
    }
}
