//! In: the name of an installed module. Out: the same, active: one rename. Never here: the network, a process that runs.

use crate::documents::Active;
use crate::error::unless_damaged;
use crate::files::{Judged, is_directory, json};
use crate::{Installed, Locked, Staging, Store, StoreError, active_name};
use isomer_contract::Digest;
use isomer_contract::name::ModuleName;

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
        found.check_installed_by_us()?;
        let (module, index) = (found.module().name.clone(), found.module().digest);
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
        let (name, active) = match is_name.then(|| self.trusted_active(module)).transpose()?.flatten() {
            Some(active) => (module.to_owned(), Some(active)),
            None => {
                let name = self.find(module)?.module().name.clone();
                let active = self.trusted_active(&name)?;
                (name, active)
            }
        };
        let mut earlier = active.map(|active| active.earlier).unwrap_or_default().into_iter();
        loop {
            let Some(index) = earlier.next() else { return Err(StoreError::NothingEarlier { module: name }) };
            let read = self.installed_as(index, true).and_then(|it| it.whole().map(|_| it));
            let Some(installed) = unless_damaged(read)? else { continue };
            self.check_is_of(&name, &installed.module().name)?;
            installed.check_installed_by_us()?;
            let active = Active { index, earlier: earlier.collect() };
            locked.replace(&staging, &self.part_to_write("active")?, &active_name(&name), &json(&active))?;
            return Ok(installed);
        }
    }

    /// What declares which version of `module` is active and which were: of that module, and written by nobody but those
    /// who may change the store.
    pub(crate) fn trusted_active(&self, module: &str) -> Result<Option<Active>, StoreError> {
        let active = match self.active(module)? {
            Some(Judged { foreign: Some(weakness), .. }) => {
                return Err(StoreError::ActiveNotBelieved { module: module.to_owned(), weakness });
            }
            active => active.map(|active| active.value),
        };
        if let Some(active) = &active
            && let Some(installed) = unless_damaged(self.installed_as(active.index, true))?
        {
            self.check_is_of(module, &installed.module().name)?;
        }
        Ok(active)
    }
}

/// What makes an index the active one, written and on disk, without its name yet.
pub(crate) struct PreparedActive;

const PREPARED: &str = "active";

impl Locked<'_> {
    /// Makes an installed index the active one of `module`.
    fn make_active(&self, staging: &Staging, module: &str, index: Digest) -> Result<(), StoreError> {
        match self.prepare_active(staging, module, index)? {
            Some(prepared) => self.place_active(prepared, staging, module),
            None => Ok(()),
        }
    }

    /// Writes what makes an index the active one of `module`, which no full disk can keep from being put in place; none
    /// when it is that already.
    pub(crate) fn prepare_active(
        &self,
        staging: &Staging,
        module: &str,
        index: Digest,
    ) -> Result<Option<PreparedActive>, StoreError> {
        let before = match self.store.trusted_active(module) {
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
        self.store.part_to_write("active")?;
        staging.dir.write_new(PREPARED, &json(&active))?;
        Ok(Some(PreparedActive))
    }

    /// Puts it in place: one rename.
    pub(crate) fn place_active(&self, _: PreparedActive, staging: &Staging, module: &str) -> Result<(), StoreError> {
        let (dir, name) = (self.store.part_to_write("active")?, active_name(module));
        // A file takes the place of a file or link, not that of a directory.
        if dir.stat(&name)?.is_some_and(|stat| is_directory(&stat)) {
            dir.rename(&name, &staging.dir, "replaced-active")?;
        }
        staging.dir.rename(PREPARED, &dir, &name)?;
        dir.sync()
    }
}
