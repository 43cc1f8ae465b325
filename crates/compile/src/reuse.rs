//! In: the user's cache, the records of the user's releases, and how far remotes are trusted. Out: one value that says
//! which earlier work a build may take over. Never here: a decision about an artifact; `maker` and the matrix make those.

use crate::cache::Cache;
use crate::maker::Distrust;
use crate::records::Records;

/// What earlier work a build may take over, and how far it trusts what remotes made.
#[derive(Clone, Copy)]
pub struct Reuse<'a> {
    /// The user's cache.
    pub cache: Option<&'a Cache>,
    /// The records of what the user released. Without them nothing in the output directory is taken over.
    pub records: Option<&'a Records>,
    /// Which artifacts of remotes are compared first.
    pub distrust: &'a Distrust,
}
