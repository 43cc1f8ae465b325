//! The build engine of `compile` and `release`: plan, run jobs, keep artifacts, until no job is left. In: a [`Matrix`], a
//! [`Runner`], a cache, a [`Sink`]. Out: every artifact in the sink, and the matrix with what became of each cell. Never
//! here: what an artifact is stored as, what is told to a person.

use crate::Job;
use crate::cache::{Cache, CacheError, Entry, pack_entry};
use crate::codegen::{CodegenError, Compiled, check_configurations};
use crate::executor::{JobFailure, Runner};
use crate::maker::Maker;
use crate::matrix::{Done, Matrix, Origin, Stored};
use crate::reuse::Reuse;
use crate::schedule::Event;
use crate::seal::SealError;
use isomer_contract::manifest::Blob;
use isomer_contract::{Digest, Hinted};
use isomer_layout::{Layer, WriteError};
use rayon::prelude::*;
use std::time::Instant;

/// What happens during a build, in the order in which it happens. Always told on the thread that started the build.
#[non_exhaustive]
pub enum Step<'a> {
    /// So many jobs will run.
    Planned(usize),
    /// A job started: its number, its module and its target.
    Started(usize, &'a str, &'a str),
    /// A job ended, and failed where that is true. One that was given up never started.
    Finished(usize, bool),
    /// Something of the earlier release or of the cache is damaged. Its job runs again.
    Damaged(String),
    /// The cache could not store something, and is not asked to store more.
    CacheTrouble(CacheError),
    /// What was released could not be recorded: the next release takes nothing of it over.
    NotRecorded(SealError),
}

/// Where artifacts are written.
pub(crate) trait Sink: Sync {
    /// Stores the artifact of a cell.
    fn store(&self, cell: usize, artifact: &NewArtifact<'_>) -> Result<Stored, StoreError>;

    /// Stores the artifact of a cell from the cache.
    fn fetch(&self, cell: usize, cache: &Cache, entry: &Entry) -> Result<Stored, FetchError>;
}

/// A compiled artifact.
pub(crate) struct NewArtifact<'a> {
    pub(crate) bytes: &'a [u8],
    /// The digest and size of `bytes`.
    pub(crate) blob: Blob,
    /// The same as the cache stores it, where there is a cache.
    pub(crate) packed: Option<(Layer, &'a [u8])>,
}

/// Why an artifact is not in the sink.
pub(crate) enum StoreError {
    /// This cell has none; others may.
    Cell(WriteError),
    /// Nothing can be stored any more.
    Build(WriteError),
}

/// Why an artifact of the cache is not in the sink.
pub(crate) enum FetchError {
    /// The cache entry is damaged.
    Damaged(String),
    /// The sink cannot store it.
    Store(StoreError),
}

/// Why a build ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// wasmtime rejects the configuration of a profile.
    #[error(transparent)]
    Codegen(#[from] CodegenError),
    /// The output cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl Hinted for BuildError {
    fn hint(&self) -> Option<String> {
        match self {
            BuildError::Codegen(error) => error.hint(),
            BuildError::Write(error) => error.hint(),
        }
    }
}

/// What a build works with.
pub(crate) struct Build<'a> {
    pub(crate) sink: &'a dyn Sink,
    pub(crate) runner: &'a Runner<'a>,
    pub(crate) reuse: Reuse<'a>,
}

/// What became of a job's artifact.
struct Kept {
    code: Digest,
    cache_hit: bool,
    maker: Maker,
    stored: Vec<(usize, Result<Stored, WriteError>)>,
    /// Why the cache does not hold it.
    trouble: Option<CacheError>,
}

