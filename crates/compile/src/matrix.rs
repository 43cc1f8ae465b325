//! The cells of a build: modules times profiles. In: modules, and what an earlier release and the cache know. Out: what to
//! do next (`plan`), and what was done. A cell's [`State`] is its whole lifecycle (`state`), and only the methods of
//! `Matrix` change it. Never here: work. The build engine (`build`) does that.

mod cell;
mod plan;
mod predicted;
mod recall;
mod state;

pub(crate) use cell::Cell;
pub use predicted::{Verified, WrongPrediction};
pub(crate) use recall::{Memory, Recalled};
pub use state::{CellReport, Finished, Location, Origin, State, Stored};

use crate::cache::Entry;
use crate::executor::JobFailure;
use crate::express::express;
use crate::maker::Maker;
use crate::predict::{self, Operators};
use crate::why::Why;
use crate::{Analysis, Input, Job};
use isomer_contract::{Digest, Needs, Profile, Requirements};
use isomer_layout::WriteError;
use rayon::prelude::*;
use std::sync::Arc;

/// A module with the profiles that it is compiled for.
pub struct Module {
    /// Its name, in a release and in messages.
    pub name: String,
    /// The WebAssembly.
    pub input: Input,
    /// The profiles.
    pub profiles: Vec<Profile>,
}

/// Which cells may share one stored artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// All of a module whose code is equal: a release.
    Module,
    /// Those of one job, and those that are predicted to equal it: a shard, for only all shards together know the rest.
    Job,
    /// None, not even those of one job: files.
    Nothing,
}

/// All cells of a build, module by module.
pub(crate) struct Matrix<'a> {
    pub(crate) modules: &'a [Module],
    pub(crate) needs: Vec<Needs>,
    pub(crate) cells: Vec<Cell<'a>>,
    pub(crate) sharing: Sharing,
}

/// What a job came to, for each cell that has an artifact of its own in the sink.
pub(crate) struct Done {
    pub(crate) code: Digest,
    pub(crate) origin: Origin,
    pub(crate) maker: Maker,
    pub(crate) stored: Vec<(usize, Result<Stored, WriteError>)>,
}

impl<'a> Matrix<'a> {
    /// The cells, each with whether it can be compiled at all.
    pub(crate) fn of(modules: &'a [Module], sharing: Sharing) -> Matrix<'a> {
        let mut needs = Vec::new();
        let mut cells: Vec<Cell<'a>> = Vec::new();
        for (index, Module { input, profiles, .. }) in modules.iter().enumerate() {
            let analysis = Analysis::of(&input.wasm);
            needs.push(analysis.needs());
            let cell = |profile: &'a Profile| {
                let key = Job { input, profile }.key();
                Cell {
                    module: index,
                    profile,
                    requirements: Requirements::of_profile(profile, input.kind),
                    job: key.digest(),
                    predicted_job: key.digest(),
                    key,
                    state: match express(&analysis, profile) {
                        Ok(Ok(())) => State::Pending(Vec::new()),
                        Ok(Err(reason)) => State::NotExpressible(reason),
                        Err(reason) => State::Refused(reason),
                    },
                    maker: Maker::Local,
                    claim: None,
                }
            };
            let begin = cells.len();
            cells.par_extend(profiles.par_iter().map(cell));
            if sharing != Sharing::Nothing {
                set_predicted_jobs(&mut cells[begin..], &input.wasm);
            }
        }
        Matrix { modules, needs, cells, sharing }
    }

