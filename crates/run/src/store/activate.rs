//! In: the name of an installed module. Out: the same, active: one rename. Never here: the network, a process that runs.

use super::documents::Active;
use super::error::StoreError;
use super::files::json;
use super::{Installed, Store};

impl Store {
    /// Makes the module called `name` the one that its name alone means. A name without a version is that of the only
    /// version there is.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn activate(&self, name: &str) -> Result<Installed, StoreError> {
        let locked = self.lock()?;
        locked.sweep()?;
        let staging = locked.stage()?;
        let found = self.find_any(name)?;
        let (module, index) = (found.module().name.clone(), found.module().digest);
        let before = self.active(&module)?;
        let active = Active::instead_of(before.clone(), index);
        if before.as_ref() != Some(&active) {
            locked.replace(&staging, &self.active_path(&module), &json(&active))?;
        }
        self.find(&module)
    }

    /// Makes the version of `module` active that was before the one that is, and is still installed.
    ///
    /// # Errors
    /// When there is none.
    pub fn rollback(&self, module: &str) -> Result<Installed, StoreError> {
        let locked = self.lock()?;
        locked.sweep()?;
        let staging = locked.stage()?;
        let current = self.find(module)?;
        let name = current.module().name.clone();
        let active = self.active(&name)?;
        let mut earlier = active.map(|active| active.earlier).unwrap_or_default().into_iter();
        let installed = self.indexes()?;
        let Some(index) = earlier.find(|index| installed.contains(index)) else {
            return Err(StoreError::NothingEarlier { module: name });
        };
        let active = Active { index, earlier: earlier.collect() };
        locked.replace(&staging, &self.active_path(&name), &json(&active))?;
        self.find(&name)
    }
}
