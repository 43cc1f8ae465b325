//! In: the name of an installed module. Out: the same, active: one rename. Never here: the network, a process that runs.

use super::documents::Active;
use super::error::{StoreError, unless_damaged};
use super::files::{json, make_dir, rename, sync_dir, write_new};
use super::{Installed, Locked, Staging, Store};
use isomer_contract::Digest;
use isomer_contract::name::ModuleName;
use std::path::{Path, PathBuf};

impl Store {
    /// Makes the module called `name` the one that its name alone means. A name without a version is that of the only
    /// version there is.
    ///
    /// # Errors
    /// When it is not installed, or damaged.
    pub fn activate(&self, name: &str) -> Result<Installed, StoreError> {
        let locked = self.lock()?;
        locked.sweep()?;
        let staging = locked.stage()?;
        let found = self.find_any(name)?;
        found.whole()?;
        let (module, index) = (found.module().name.clone(), found.module().digest);
        self.check_installed_by_us(index)?;
        locked.make_active(&staging, &module, index)?;
        self.find(&module)
    }

    /// Makes the version of `module` active that was before the one that is, and is still installed and whole.
    ///
    /// # Errors
    /// When there is none.
    pub fn rollback(&self, module: &str) -> Result<Installed, StoreError> {
        let locked = self.lock()?;
        locked.sweep()?;
        let staging = locked.stage()?;
        // The active one may be damaged, or removed for that: then it is time to go back.
        let is_name = module.parse::<ModuleName>().is_ok();
        let (name, active) = match is_name.then(|| self.believed_active(module)).transpose()?.flatten() {
            Some(active) => (module.to_owned(), Some(active)),
            None => {
                let name = self.find(module)?.module().name.clone();
                let active = self.believed_active(&name)?;
                (name, active)
            }
        };
        let mut earlier = active.map(|active| active.earlier).unwrap_or_default().into_iter();
        loop {
            let Some(index) = earlier.next() else { return Err(StoreError::NothingEarlier { module: name }) };
            let read = self.installed_as(index, true).and_then(|it| it.whole().map(|_| it));
            let Some(installed) = unless_damaged(read)? else { continue };
            self.check_is_of(&name, &installed.module().name)?;
            self.check_installed_by_us(index)?;
            let active = Active { index, earlier: earlier.collect() };
            locked.replace(&staging, &self.active_path(&name), &json(&active))?;
            return Ok(installed);
        }
    }

    /// What says which version of `module` is active and which were: of that module, and nobody's word but of those who
    /// may change the store.
    pub(super) fn believed_active(&self, module: &str) -> Result<Option<Active>, StoreError> {
        let file = Path::new("active").join(format!("{module}.json"));
        if let Some(weakness) = self.foreign([&*file].into_iter())? {
            return Err(StoreError::ActiveNotBelieved { module: module.to_owned(), weakness });
        }
        let active = self.active(module)?;
        if let Some(active) = &active
            && let Some(installed) = unless_damaged(self.installed_as(active.index, true))?
        {
            self.check_is_of(module, &installed.module().name)?;
        }
        Ok(active)
    }

    fn check_installed_by_us(&self, index: Digest) -> Result<(), StoreError> {
        let others = self.installed_by_others(index)?;
        others.map_or(Ok(()), |weakness| Err(StoreError::InstalledNotBelieved { index, weakness }))
    }
}

impl Locked<'_> {
    /// Makes an installed index the active one of `module`.
    fn make_active(&self, staging: &Staging, module: &str, index: Digest) -> Result<(), StoreError> {
        match self.prepare_active(staging, module, index)? {
            Some(prepared) => self.place_active(&prepared, module),
            None => Ok(()),
        }
    }

    /// Writes what makes an index the active one of `module`, which no full disk can keep from being put in place; none
    /// when it is that already.
    pub(super) fn prepare_active(
        &self,
        staging: &Staging,
        module: &str,
        index: Digest,
    ) -> Result<Option<PathBuf>, StoreError> {
        let before = match self.store.believed_active(module) {
            // Whoever wrote it, and whatever it says, what was said now is what counts.
            Err(error) if matches!(error, StoreError::ActiveNotBelieved { .. }) || error.is_damage() => {
                tracing::warn!("{error}; there is nothing to go back to");
                None
            }
            read => read?,
        };
        let active = Active::instead_of(before.clone(), index);
        if before.as_ref() == Some(&active) {
            return Ok(None);
        }
        make_dir(&self.store.dir.join("active"))?;
        let prepared = staging.path().join("active");
        write_new(&prepared, &json(&active))?;
        Ok(Some(prepared))
    }

    /// Puts it in place: one rename.
    pub(super) fn place_active(&self, prepared: &Path, module: &str) -> Result<(), StoreError> {
        let path = self.store.active_path(module);
        // A file takes the place of a file or link, not that of a directory.
        if path.symlink_metadata().is_ok_and(|there| there.is_dir()) {
            rename(&path, &prepared.with_extension("replaced"))?;
        }
        rename(prepared, &path)?;
        sync_dir(&self.store.dir.join("active"))
    }
}
