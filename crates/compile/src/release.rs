//! In: a manifest's text and a directory. Out: a release in that directory, and a report of every cell of the matrix.
//!
//! A release that is in the directory already is also a memory of the work done: a variant records the digest of its
//! job, so what is unchanged is kept and not compiled again. The cells (`matrix`) learn what an earlier release
//! (`previous`, `kept`) and the cache know of them; the build engine (`build`) does the rest, into the directory's layout
//! (`layout`).

mod kept;
mod layout;
mod merge;
mod owner;
mod previous;
mod report;
mod reproducible;
mod shard;

pub use crate::build::Step;
pub use crate::matrix::{Verified, WrongPrediction};
pub use merge::{MergeError, merge};
pub use owner::{ForeignDirectory, check_owner};
pub use report::ReleaseReport;
pub use reproducible::{Difference, differences};
pub use shard::Shard;

use crate::build::{Build, BuildError};
use crate::executor::Runner;
use crate::input::InputError;
use crate::matrix::{CellReport, Matrix, Sharing};
use crate::records::Record;
use crate::release_manifest::{ReleaseManifest, ReleaseManifestError, ReleaseSection, with_limits};
use crate::reuse::Reuse;
use crate::targets::{self, TargetError};
use crate::{Input, Module};
use isomer_contract::name::Version;
use isomer_contract::{Digest, ENGINE_VERSION, Hinted, Variant, only_name_differs};
use isomer_file::FileError;
use isomer_layout::{
    Compression, Identity, Layout, LayoutError, Manifest, Summary, WriteError, Writer, check_place, measure,
};
use kept::KeptRelease;
use layout::LayoutSink;
use previous::Previous;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The largest manifest that is read: ten thousand modules fit.
const MANIFEST_SIZE_BYTES_MAX: u64 = 4 << 20;

/// Why a release was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// The manifest cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The manifest is invalid.
    #[error(transparent)]
    Manifest(#[from] ReleaseManifestError),
    /// A target of the manifest is invalid.
    #[error("{}: {source}", .manifest.display())]
    Target {
        /// The manifest.
        manifest: PathBuf,
        /// What is wrong with it.
        source: Box<TargetError>,
    },
    /// A module cannot be read.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The build ended early.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The directory cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The release in the directory cannot be read.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The directory is another user's.
    #[error(transparent)]
    Foreign(#[from] ForeignDirectory),
    /// A part would replace a whole release and its signatures.
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
            ReleaseError::File(error) => error.hint(),
            ReleaseError::Manifest(error) => error.hint(),
            ReleaseError::Target { source, .. } => source.hint(),
            ReleaseError::Input(error) => error.hint(),
            ReleaseError::Build(error) => error.hint(),
            ReleaseError::Write(error) => error.hint(),
            ReleaseError::Layout(error) => error.hint(),
            ReleaseError::Foreign(error) => error.hint(),
            ReleaseError::Whole { .. } => {
                Some("write the part into another directory, and join the parts into this one".to_owned())
            }
        }
    }
}

/// A manifest with everything that it names, read.
pub struct Release {
    /// The manifest.
    pub manifest: ReleaseManifest,
    /// Its modules.
    pub modules: Vec<Module>,
}

/// Two targets of different settings of which neither is better on a server that runs both.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("where both run, only the names of {first} and {second} decide which is chosen")]
pub struct IndistinctTargets {
    /// The one.
    pub first: String,
    /// The other.
    pub second: String,
}

/// How a release is written.
#[derive(Clone, Copy)]
pub struct Options {
    /// How artifacts are stored.
    pub compression: Compression,
    /// The counter, instead of the manifest's.
    pub counter: Option<u64>,
    /// The part of the release to build, if not the whole.
    pub shard: Option<Shard>,
    /// Compile also the cells that are predicted to equal others, and compare.
    pub verify_collapse: bool,
}

/// What a release would do.
pub struct ReleasePlan {
    /// Every module for every profile, in the manifest's order.
    pub cells: Vec<CellReport>,
    /// The indices of those that would be compiled, in that order.
    pub jobs: Vec<usize>,
}

