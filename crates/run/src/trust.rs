//! In: a module of a release as it was read, and what its user trusts. Out: a [`TrustedModule`], the only thing that
//! a variant to run can be chosen from.

use isomer_contract::Digest;
use isomer_release::Module;

/// On whose word bytes may be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// They have this digest: a file's own, or that of a module's index in a release, which names the digests of all
    /// that belongs to it.
    Digest(Digest),
    /// Whatever they are: the user vouches for where they are stored. A release's bytes are still held against its
    /// index.
    Unsigned,
}

/// What was found is not what is trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the index of `{module}` has the digest {found}; trusted is {expected}")]
pub struct TrustError {
    /// The module's name.
    pub module: String,
    /// The digest of its index in the release.
    pub found: Digest,
    /// The one that was asked for.
    pub expected: Digest,
}

/// A module of a release whose index is trusted, and through its digests all of its variants.
#[derive(Debug)]
pub struct TrustedModule(Module);

/// Holds a module's index against what is trusted. `isomer-release` computed `module.digest` from the bytes it read.
///
/// # Errors
/// When the digest is another.
pub fn trust(module: Module, trusted: &Trust) -> Result<TrustedModule, TrustError> {
    match trusted {
        Trust::Digest(expected) if *expected != module.digest => {
            Err(TrustError { module: module.name, found: module.digest, expected: *expected })
        }
        Trust::Digest(_) | Trust::Unsigned => Ok(TrustedModule(module)),
    }
}

impl TrustedModule {
    /// The module as the release describes it.
    pub fn module(&self) -> &Module {
        &self.0
    }
}
