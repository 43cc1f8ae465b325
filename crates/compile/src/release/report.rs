//! What became of each cell of a release's matrix.

use crate::express::{Inexpressible, Refused};
use crate::farm::JobFailure;
use isomer_layout::Summary;
use std::time::Duration;

/// A release, or why there is none.
pub struct ReleaseReport {
    /// Every module for every profile, in the manifest's order.
    pub cells: Vec<CellReport>,
    /// What was written, or none when a cell failed and the directory is as it was.
    pub summary: Option<Summary>,
    /// How predictions did, where all was compiled to see that.
    pub verified: Option<Verified>,
}

/// How predictions did against the compiler.
pub struct Verified {
    /// How many came true.
    pub right: usize,
    /// Those that did not. With any, there is no release.
    pub wrong: Vec<WrongPrediction>,
    /// How many cells came out as another one that is shipped for them, without a prediction.
    pub missed: usize,
}

/// A prediction that did not come true.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{module} for {target} was predicted to come out as for {representative}, and does not; {target} adds {added}")]
pub struct WrongPrediction {
    /// The module.
    pub module: String,
    /// The profile.
    pub target: String,
    /// The profile that would have been compiled in its stead.
    pub representative: String,
    /// The extensions that only the one has.
    pub added: String,
}

/// One module for one profile.
pub struct CellReport {
    /// The module.
    pub module: String,
    /// The profile.
    pub target: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a cell.
pub enum Outcome {
    /// It ships.
    Shipped {
        /// The artifact's size as it is mapped, in bytes.
        size_bytes: u64,
        /// Its size in the release, in bytes.
        stored_bytes: u64,
        /// How long it took to compile; none when it was kept from the former release.
        took: Option<Duration>,
    },
    /// The form of another profile, whose code is equal and which asks for no more, serves it.
    ServedBy {
        /// That profile.
        target: String,
        /// How long it took to find that out by compiling; none when it was known.
        took: Option<Duration>,
        /// Whether it was predicted rather than measured.
        predicted: bool,
    },
    /// The profile has no form for the module, which is no failure.
    NotExpressible(Inexpressible),
    /// No profile has.
    Refused(Refused),
    /// Its job failed.
    Failed(JobFailure),
}

impl Outcome {
    /// Whether it keeps the release from being written.
    pub fn is_failure(&self) -> bool {
        match self {
            Outcome::Shipped { .. } | Outcome::ServedBy { .. } | Outcome::NotExpressible(_) => false,
            Outcome::Refused(_) | Outcome::Failed(_) => true,
        }
    }
}
