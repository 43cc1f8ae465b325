//! What an earlier release in the directory knows of jobs, with their artifacts carried over. In: that release, and how a
//! layer of it is kept. Out: the memory of a matrix.

use super::previous::Previous;
use crate::cache::Cache;
use crate::matrix::{Cell, Memory, Recalled, Stored};
use crate::why::Why;
use isomer_layout::{Layer, Layout, Manifest};

/// The earlier release in the directory.
pub(super) struct KeptRelease<'a, K> {
    pub(super) previous: &'a Previous,
    pub(super) cache: Option<&'a Cache>,
    /// Carries a layer over; the error says why that cannot be.
    pub(super) keep: K,
}

impl<K: Fn(&Layout, &Manifest) -> Result<Layer, String> + Sync> Memory for KeptRelease<'_, K> {
    fn recall(&self, cell: &Cell<'_>) -> Recalled {
        let Some(code) = self.previous.code(cell.job) else { return Recalled::Nothing };
        let Some((layout, manifest)) = self.previous.variant(cell.job) else {
            return Recalled::Kept(code, None, self.previous.maker(cell.job));
        };
        match (self.keep)(layout, manifest) {
            Ok(layer) => {
                let stored = Stored { artifact: manifest.config.artifact, layer };
                Recalled::Kept(code, Some(stored), self.previous.maker(cell.job))
            }
            Err(problem) => Recalled::Damaged(problem),
        }
    }

    fn why(&self, module: &str, cell: &Cell<'_>) -> Vec<Why> {
        self.previous.why(module, &cell.profile.name, &cell.key, &cell.profile.effective(), self.cache)
    }
}
