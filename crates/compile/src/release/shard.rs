//! One part of a release's jobs, for one of several machines that share the work. In: all jobs, each with its size.
//! Out: those of one shard. Never here: what a machine has in its cache, so that all agree without talking to each other.

use crate::matrix::{Cell, Matrix, State};
use isomer_contract::Digest;
use isomer_layout::{Compression, Part};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// More parts than a build farm has machines.
const COUNT_MAX: u32 = 10_000;

/// Which of how many, `2/3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its number, from 1.
    pub number: u32,
    /// How many.
    pub count: u32,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Shard, String> {
        let expected =
            || format!("expected a shard such as `1/4`: from 1 to the number of shards, at most {COUNT_MAX}");
        let (number, count) = text.split_once('/').ok_or_else(expected)?;
        let shard =
            Shard { number: number.parse().map_err(|_| expected())?, count: count.parse().map_err(|_| expected())? };
        let right = (1..=shard.count).contains(&shard.number) && shard.count <= COUNT_MAX;
        right.then_some(shard).ok_or_else(expected)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.count)
    }
}

impl Shard {
    /// Removes the cells of other shards from `matrix`, and returns which part of the whole is left. The cells without a job
    /// belong to the first shard.
    pub(super) fn keep_share(self, matrix: &mut Matrix<'_>, counter: u64, compression: Compression) -> Part {
        let modules = matrix.modules;
        let is_job = |cell: &Cell<'_>| matches!(cell.state(), State::Pending(_));
        let jobs = || matrix.cells.iter().filter(|cell| is_job(cell));
        let sizes = jobs().map(|cell| (cell.predicted_job, modules[cell.module].input.wasm.len())).collect();
        let whole: BTreeSet<_> =
            jobs().map(|cell| (modules[cell.module].name.as_str(), cell.profile.name.as_str(), cell.job)).collect();
        // All that makes parts fit together beyond the release's name and version.
        let plan = Digest::of_json(&(whole, counter, compression == Compression::Zstd));
        let share = self.share(&sizes);
        // A cell stays with those that are predicted to equal it.
        let keeps = |cell: &Cell<'_>| if is_job(cell) { share.contains(&cell.predicted_job) } else { self.number == 1 };
        matrix.cells.retain(keeps);
        Part { number: self.number, count: self.count, plan }
    }

    /// The jobs of this shard. All shards together have every job once, and are of about the same size: each job, the
    /// largest first, goes to the shard that has least.
    pub fn share(self, sizes: &BTreeMap<Digest, usize>) -> BTreeSet<Digest> {
        let mut jobs: Vec<_> = sizes.iter().collect();
        jobs.sort_by_key(|(job, size)| (Reverse(**size), **job));
        let mut loads = vec![0_usize; self.count as usize];
        let mut share = BTreeSet::new();
        for (job, size) in jobs {
            let least = (0..loads.len()).min_by_key(|shard| loads[*shard]).expect("there is a shard");
            // An empty module is work too.
            loads[least] += size + 1;
            if least + 1 == self.number as usize {
                share.insert(*job);
            }
        }
        share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_is_in_one_shard_and_sizes_are_balanced() {
        let sizes: BTreeMap<_, _> = (0..100_usize).map(|n| (Digest::of(&n.to_le_bytes()), (n * 7919) % 1000)).collect();
        let shares: Vec<_> = (1..=3).map(|number| Shard { number, count: 3 }.share(&sizes)).collect();
        assert_eq!(shares.iter().map(BTreeSet::len).sum::<usize>(), 100);
        assert_eq!(shares.iter().flatten().collect::<BTreeSet<_>>().len(), 100);
        let loads: Vec<usize> = shares.iter().map(|share| share.iter().map(|job| sizes[job]).sum()).collect();
        assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() < 1000, "{loads:?}");
    }

    #[test]
    fn a_shard_has_a_number_and_a_count() {
        assert_eq!("2/3".parse(), Ok(Shard { number: 2, count: 3 }));
        for text in ["", "1", "0/3", "4/3", "1/0", "a/b", "1/3/5", "-1/3", "1/99999"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }
}