    /// The job of a cell.
    pub(crate) fn job(&self, cell: usize) -> Job<'_> {
        let Cell { module, profile, .. } = &self.cells[cell];
        Job { input: &self.modules[*module].input, profile }
    }

    /// The cells for which the artifact of a planned job is stored: the job's own, and those of the same job where each
    /// has an artifact of its own.
    pub(crate) fn stored_for(&self, job: usize) -> Vec<usize> {
        let own = std::iter::once(job);
        match self.sharing {
            Sharing::Module | Sharing::Job => own.collect(),
            Sharing::Nothing => own.chain(self.of_same_job(job)).collect(),
        }
    }

    /// The other cells that wait for the job of this one.
    fn of_same_job(&self, job: usize) -> impl Iterator<Item = usize> + '_ {
        let same = move |cell: &usize| matches!(self.cells[*cell].state, State::SameJob(of) if of == job);
        (0..self.cells.len()).filter(same)
    }

    /// Takes over what the job of `cell` came to, for all cells that share it. When it failed, those that were predicted
    /// to equal it are left to jobs of their own, unless no more jobs start.
    pub(crate) fn finish(&mut self, cell: usize, result: Result<Done, JobFailure>, fail_fast: bool) {
        let same_job: Vec<_> = self.of_same_job(cell).collect();
        let Done { code, origin, maker, stored } = match result {
            Ok(done) => done,
            Err(failure) => {
                let given_up = match &failure {
                    JobFailure::Interrupted | JobFailure::NotTried => Some(failure.clone()),
                    failure if fail_fast || failure.ends_all() => Some(JobFailure::NotTried),
                    _ => None,
                };
                if let Some(given_up) = given_up {
                    let waiting = |of: &&mut Cell<'_>| matches!(of.state, State::Predicted(other) if other == cell);
                    self.cells.iter_mut().filter(waiting).for_each(|of| of.state = State::Failed(given_up.clone()));
                }
                for index in same_job.into_iter().chain([cell]) {
                    self.cells[index].state = State::Failed(failure.clone());
                }
                return;
            }
        };
        let state_of = |index: usize, stored: Result<Stored, WriteError>| match stored {
            Err(error) => State::Unwritten(Arc::new(error)),
            Ok(stored) => {
                let origin = if index == cell { origin } else { Origin::SameJob(cell) };
                State::Finished(Finished { code, location: Location::Sink(stored), origin })
            }
        };
        for index in same_job.iter().chain([&cell]) {
            self.cells[*index].maker = maker.clone();
        }
        for (index, stored) in stored {
            self.cells[index].state = state_of(index, stored);
        }
        // Those without an artifact of their own share the first one.
        let shared = self.cells[cell].state.clone();
        for index in same_job
            .into_iter()
            .filter(|index| matches!(self.cells[*index].state, State::SameJob(_)))
            .collect::<Vec<_>>()
        {
            self.cells[index].state = match &shared {
                State::Finished(finished) => State::Finished(Finished { origin: Origin::SameJob(cell), ..*finished }),
                other => other.clone(),
            };
        }
    }

    /// The cells whose artifacts are to be stored and are in the cache.
    pub(crate) fn to_fetch(&self) -> Vec<(usize, Entry)> {
        let representatives = self.representatives();
        let cells = self.cells.iter().enumerate();
        let entry = |(index, cell): (usize, &Cell<'_>)| match cell.state {
            State::Finished(Finished { location: Location::Cache(entry), .. })
                if representatives[index] == Some(index) =>
            {
                Some((index, entry))
            }
            _ => None,
        };
        cells.filter_map(entry).collect()
    }

    /// The artifact of `cell` was copied from the cache into the sink.
    pub(crate) fn fetched(&mut self, cell: usize, stored: Stored) {
        if let State::Finished(finished) = &mut self.cells[cell].state {
            finished.location = Location::Sink(stored);
        }
    }

    /// The cache entry of `cell` is damaged: its job runs.
    pub(crate) fn not_fetched(&mut self, cell: usize, problem: String) {
        self.cells[cell].state = State::Pending(vec![Why::Damaged { problem }]);
    }

    /// The artifact of `cell` could not be written.
    pub(crate) fn unwritten(&mut self, cell: usize, error: WriteError) {
        self.cells[cell].state = State::Unwritten(Arc::new(error));
    }

    /// Each cell as it is.
    pub(crate) fn report(&self) -> Vec<CellReport> {
        let representatives = self.representatives();
        let report = |(index, cell): (usize, &Cell<'_>)| CellReport {
            module: self.modules[cell.module].name.clone(),
            target: cell.profile.name.clone(),
            job: cell.job,
            state: cell.state.clone(),
            maker: cell.maker.clone(),
            represented_by: representatives[index]
                .filter(|representative| *representative != index)
                .map(|representative| self.cells[representative].profile.name.clone()),
        };
        self.cells.iter().enumerate().map(report).collect()
    }
}

