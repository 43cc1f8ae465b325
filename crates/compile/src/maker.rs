//! Who made an artifact, and whether that is enough. In: a job, and the maker of its artifact. Out: whether the job is
//! compiled locally too and compared before its artifact is used. Never here: an artifact.
//!
//! Every artifact has a [`Maker`] from the moment it arrives: it is part of the cache's entry and of the record of a
//! release (`records`), so that what a remote once sent is known for that ever after. An artifact that was compiled
//! locally too, and came out the same, is [`Maker::Local`].

use isomer_contract::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher as _;

/// Who made an artifact.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Maker {
    /// This user, on this machine: compiled in one of our worker processes, or compared with what one compiled.
    Local,
    /// A cache that other machines write to.
    RemoteCache {
        /// Its address.
        url: String,
    },
    /// A farm that executed the job.
    RemoteExecution {
        /// Its address.
        url: String,
    },
}

impl Maker {
    /// The address of the remote, if it was one.
    pub fn remote(&self) -> Option<&str> {
        match self {
            Maker::Local => None,
            Maker::RemoteCache { url } | Maker::RemoteExecution { url } => Some(url),
        }
    }
}

impl fmt::Display for Maker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Maker::Local => f.write_str("this machine"),
            Maker::RemoteCache { url } => write!(f, "the remote cache {url}"),
            Maker::RemoteExecution { url } => write!(f, "the remote farm {url}"),
        }
    }
}

/// Which artifacts of remotes are compiled locally too, and compared.
#[derive(Clone, Debug, Default)]
pub struct Distrust {
    /// Of a hundred artifacts of remotes, how many are compared. Which ones differs from run to run: a remote that knew
    /// the sample could lie about the others.
    pub percent: u8,
    /// When set, the artifacts of all remotes but these are compared, whatever `percent` is. For what is to be signed.
    pub trusted_only: Option<BTreeSet<String>>,
    sample: RandomState,
}

impl Distrust {
    /// Compares a share of what remotes made.
    pub fn of(percent: u8) -> Distrust {
        Distrust { percent, ..Distrust::default() }
    }

    /// Compares everything that remotes made which are not among `trusted`: what is signed was made by this user, or by
    /// a remote that this user named.
    pub fn for_signing(percent: u8, trusted: BTreeSet<String>) -> Distrust {
        Distrust { percent, trusted_only: Some(trusted), ..Distrust::default() }
    }

    /// Whether `job` is compiled locally too before an artifact of this maker is used. The answer is the same as often as
    /// it is requested.
    pub fn compares(&self, job: Digest, maker: &Maker) -> bool {
        let Some(url) = maker.remote() else { return false };
        if self.trusted_only.as_ref().is_some_and(|trusted| !trusted.contains(url)) {
            return true;
        }
        self.sample.hash_one(job.hex()) % 100 < u64::from(self.percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(url: &str) -> Maker {
        Maker::RemoteCache { url: url.to_owned() }
    }

    #[test]
    fn what_was_compiled_locally_is_not_compared() {
        let job = Digest::of(b"job");
        for distrust in [Distrust::of(100), Distrust::for_signing(100, BTreeSet::new())] {
            assert!(!distrust.compares(job, &Maker::Local));
            assert!(distrust.compares(job, &cache("grpc://a")));
        }
    }

    #[test]
    fn a_share_is_compared_and_always_the_same() {
        let jobs: Vec<_> = (0..2000_u32).map(|n| Digest::of(&n.to_le_bytes())).collect();
        let distrust = Distrust::of(10);
        let compared = |distrust: &Distrust| -> Vec<bool> {
            jobs.iter().map(|job| distrust.compares(*job, &cache("grpc://a"))).collect()
        };
        let first = compared(&distrust);
        let count = first.iter().filter(|compared| **compared).count();
        assert!((100..=300).contains(&count), "{count}");
        assert_eq!(first, compared(&distrust), "asked again");
        assert_eq!(first, compared(&distrust.clone()), "asked elsewhere");
        assert_ne!(first, compared(&Distrust::of(10)), "another run compares others");
        assert!(compared(&Distrust::of(0)).iter().all(|compared| !compared));
    }

    #[test]
    fn for_signing_only_a_remote_that_was_named_is_trusted() {
        let distrust = Distrust::for_signing(0, ["grpc://a".to_owned()].into());
        let job = Digest::of(b"job");
        assert!(!distrust.compares(job, &cache("grpc://a")));
        assert!(!distrust.compares(job, &Maker::RemoteExecution { url: "grpc://a".to_owned() }));
        assert!(distrust.compares(job, &cache("grpc://b")));
    }
}
