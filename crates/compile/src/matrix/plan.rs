//! Which jobs run next. In: the states of all cells. Out: each cell's decision, as its state, and the cells whose jobs
//! run. Pure: no file, no clock, no environment.
//!
//! A build alternates between planning and running jobs until no job is left: a cell whose code is known to equal
//! another's gets a job of its own when that other has left the release, and only the code of the other's successor
//! tells.

use super::{Cell, Finished, Location, Matrix, Sharing, State};
use crate::collapse::{Form, collapse};
use crate::why::Why;
use isomer_contract::{Cost, Digest, Profile, Requirements};
use std::cmp::Reverse;
use std::collections::BTreeMap;

impl Matrix<'_> {
    /// Decides what is done for each cell. Returns the cells whose jobs run, the largest modules first so that no long
    /// job starts last.
    pub(crate) fn plan(&mut self) -> Vec<usize> {
        let representatives = self.representatives();
        let mut first_of_job: BTreeMap<Digest, usize> = BTreeMap::new();
        let mut jobs = Vec::new();
        for (index, representative) in representatives.into_iter().enumerate() {
            match &self.cells[index].state {
                State::Predicted(other) if self.cells[*other].state.is_failure() => {
                    self.cells[index].state = State::Pending(vec![Why::OnlyPredicted]);
                }
                State::Finished(Finished { location: Location::Nowhere, .. }) if representative == Some(index) => {
                    self.cells[index].state = State::Pending(vec![Why::Unrepresented]);
                }
                _ => {}
            }
            let State::Pending(_) = self.cells[index].state else { continue };
            match *first_of_job.entry(self.cells[index].job).or_insert(index) {
                first if first == index => jobs.push(index),
                first => self.cells[index].state = State::SameJob(first),
            }
        }
        jobs.sort_by_key(|index| (Reverse(self.modules[self.cells[*index].module].input.wasm.len()), *index));
        jobs
    }

    /// For each cell whose code is known, the cell whose artifact is stored for it: itself, or one of equal code that
    /// requires less.
    pub(crate) fn representatives(&self) -> Vec<Option<usize>> {
        let mut by_group: BTreeMap<usize, (Vec<usize>, Vec<Form<'_>>)> = BTreeMap::new();
        let groups = self.groups();
        for (index, Cell { profile, requirements, state, .. }) in self.cells.iter().enumerate() {
            if let State::Finished(Finished { code, .. }) = state {
                let (indices, forms) = by_group.entry(groups[index]).or_default();
                indices.push(index);
                forms.push(Form {
                    target: &profile.name,
                    requirements,
                    cost_percent: cost_percent(profile, requirements),
                    code: *code,
                });
            }
        }
        let mut representatives = vec![None; self.cells.len()];
        for (indices, forms) in by_group.into_values() {
            for (form, representative) in collapse(&forms).into_iter().enumerate() {
                representatives[indices[form]] = Some(indices[representative]);
            }
        }
        representatives
    }

    /// The group of each cell. Only cells of one group can share an artifact.
    fn groups(&self) -> Vec<usize> {
        let cells = || self.cells.iter().enumerate();
        match self.sharing {
            Sharing::Module => self.cells.iter().map(|cell| cell.module).collect(),
            Sharing::Job => {
                let last: BTreeMap<_, _> =
                    cells().map(|(index, cell)| ((cell.module, cell.predicted_job), index)).collect();
                self.cells.iter().map(|cell| last[&(cell.module, cell.predicted_job)]).collect()
            }
            Sharing::Nothing => (0..self.cells.len()).collect(),
        }
    }
}

fn cost_percent(profile: &Profile, requirements: &Requirements) -> u32 {
    Cost::of(requirements, &profile.code_generation()).into_iter().map(Cost::percent).sum()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finished, matrix, module};
    use super::*;
    use crate::executor::JobFailure;

    #[test]
    fn equal_jobs_run_once() {
        let modules = [module("(module)", &["x86-64-v3", "znver4", "icelake-server"])];
        let mut matrix = matrix(&modules, Sharing::Nothing);
        assert_eq!(matrix.plan(), [0, 1]);
        assert!(matches!(matrix.cells[0].state, State::Pending(_)));
        assert!(matches!(matrix.cells[2].state, State::SameJob(1)));
    }

    #[test]
    fn the_largest_module_comes_first() {
        let modules = [module("(module)", &["x86-64-v3"]), module("(module (func) (func))", &["x86-64-v3"])];
        assert_eq!(matrix(&modules, Sharing::Module).plan(), [1, 0]);
    }

    #[test]
    fn a_represented_cell_is_compiled_when_its_representative_has_left() {
        let modules = [module("(module)", &["x86-64-v3", "x86-64-v4"])];
        let mut kept = matrix(&modules, Sharing::Module);
        kept.cells[0].state = finished("x", true);
        kept.cells[1].state = finished("x", false);
        assert_eq!(kept.plan(), [0; 0]);
        assert_eq!(kept.representatives(), [Some(0), Some(0)]);

        let modules = [module("(module)", &["x86-64-v4", "icelake-server"])];
        let mut left = matrix(&modules, Sharing::Module);
        left.cells[0].state = finished("x", false);
        left.cells[1].state = finished("x", false);
        assert_eq!(left.plan(), [0]);
        assert!(matches!(&left.cells[0].state, State::Pending(why) if *why == [Why::Unrepresented]));
        assert!(matches!(left.cells[1].state, State::Finished(_)));
    }

    #[test]
    fn what_failed_or_waits_for_a_prediction_gets_no_job() {
        let modules = [module("(module)", &["x86-64-v3", "x86-64-v4", "z14"])];
        let mut matrix = matrix(&modules, Sharing::Module);
        matrix.cells[0].state = State::Failed(JobFailure::NotTried);
        matrix.cells[1].state = State::Predicted(2);
        assert_eq!(matrix.plan(), [2]);
        assert!(matches!(matrix.cells[0].state, State::Failed(_)));
        assert!(matches!(matrix.cells[1].state, State::Predicted(2)));
        matrix.cells[2].state = State::Failed(JobFailure::NotTried);
        assert_eq!(matrix.plan(), [1], "the cell that it waited for has failed");
    }
}
