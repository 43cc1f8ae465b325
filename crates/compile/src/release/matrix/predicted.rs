//! The cells that are predicted to come out as another one. In: which those are, and what the others came out as. Out:
//! the same for them, without a job; or, where all was compiled, how predictions did.

use super::super::report::{Verified, WrongPrediction};
use super::{At, Cell, Compiled, Matrix, State};
use std::collections::BTreeMap;

impl<'a> Matrix<'a> {
    /// For each cell that is predicted to come out as another, where that one is.
    pub(super) fn predicted_as(&self) -> Vec<Option<usize>> {
        let cells = self.cells.iter().enumerate().rev();
        let first: BTreeMap<_, _> = cells.map(|(index, cell)| ((cell.module, cell.job), index)).collect();
        let other = |cell: &Cell<'a>| first.get(&(cell.module, cell.representative)).copied();
        self.cells.iter().map(|cell| if cell.representative == cell.job { None } else { other(cell) }).collect()
    }

    /// Gives each cell that is predicted to come out as another the code of that one, once it is known.
    pub(in crate::release) fn fill_in_predicted(&mut self) {
        if !self.predicts {
            return;
        }
        for (index, other) in self.predicted_as().into_iter().enumerate() {
            let (State::New(_), Some(other)) = (&self.cells[index].state, other) else { continue };
            let State::Compiled(Compiled { code, .. }) = &self.cells[other].state else { continue };
            let compiled = Compiled { code: *code, at: At::Nowhere, took: None, predicted: true };
            self.cells[index].state = State::Compiled(compiled);
        }
    }

    /// Holds predictions against what was compiled. Those that came true are predictions again: the release is the same
    /// as if they had been believed.
    pub(in crate::release) fn verify(&mut self) -> Verified {
        let stands_for = self.stands_for();
        let mut verified = Verified { right: 0, wrong: Vec::new(), missed: 0 };
        for (index, other) in self.predicted_as().into_iter().enumerate() {
            let cell = &self.cells[index];
            let State::Compiled(compiled) = cell.state else { continue };
            let Some(representative) = other.map(|other| &self.cells[other]) else {
                let by = stands_for[index].expect("a compiled cell has one that stands for it");
                verified.missed += usize::from(self.cells[by].job != cell.job);
                continue;
            };
            if matches!(representative.state, State::Compiled(of) if of.code == compiled.code) {
                verified.right += 1;
                self.cells[index].state = State::Compiled(Compiled { at: At::Nowhere, predicted: true, ..compiled });
                continue;
            }
            let added = cell.profile.isa.keys().filter(|name| !representative.profile.isa.contains_key(*name));
            verified.wrong.push(WrongPrediction {
                module: self.release.modules[cell.module].name.clone(),
                target: cell.profile.name.clone(),
                representative: representative.profile.name.clone(),
                added: added.copied().collect::<Vec<_>>().join(", "),
            });
        }
        verified
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Release;
    use super::*;
    use crate::farm::JobFailure;
    use isomer_contract::Digest;

    /// A release of one scalar module for three x86-64 profiles, the last two predicted to come out as the first.
    fn matrix(release: &Release) -> Matrix<'_> {
        let mut matrix = Matrix::of(release, false);
        for cell in &mut matrix.cells {
            let compiled = Compiled { code: Digest::of(b"code"), at: At::Nowhere, took: None, predicted: false };
            cell.state = State::Compiled(compiled);
        }
        matrix
    }

    fn release() -> Release {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("m.wat"), "(module (func))").unwrap();
        let targets = "['x86-64-v3', 'x86-64-v4', 'sapphire-rapids']";
        let text =
            format!("[release]\nname = 'r'\nversion = '1.0.0'\ntargets = {targets}\n[[module]]\npath = 'm.wat'\n");
        let manifest = directory.path().join("isomer.toml");
        std::fs::write(&manifest, text).unwrap();
        Release::read(&manifest).unwrap()
    }

    #[test]
    fn a_prediction_that_does_not_come_true_is_told() {
        let release = release();
        let mut right = matrix(&release);
        let verified = right.verify();
        assert_eq!((verified.right, verified.wrong, verified.missed), (2, Vec::new(), 0));
        let mut wrong = matrix(&release);
        let State::Compiled(compiled) = &mut wrong.cells[1].state else { unreachable!() };
        compiled.code = Digest::of(b"other code");
        let verified = wrong.verify();
        assert_eq!((verified.right, verified.wrong.len()), (1, 1));
        let text = verified.wrong[0].to_string();
        assert!(
            text.starts_with("m for x86-64-v4 was predicted to come out as for x86-64-v3, and does not; "),
            "{text}"
        );
        assert!(text.contains("avx512f"), "{text}");
    }

    #[test]
    fn what_should_have_stood_for_others_and_failed_leaves_them_to_themselves() {
        let release = release();
        let mut matrix = Matrix::of(&release, true);
        assert_eq!(matrix.plan().jobs, [0]);
        let plan = matrix.plan();
        let crashed = JobFailure::Crashed { how: "signal".to_owned(), stderr: String::new() };
        matrix.finish(&plan, 0, State::Failed(crashed.clone()), false);
        assert_eq!(matrix.plan().jobs, [1, 2]);
        let mut matrix = Matrix::of(&release, true);
        matrix.finish(&plan, 0, State::Failed(crashed), true);
        assert!(matrix.plan().jobs.is_empty());
    }
}
