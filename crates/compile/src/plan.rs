//! In: the cells of a matrix, and what is known of each. Out: a [`Plan`]: what is to be done for each, and which jobs
//! that makes, once each, in which order. Pure: no file, no clock, no environment.
//!
//! Whoever carries a plan out learns more of its cells and plans again, until no job is left: a form that was known to
//! equal another may have to stand for itself when that other has left, and only the other's successor says so.

mod why;

pub use why::{Earlier, Why};

use crate::collapse::{Form, collapse};
use isomer_contract::{Digest, Requirements};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// A module for a profile, and what is known of it.
pub struct Cell<'a> {
    /// Which module: cells of one module may stand for each other.
    pub module: usize,
    /// The size of its WebAssembly, in bytes.
    pub size_bytes: usize,
    /// The profile.
    pub target: &'a str,
    /// What the profile promises.
    pub requirements: &'a Requirements,
    /// The digest of the job.
    pub job: Digest,
    /// What is known.
    pub known: Known,
}

/// What is known of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// The profile cannot express the module.
    NotExpressible,
    /// The module can be compiled for nothing.
    Refused,
    /// Its job was tried, and failed.
    Failed,
    /// Nothing that would spare its job, and why that is so.
    Nothing(Vec<Why>),
    /// It will come out as this cell of the same module, by a table that a test holds to the compiler.
    Predicted(usize),
    /// Its job was done at some time, and this is the digest of the code.
    Code(Digest, Place),
}

/// Where a finished artifact is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the release, there since earlier or made just now.
    Release,
    /// In the cache.
    Cache,
    /// Nowhere: another stood for it, and only its digest was kept.
    Nowhere,
}

/// What is to be done for a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: the profile cannot express the module.
    NotExpressible,
    /// Nothing: the module can be compiled for nothing.
    Refused,
    /// Nothing: its job was tried, and failed.
    Failed,
    /// Nothing: the release has it, or knows which one stands for it.
    Kept,
    /// It is taken from the cache.
    Cached,
    /// Nothing: this cell has the same job.
    SameJob(usize),
    /// Nothing: it is predicted to come out as this cell.
    Predicted(usize),
    /// Its job is done, for these reasons.
    Compile(Vec<Why>),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// For each cell.
    pub cells: Vec<Decision>,
    /// The cells whose jobs are done, the largest modules first so that no long job is left for the end.
    pub jobs: Vec<usize>,
}

/// What is to be done for `cells`.
pub fn plan(cells: &[Cell<'_>]) -> Plan {
    let stands_for = stands_for(cells);
    let mut first_of_job: BTreeMap<Digest, usize> = BTreeMap::new();
    let mut jobs = Vec::new();
    let mut decide = |(index, cell): (usize, &Cell<'_>)| {
        let why = match &cell.known {
            Known::NotExpressible => return Decision::NotExpressible,
            Known::Refused => return Decision::Refused,
            Known::Failed => return Decision::Failed,
            Known::Predicted(other) => return Decision::Predicted(*other),
            Known::Code(_, Place::Release) => return Decision::Kept,
            Known::Code(_, Place::Cache) => return Decision::Cached,
            Known::Code(_, Place::Nowhere) if stands_for[index] != Some(index) => return Decision::Kept,
            Known::Code(_, Place::Nowhere) => vec![Why::StandsAlone],
            Known::Nothing(why) => why.clone(),
        };
        let first = *first_of_job.entry(cell.job).or_insert(index);
        if first != index {
            return Decision::SameJob(first);
        }
        jobs.push(index);
        Decision::Compile(why)
    };
    let decisions = cells.iter().enumerate().map(&mut decide).collect();
    jobs.sort_by_key(|index| (Reverse(cells[*index].size_bytes), *index));
    Plan { cells: decisions, jobs }
}

/// For each cell whose code is known, the one of the same module that is shipped for it.
pub fn stands_for(cells: &[Cell<'_>]) -> Vec<Option<usize>> {
    let mut by_module: BTreeMap<usize, Vec<(usize, Form<'_>)>> = BTreeMap::new();
    for (index, Cell { module, target, requirements, known, .. }) in cells.iter().enumerate() {
        if let Known::Code(code, _) = known {
            by_module.entry(*module).or_default().push((index, Form { target, requirements, code: *code }));
        }
    }
    let mut stands_for = vec![None; cells.len()];
    for (places, forms) in by_module.into_values().map(|forms| forms.into_iter().unzip::<_, _, Vec<_>, Vec<_>>()) {
        for (form, by) in collapse(&forms).into_iter().enumerate() {
            stands_for[places[form]] = Some(places[by]);
        }
    }
    stands_for
}

#[cfg(test)]
mod tests {
    use super::*;
    use isomer_contract::{Kind, Profile};

    /// Cells of one module, each as target, job and what is known.
    fn decide(cells: &[(&str, &str, Known)]) -> (Vec<Decision>, Vec<usize>) {
        let requirements: Vec<_> = cells
            .iter()
            .map(|(target, ..)| Requirements::of_profile(&Profile::shipped(target).unwrap(), Kind::Module))
            .collect();
        let cells: Vec<_> = cells
            .iter()
            .zip(&requirements)
            .map(|((target, job, known), requirements)| Cell {
                module: 0,
                size_bytes: 8,
                target,
                requirements,
                job: Digest::of(job.as_bytes()),
                known: known.clone(),
            })
            .collect();
        let Plan { cells, jobs } = plan(&cells);
        (cells, jobs)
    }

    fn new() -> Known {
        Known::Nothing(vec![Why::NothingEarlier])
    }

    fn code(text: &str, place: Place) -> Known {
        Known::Code(Digest::of(text.as_bytes()), place)
    }

    #[test]
    fn equal_jobs_are_planned_once() {
        let (cells, jobs) =
            decide(&[("x86-64-v3", "a", new()), ("znver4", "b", new()), ("icelake-server", "b", new())]);
        let compile = || Decision::Compile(vec![Why::NothingEarlier]);
        assert_eq!(cells, [compile(), compile(), Decision::SameJob(1)]);
        assert_eq!(jobs, [0, 1]);
    }

    #[test]
    fn what_another_stood_for_is_made_only_when_that_has_left() {
        let there = code("x", Place::Release);
        let (cells, jobs) = decide(&[("x86-64-v3", "a", there), ("x86-64-v4", "b", code("x", Place::Nowhere))]);
        assert_eq!((cells, jobs), (vec![Decision::Kept, Decision::Kept], vec![]));
        let (cells, jobs) =
            decide(&[("x86-64-v4", "b", code("x", Place::Nowhere)), ("znver4", "c", code("x", Place::Nowhere))]);
        assert_eq!(cells, [Decision::Compile(vec![Why::StandsAlone]), Decision::Kept]);
        assert_eq!(jobs, [0]);
    }

    #[test]
    fn nothing_is_done_for_what_cannot_be_or_need_not_be() {
        let (cells, jobs) = decide(&[
            ("x86-64-v1", "a", Known::NotExpressible),
            ("x86-64-v2", "b", Known::Refused),
            ("x86-64-v3", "c", Known::Failed),
            ("x86-64-v4", "d", code("x", Place::Cache)),
            ("znver4", "e", Known::Predicted(3)),
        ]);
        let expected =
            [Decision::NotExpressible, Decision::Refused, Decision::Failed, Decision::Cached, Decision::Predicted(3)];
        assert_eq!((cells.as_slice(), jobs), (expected.as_slice(), vec![]));
    }
}
