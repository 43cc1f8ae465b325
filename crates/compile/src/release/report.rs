//! What became of each cell of a release's matrix.

use crate::matrix::CellReport;
use isomer_layout::Summary;

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
