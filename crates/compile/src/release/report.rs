//! The result of a release: what became of each cell, and how predictions did.

use crate::matrix::CellReport;
use isomer_layout::Summary;

/// A release that was written, or why it was not.
pub struct ReleaseReport {
    /// Every module for every profile, in the manifest's order.
    pub cells: Vec<CellReport>,
    /// What was written; `None` when a cell failed and the directory is unchanged.
    pub summary: Option<Summary>,
    /// How predictions did, where every cell was compiled to verify them.
    pub verified: Option<Verified>,
}

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
