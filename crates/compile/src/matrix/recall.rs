//! In: the earlier builds whose work a matrix takes over, and the cache. Out: the cells of jobs that need not run. Never
//! here: what another user made, or what a remote made and is to be compared first.

use super::Matrix;
use super::cell::{Cell, Claim};
use super::state::{Finished, Location, Origin, State, Stored};
use crate::maker::Maker;
use crate::reuse::Reuse;
use crate::why::Why;
use isomer_contract::{Digest, one_line};
use rayon::prelude::*;

/// What an earlier build knows of a job, or why it knows nothing.
pub(crate) enum Recalled {
    /// The digest of the code, the artifact where it was kept, and who made it.
    Kept(Digest, Option<Stored>, Maker),
    /// The artifact cannot be used.
    Damaged(String),
    /// Nothing.
    Nothing,
}

/// The earlier builds whose work a matrix takes over.
pub(crate) trait Memory: Sync {
    /// What is known of the job of `cell`. Its artifact is carried into the sink.
    fn recall(&self, cell: &Cell<'_>) -> Recalled;

    /// Why the job of `cell` is not known.
    fn why(&self, module: &str, cell: &Cell<'_>) -> Vec<Why>;
}

impl<'a> Matrix<'a> {
    /// Takes over what `memory` and the cache know of the jobs, unless a remote made it that is to be compared first.
    /// Returns what was damaged.
    pub(crate) fn recall(&mut self, memory: Option<&dyn Memory>, reuse: Reuse<'_>) -> Vec<String> {
        let Reuse { cache, distrust, .. } = reuse;
        let modules = self.modules;
        let recall = |cell: &mut Cell<'a>| -> Vec<String> {
            let State::Pending(_) = cell.state else { return Vec::new() };
            let mut damaged = Vec::new();
            match memory.map_or(Recalled::Nothing, |memory| memory.recall(cell)) {
                Recalled::Kept(code, stored, maker) if distrust.compares(cell.job, &maker) => {
                    let artifact = stored.map(|stored| stored.artifact.digest);
                    cell.claim = Some(Claim { code, artifact, maker });
                }
                Recalled::Kept(code, stored, maker) => {
                    cell.maker = maker;
                    let location = stored.map_or(Location::Nowhere, Location::Sink);
                    cell.state = State::Finished(Finished { code, location, origin: Origin::Kept });
                    return damaged;
                }
                Recalled::Damaged(problem) => damaged.push(problem),
                Recalled::Nothing => {}
            }
            match cache.map(|cache| cache.find(cell.job)).transpose() {
                Ok(Some(Some(found))) => {
                    if cell.take_over(found, distrust) {
                        return damaged;
                    }
                }
                Ok(_) => {}
                Err(error) => damaged.push(one_line(&error)),
            }
            cell.state = State::Pending(match (damaged.last(), &cell.claim, memory) {
                (Some(problem), ..) => vec![Why::Damaged { problem: problem.clone() }],
                (None, Some(claim), _) => vec![Why::Compared { maker: claim.maker.clone() }],
                (None, None, Some(memory)) => memory.why(&modules[cell.module].name, cell),
                (None, None, None) => vec![Why::NothingEarlier],
            });
            damaged
        };
        let damaged: Vec<Vec<String>> = self.cells.par_iter_mut().map(recall).collect();
        damaged.into_iter().flatten().chain(self.recall_alone(reuse)).collect()
    }

    /// Looks in the cache for artifacts that are stored nowhere and that no other cell represents any more. Returns what
    /// was damaged.
    pub(crate) fn recall_alone(&mut self, reuse: Reuse<'_>) -> Vec<String> {
        let Some(cache) = reuse.cache else { return Vec::new() };
        let representatives = self.representatives();
        let mut damaged = Vec::new();
        for (index, cell) in self.cells.iter_mut().enumerate() {
            let State::Finished(Finished { location: Location::Nowhere, .. }) = cell.state else { continue };
            if representatives[index] != Some(index) {
                continue;
            }
            match cache.find(cell.job) {
                // One that is to be compared is left: its job runs.
                Ok(Some(found)) => drop(cell.take_over(found, reuse.distrust)),
                Ok(None) => {}
                Err(error) => damaged.push(one_line(&error)),
            }
        }
        damaged
    }
}