impl Build<'_> {
    /// Brings every cell of `matrix` to its end.
    pub(crate) fn run(&self, matrix: &mut Matrix<'_>, on_step: &mut dyn FnMut(Step<'_>)) -> Result<(), BuildError> {
        loop {
            matrix.resolve_predictions();
            matrix.recall_alone(self.reuse).into_iter().for_each(|problem| on_step(Step::Damaged(problem)));
            let jobs = matrix.plan();
            if !jobs.is_empty() {
                self.compile(matrix, &jobs, on_step)?;
            } else if self.fetch(matrix, on_step)? {
                return Ok(());
            }
        }
    }

    /// Runs the jobs of these cells.
    fn compile(
        &self,
        matrix: &mut Matrix<'_>,
        cells: &[usize],
        on_step: &mut dyn FnMut(Step<'_>),
    ) -> Result<(), BuildError> {
        let jobs: Vec<_> = cells.iter().map(|cell| matrix.job(*cell)).collect();
        check_configurations(jobs.iter().map(|job| job.profile))?;
        on_step(Step::Planned(jobs.len()));
        let keep = |index: usize, compiled: Compiled| self.keep(matrix, cells[index], &compiled);
        let mut started = vec![Instant::now(); jobs.len()];
        let mut results: Vec<(usize, Result<Done, JobFailure>)> = Vec::new();
        let mut broken = None;
        self.runner.run(&jobs, keep, |event| match event {
            Event::Started(index) => {
                started[index] = Instant::now();
                on_step(Step::Started(index, &jobs[index].input.name, &jobs[index].profile.name));
            }
            Event::Finished(index, result) => {
                on_step(Step::Finished(index, !matches!(result, Ok(Ok(Ok(_))))));
                let done = match result {
                    Err(failure) | Ok(Ok(Err(failure))) => Err(failure),
                    Ok(Err(error)) => return broken = broken.take().or(Some(error)),
                    Ok(Ok(Ok(Kept { code, cache_hit, maker, stored, trouble }))) => {
                        trouble.into_iter().for_each(|error| on_step(Step::CacheTrouble(error)));
                        let took = started[index].elapsed();
                        let origin = if cache_hit { Origin::CacheHit } else { Origin::Compiled(took) };
                        Ok(Done { code, origin, maker, stored })
                    }
                };
                results.push((cells[index], done));
            }
        });
        if let Some(error) = broken {
            return Err(error.into());
        }
        for (cell, result) in results {
            matrix.finish(cell, result, self.runner.fail_fast);
        }
        Ok(())
    }

    /// Stores an artifact in the sink and in the cache, compressed once. The inner error is of the job: a remote once made
    /// something else of it.
    fn keep(
        &self,
        matrix: &Matrix<'_>,
        cell: usize,
        compiled: &Compiled,
    ) -> Result<Result<Kept, JobFailure>, WriteError> {
        let code = compiled.artifact().code_digest();
        // The cache comes first: when the output is full, the work is not lost.
        let (packed, trouble) = match self.reuse.cache.map(|cache| put(cache, &matrix.job(cell), compiled, code)) {
            None => (None, None),
            Some(Ok((packed, kept))) => (Some(packed), kept.err()),
            Some(Err(error)) => (None, Some(error)),
        };
        let new = NewArtifact {
            bytes: compiled.bytes(),
            blob: Blob::of(compiled.bytes()),
            packed: packed.as_ref().map(|(layer, bytes)| (*layer, bytes.as_slice())),
        };
        if let Some(failure) = matrix.cells[cell].contradiction(code, new.blob.digest) {
            return Ok(Err(failure));
        }
        let mut stored = Vec::new();
        for cell in matrix.stored_for(cell) {
            stored.push(match self.sink.store(cell, &new) {
                Ok(stored) => (cell, Ok(stored)),
                Err(StoreError::Cell(error)) => (cell, Err(error)),
                Err(StoreError::Build(error)) => return Err(error),
            });
        }
        let (cache_hit, maker) = (compiled.cache_hit(), compiled.maker().clone());
        Ok(Ok(Kept { code, cache_hit, maker, stored, trouble }))
    }

    /// Copies what is to be stored and lies in the cache into the sink. Returns whether all of it was whole.
    fn fetch(&self, matrix: &mut Matrix<'_>, on_step: &mut dyn FnMut(Step<'_>)) -> Result<bool, BuildError> {
        let Some(cache) = self.reuse.cache else { return Ok(true) };
        let fetch = |(cell, entry): (usize, Entry)| (cell, self.sink.fetch(cell, cache, &entry));
        let fetched: Vec<_> = matrix.to_fetch().into_par_iter().map(fetch).collect();
        let mut whole = true;
        for (cell, result) in fetched {
            match result {
                Ok(stored) => matrix.fetched(cell, stored),
                Err(FetchError::Damaged(problem)) => {
                    whole = false;
                    on_step(Step::Damaged(problem.clone()));
                    matrix.not_fetched(cell, problem);
                }
                Err(FetchError::Store(StoreError::Cell(error))) => matrix.unwritten(cell, error),
                Err(FetchError::Store(StoreError::Build(error))) => return Err(error.into()),
            }
        }
        Ok(whole)
    }
}

/// An artifact as the cache stores it.
type Packed = (Layer, Vec<u8>);

/// Stores an artifact in the cache. Returns its compressed form, which is of use also when it could not be stored.
fn put(
    cache: &Cache,
    job: &Job<'_>,
    compiled: &Compiled,
    code: Digest,
) -> Result<(Packed, Result<(), CacheError>), CacheError> {
    let packed = pack_entry(compiled.bytes(), code);
    let (entry, bytes) = packed.map_err(|source| {
        let path = cache.dir().to_owned();
        CacheError::Io { action: "compress an artifact for", path, source }
    })?;
    let kept = cache.put(job.digest(), &entry, compiled.maker(), &bytes);
    let kept = kept.and_then(|()| cache.put_profile(&job.profile.effective()));
    Ok(((entry.layer(), bytes), kept))
}