impl Release {
    /// Reads the manifest at `path` and everything that it names.
    ///
    /// # Errors
    /// When the manifest, a target or a module cannot be read or is invalid.
    pub fn read(path: &Path) -> Result<Release, ReleaseError> {
        let text = isomer_file::read_text(path, MANIFEST_SIZE_BYTES_MAX)?;
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
            let limits = section.limits.as_deref().unwrap_or(&manifest.release.limits);
            let profiles = with_limits(&profiles, limits)
                .map_err(|error| ReleaseError::Target { manifest: path.to_owned(), source: Box::new(error.into()) })?;
            modules.push(Module { name: section.name.to_string(), input, profiles });
        }
        Ok(Release { manifest, modules })
    }

    /// The pairs of different targets between which only their names decide, on every server that runs both.
    pub fn indistinct_targets(&self) -> Vec<IndistinctTargets> {
        let mut pairs: Vec<IndistinctTargets> = Vec::new();
        for module in &self.modules {
            for (index, first) in module.profiles.iter().enumerate() {
                let first_form = Variant::of_profile(first, module.input.kind, ENGINE_VERSION);
                for second in &module.profiles[index + 1..] {
                    let second_form = Variant::of_profile(second, module.input.kind, ENGINE_VERSION);
                    // Those of equal settings have one form.
                    if first.digest() == second.digest() || !only_name_differs(&first_form, &second_form) {
                        continue;
                    }
                    let pair = IndistinctTargets { first: first.name.clone(), second: second.name.clone() };
                    if !pairs.contains(&pair) {
                        pairs.push(pair);
                    }
                }
            }
        }
        pairs
    }

    fn identity(&self, options: Options) -> Identity {
        let ReleaseSection { name, version, counter, .. } = &self.manifest.release;
        let counter = options.counter.unwrap_or(*counter);
        Identity { name: name.clone(), version: version.clone(), counter, part: None }
    }

    /// What [`Release::write`] would do in `directory`, which need not exist. Nothing is written.
    ///
    /// # Errors
    /// When the directory holds something other than a release.
    pub fn plan(
        &self,
        directory: &Path,
        reuse: Reuse<'_>,
        on_step: &mut dyn FnMut(Step<'_>),
    ) -> Result<ReleasePlan, ReleaseError> {
        check_place(directory)?;
        let unchanged = |layout: &Layout, manifest: &Manifest| {
            let found = layout.open_layer(manifest).map(measure).map_err(|error| error.to_string())?;
            match found.map_err(|error| error.to_string())? {
                found if found == manifest.layer.blob => Ok(manifest.layer),
                found => Err(format!("a layer has digest {}, expected {}", found.digest, manifest.layer.blob.digest)),
            }
        };
        let mut matrix = Matrix::of(&self.modules, Sharing::Module);
        matrix.predict();
        let previous = Previous::read(directory, reuse.records, on_step);
        let kept = KeptRelease { previous: &previous, cache: reuse.cache, keep: unchanged };
        matrix.recall(Some(&kept), reuse).into_iter().for_each(|problem| on_step(Step::Damaged(problem)));
        let jobs = matrix.plan();
        Ok(ReleasePlan { cells: matrix.report(), jobs })
    }

    /// Compiles what neither `directory` nor the cache holds, and writes the release there.
    ///
    /// A cell that fails keeps the release from being written; the others are compiled all the same, so that one
    /// call reports every failure.
    ///
    /// # Errors
    /// What concerns the release as a whole, and no single cell.
    pub fn write(
        &self,
        directory: &Path,
        options: Options,
        runner: &Runner<'_>,
        reuse: Reuse<'_>,
        on_step: &mut dyn FnMut(Step<'_>),
    ) -> Result<ReleaseReport, ReleaseError> {
        check_owner(directory)?;
        let writer = Writer::open(directory)?;
        if let Some(shard) = options.shard {
            check_not_whole(&writer, shard)?;
        }
        let identity = self.identity(options);
        let sharing = if options.shard.is_some() { Sharing::Job } else { Sharing::Module };
        let mut matrix = Matrix::of(&self.modules, sharing);
        let part = options.shard.map(|shard| shard.keep_share(&mut matrix, identity.counter, options.compression));
        if !options.verify_collapse {
            matrix.predict();
        }
        let sink = LayoutSink { writer: &writer, compression: options.compression };
        let previous = Previous::read(directory, reuse.records, on_step);
        let keep = |layout: &Layout, manifest: &Manifest| sink.keep(layout, manifest);
        let kept = KeptRelease { previous: &previous, cache: reuse.cache, keep };
        matrix.recall(Some(&kept), reuse).into_iter().for_each(|problem| on_step(Step::Damaged(problem)));
        Build { sink: &sink, runner, reuse }.run(&mut matrix, on_step)?;
        let failed = matrix.cells.iter().any(|cell| cell.state().is_failure());
        let verified = (options.verify_collapse && !failed).then(|| matrix.verify());
        let cells = matrix.report();
        if failed || verified.as_ref().is_some_and(|verified| !verified.wrong.is_empty()) {
            return Ok(ReleaseReport { cells, summary: None, records: BTreeMap::new(), verified });
        }
        let modules = sink.modules(&matrix, &self.manifest)?;
        let summary = writer.finish(&Identity { part, ..identity }, modules)?;
        let records = records_of(&matrix, &summary, &self.manifest.release.version);
        if let Some(to) = reuse.records {
            let put = records.iter().try_for_each(|(module, record)| to.put(*module, record.clone()));
            put.err().into_iter().for_each(|error| on_step(Step::NotRecorded(error)));
        }
        Ok(ReleaseReport { cells, summary: Some(summary), records, verified })
    }
}

/// Who made each module that was written, by the digest of its index.
fn records_of(matrix: &Matrix<'_>, summary: &Summary, version: &Version) -> BTreeMap<Digest, Record> {
    let record = |index: usize| {
        let of_module = matrix.cells.iter().filter(|cell| cell.module == index && cell.maker().remote().is_some());
        Record { remote: of_module.map(|cell| (cell.job, cell.maker().clone())).collect() }
    };
    let mut records = BTreeMap::new();
    for (index, module) in matrix.modules.iter().enumerate() {
        let reference = format!("{}:{version}", module.name);
        let written = summary.modules.iter().find(|written| written.reference == reference);
        records.extend(written.map(|written| (written.digest, record(index))));
    }
    records
}

/// Checks that a part does not replace a whole release.
fn check_not_whole(writer: &Writer, shard: Shard) -> Result<(), ReleaseError> {
    match writer.former()? {
        Some(Identity { name, version, part: None, .. }) => {
            Err(ReleaseError::Whole { dir: writer.dir().to_owned(), release: format!("{name} {version}"), shard })
        }
        _ => Ok(()),
    }
}
