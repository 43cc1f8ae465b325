//! The cells that are predicted to have the code of another. In: which those are, and what the others came to. Out: the
//! same for them, without a job; or, where all jobs ran, how the predictions did.

use super::{Finished, Location, Matrix, Origin, State};
use std::collections::BTreeMap;

/// How predictions did against the compiler.
pub struct Verified {
    /// How many were right.
    pub right: usize,
    /// Those that were wrong. With any, no release is written.
    pub wrong: Vec<WrongPrediction>,
    /// How many cells are represented by another without a prediction.
    pub missed: usize,
}

/// A wrong prediction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{module} for {target} was predicted to equal that for {representative}, and does not; {target} adds {added}")]
pub struct WrongPrediction {
    /// The module.
    pub module: String,
    /// The profile.
    pub target: String,
    /// The profile that it was predicted to equal.
    pub representative: String,
    /// The extensions that only the one has.
    pub added: String,
}

impl Matrix<'_> {
    /// For each cell that is predicted to have the code of another, that one's index.
    fn predicted_as(&self) -> Vec<Option<usize>> {
        let cells = self.cells.iter().enumerate().rev();
        let first: BTreeMap<_, _> = cells.map(|(index, cell)| ((cell.module, cell.job), index)).collect();
        let other = |cell: &super::Cell<'_>| first.get(&(cell.module, cell.predicted_job)).copied();
        self.cells.iter().map(|cell| if cell.predicted_job == cell.job { None } else { other(cell) }).collect()
    }

    /// Relies on predictions: the cells that have one wait for the other cell. What is predicted depends on the modules
    /// and profiles alone, never on what is cached or kept, so that the bytes of a release do not either.
    pub(crate) fn predict(&mut self) {
        for (index, other) in self.predicted_as().into_iter().enumerate() {
            if let (State::Pending(_), Some(other)) = (&self.cells[index].state, other) {
                self.cells[index].state = State::Predicted(other);
            }
        }
    }

    /// Gives each cell that waits for another the code of that one, once it is known.
    pub(crate) fn resolve_predictions(&mut self) {
        for index in 0..self.cells.len() {
            let State::Predicted(other) = self.cells[index].state else { continue };
            let State::Finished(Finished { code, .. }) = self.cells[other].state else { continue };
            let origin = Origin::Predicted { verified: None };
            self.cells[index].state = State::Finished(Finished { code, location: Location::Nowhere, origin });
        }
    }

    /// Compares predictions with what was compiled. Right ones are predictions again: the release has the same bytes as
    /// if they had been relied on.
    pub(crate) fn verify(&mut self) -> Verified {
        let representatives = self.representatives();
        let mut verified = Verified { right: 0, wrong: Vec::new(), missed: 0 };
        for (index, other) in self.predicted_as().into_iter().enumerate() {
            let cell = &self.cells[index];
            let State::Finished(finished) = cell.state else { continue };
            let Some(other) = other.map(|other| &self.cells[other]) else {
                let representative = representatives[index].expect("a finished cell has a representative");
                verified.missed += usize::from(self.cells[representative].job != cell.job);
                continue;
            };
            if matches!(other.state, State::Finished(of) if of.code == finished.code) {
                verified.right += 1;
                let origin = Origin::Predicted { verified: finished.took() };
                self.cells[index].state = State::Finished(Finished { location: Location::Nowhere, origin, ..finished });
                continue;
            }
            let added = cell.profile.isa.keys().filter(|name| !other.profile.isa.contains_key(*name));
            verified.wrong.push(WrongPrediction {
                module: self.modules[cell.module].name.clone(),
                target: cell.profile.name.clone(),
                representative: other.profile.name.clone(),
                added: added.copied().collect::<Vec<_>>().join(", "),
            });
        }
        verified
    }
}

#[cfg(test)]
mod tests {
    use super::super::Sharing;
    use super::super::tests::{finished, module};
    use super::*;
    use crate::Module;
    use crate::executor::JobFailure;

    /// One scalar module for three x86-64 profiles, the last two predicted to have the code of the first.
    fn modules() -> [Module; 1] {
        [module("(module (func))", &["x86-64-v3", "x86-64-v4", "sapphire-rapids"])]
    }

    #[test]
    fn a_wrong_prediction_is_reported() {
        let modules = modules();
        let all_equal = || {
            let mut matrix = Matrix::of(&modules, Sharing::Module);
            matrix.cells.iter_mut().for_each(|cell| cell.state = finished("code", false));
            matrix
        };
        let verified = all_equal().verify();
        assert_eq!((verified.right, verified.wrong, verified.missed), (2, Vec::new(), 0));
        let mut wrong = all_equal();
        wrong.cells[1].state = finished("other code", false);
        let verified = wrong.verify();
        assert_eq!((verified.right, verified.wrong.len()), (1, 1));
        let text = verified.wrong[0].to_string();
        assert!(text.starts_with("m for x86-64-v4 was predicted to "), "{text}");
        assert!(text.contains("avx512f"), "{text}");
    }

    #[test]
    fn a_prediction_is_resolved_by_the_cell_that_it_names() {
        let modules = modules();
        let mut matrix = Matrix::of(&modules, Sharing::Module);
        matrix.predict();
        assert_eq!(matrix.plan(), [0]);
        matrix.resolve_predictions();
        assert!(matches!(matrix.cells[1].state, State::Predicted(0)));
        matrix.cells[0].state = finished("code", true);
        matrix.resolve_predictions();
        let State::Finished(finished) = matrix.cells[1].state else { panic!("{:?}", matrix.cells[1].state) };
        assert_eq!(finished.origin, Origin::Predicted { verified: None });
        assert_eq!(matrix.representatives(), [Some(0); 3]);
    }

    #[test]
    fn a_failed_representative_leaves_the_others_to_jobs_of_their_own() {
        let modules = modules();
        let crashed = || JobFailure::Crashed { how: "signal".to_owned(), stderr: String::new() };
        for (fail_fast, jobs) in [(false, vec![1, 2]), (true, vec![])] {
            let mut matrix = Matrix::of(&modules, Sharing::Module);
            matrix.predict();
            assert_eq!(matrix.plan(), [0]);
            matrix.finish(0, Err(crashed()), fail_fast);
            assert_eq!(matrix.plan(), jobs);
        }
    }
}
