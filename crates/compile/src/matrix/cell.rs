//! One cell of a build: a module for a profile. In: what the cache has of its job, what a remote made of it. Out: its state.
//! Never here: other cells.

use super::state::{Finished, Location, Origin, State};
use crate::cache::Entry;
use crate::executor::JobFailure;
use crate::job::Key;
use crate::maker::{Distrust, Maker};
use isomer_contract::{Digest, Profile, Requirements};

/// A module for a profile.
pub(crate) struct Cell<'a> {
    pub(crate) module: usize,
    pub(crate) profile: &'a Profile,
    pub(crate) requirements: Requirements,
    pub(crate) key: Key<'static>,
    pub(crate) job: Digest,
    /// The job of the cell of the same module that is predicted to have the same code; its own if there is no such cell.
    pub(crate) predicted_job: Digest,
    pub(super) state: State,
    /// Who did the job, once the cell is finished.
    pub(super) maker: Maker,
    /// What a remote once made of the job, until it was compared.
    pub(super) claim: Option<Claim>,
}

/// What a remote made of a job, which is not trusted before it was compared.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) code: Digest,
    /// The digest of the artifact, where that was kept.
    pub(crate) artifact: Option<Digest>,
    pub(crate) maker: Maker,
}

impl Cell<'_> {
    pub(crate) fn maker(&self) -> &Maker {
        &self.maker
    }

    /// Why the job failed, if what was compiled is something else than a remote once made of it.
    pub(crate) fn contradiction(&self, code: Digest, artifact: Digest) -> Option<JobFailure> {
        let claim = self.claim.as_ref()?;
        let (found, expected) = match claim.artifact {
            Some(claimed) => (claimed, artifact),
            None => (claim.code, code),
        };
        (found != expected).then(|| JobFailure::RemoteDiffers { maker: claim.maker.clone(), found, expected })
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Takes over what the cache has of the job, unless it is to be compared first. Returns whether it did.
    pub(super) fn take_over(&mut self, (entry, maker): (Entry, Maker), distrust: &Distrust) -> bool {
        if distrust.compares(self.job, &maker) {
            self.claim = Some(Claim { code: entry.code, artifact: Some(entry.artifact.digest), maker });
            return false;
        }
        let (code, location) = (entry.code, Location::Cache(entry));
        self.state = State::Finished(Finished { code, location, origin: Origin::CacheHit });
        self.maker = maker;
        true
    }
}
