//! The result of writing a release.

use crate::matrix::{CellReport, Verified};
use crate::records::Record;
use isomer_contract::Digest;
use isomer_layout::Summary;
use std::collections::BTreeMap;

/// A release that was written, or why it was not.
pub struct ReleaseReport {
    /// Every module for every profile, in the manifest's order.
    pub cells: Vec<CellReport>,
    /// What was written; `None` when a cell failed and the directory is unchanged.
    pub summary: Option<Summary>,
    /// Who made each module that was written, by the digest of its index.
    pub records: BTreeMap<Digest, Record>,
    /// How predictions did, where every cell was compiled to verify them.
    pub verified: Option<Verified>,
}