/// Sets the predicted job of each cell of one module that can be compiled.
fn set_predicted_jobs(cells: &mut [Cell<'_>], wasm: &[u8]) {
    let mut cells: Vec<_> = cells.iter_mut().filter(|cell| matches!(cell.state, State::Pending(_))).collect();
    let profiles: Vec<_> = cells.iter().map(|cell| cell.profile).collect();
    let representatives = predict::representatives(&Operators::of(wasm), &profiles);
    let jobs: Vec<_> = representatives.into_iter().map(|representative| cells[representative].job).collect();
    cells.iter_mut().zip(jobs).for_each(|(cell, job)| cell.predicted_job = job);
}

#[cfg(test)]
mod tests {
    use super::*;
    use isomer_contract::manifest::Blob;
    use isomer_layout::{Compression, Layer};
    use std::path::Path;

    /// A module of this text for these shipped profiles.
    pub(super) fn module(text: &str, targets: &[&str]) -> Module {
        let input = Input::from_bytes(Path::new("m.wat"), "m", text.into()).unwrap();
        let profiles = targets.iter().map(|target| Profile::shipped(target).unwrap()).collect();
        Module { name: "m".to_owned(), input, profiles }
    }

    pub(super) fn matrix(modules: &[Module], sharing: Sharing) -> Matrix<'_> {
        Matrix::of(modules, sharing)
    }

    /// The state of a cell with this code, whose artifact is in the sink or nowhere.
    pub(super) fn finished(code: &str, stored: bool) -> State {
        let location = if stored { Location::Sink(stored_blob()) } else { Location::Nowhere };
        State::Finished(Finished { code: Digest::of(code.as_bytes()), location, origin: Origin::Kept })
    }

    fn stored_blob() -> Stored {
        let artifact = Blob::of(b"artifact");
        Stored { artifact, layer: Layer { blob: artifact, compression: Compression::None } }
    }

    fn done(cells: &[usize]) -> Result<Done, JobFailure> {
        let stored = cells.iter().map(|cell| (*cell, Ok(stored_blob()))).collect();
        Ok(Done { code: Digest::of(b"code"), origin: Origin::CacheHit, maker: Maker::Local, stored })
    }

    fn origin(state: &State) -> Origin {
        let State::Finished(Finished { origin, location: Location::Sink(_), .. }) = state else { panic!("{state:?}") };
        *origin
    }

    #[test]
    fn cells_of_one_job_share_its_outcome() {
        for sharing in [Sharing::Module, Sharing::Nothing] {
            let modules = [module("(module)", &["x86-64-v3", "znver4", "icelake-server"])];
            let mut matrix = matrix(&modules, sharing);
            assert_eq!(matrix.plan(), [0, 1]);
            let cells = matrix.stored_for(1);
            assert_eq!(cells, if sharing == Sharing::Module { vec![1] } else { vec![1, 2] });
            matrix.finish(1, done(&cells), false);
            assert_eq!(origin(&matrix.cells[1].state), Origin::CacheHit);
            assert_eq!(origin(&matrix.cells[2].state), Origin::SameJob(1));
            assert!(matches!(matrix.cells[0].state, State::Pending(_)));
        }
    }

    #[test]
    fn cells_of_one_job_share_its_failure() {
        let modules = [module("(module)", &["znver4", "icelake-server"])];
        let mut matrix = matrix(&modules, Sharing::Module);
        assert_eq!(matrix.plan(), [0]);
        matrix.finish(0, Err(JobFailure::NotTried), false);
        assert!(matrix.cells.iter().all(|cell| matches!(cell.state, State::Failed(JobFailure::NotTried))));
    }

    #[test]
    fn a_damaged_cache_entry_makes_a_cell_pending_again() {
        let modules = [module("(module)", &["x86-64-v3"])];
        let mut matrix = matrix(&modules, Sharing::Module);
        matrix.not_fetched(0, "a bit flipped".to_owned());
        assert_eq!(matrix.plan(), [0]);
    }
}
