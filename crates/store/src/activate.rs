//! In: the name of an installed module. Out: the same, active: one rename. Never here: the network, a running process.

use crate::documents::Active;
use crate::error::unless_damaged;
use crate::files::{Judged, is_directory, json};
use crate::{Installed, Locked, Staging, Store, StoreError, active_name};
use isomer_contract::name::ModuleName;
use isomer_contract::{Digest, one_line};

impl Store {
    /// Makes the module called `name` the active version. A name without a version means the only installed one.
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

    /// Activates the version of `module` that was active before the current one, if it is still installed and whole; else
    /// the one before that.
    ///
    /// # Errors
    /// When there is no such version.
    pub fn rollback(&self, module: &str) -> Result<Installed, StoreError> {
        let locked = self.lock()?;
        locked.sweep()?;
        let staging = locked.stage()?;
        // The active version may be damaged, or removed for that: also then its module is rolled back.
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

    /// The record of which version of `module` is active and which were, if no other user could have written it and it
    /// names a version of that module.
    pub(crate) fn trusted_active(&self, module: &str) -> Result<Option<Active>, StoreError> {
        let active = match self.active(module)? {
            Some(Judged { foreign: Some(weakness), .. }) => {
                return Err(StoreError::ActiveNotTrusted { module: module.to_owned(), weakness });
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

/// The record that makes an index the active one, on disk under a temporary name.
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

    /// Writes the record that makes an index the active one of `module`, so that only a rename is left, which a full disk
    /// does not prevent; none if the index is active already.
    pub(crate) fn prepare_active(
        &self,
        staging: &Staging,
        module: &str,
        index: Digest,
    ) -> Result<Option<PreparedActive>, StoreError> {
        let before = match self.store.trusted_active(module) {
            // A record that is damaged or not trusted is replaced by this explicit request.
            Err(error) if matches!(error, StoreError::ActiveNotTrusted { .. }) || error.is_damage() => {
                tracing::warn!("{}; there is no earlier version to roll back to", one_line(&error));
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

    /// Renames it to its final name.
    pub(crate) fn place_active(&self, _: PreparedActive, staging: &Staging, module: &str) -> Result<(), StoreError> {
        let (dir, name) = (self.store.part_to_write("active")?, active_name(module));
        // A rename replaces a file or link, but not a directory.
        if dir.stat(&name)?.is_some_and(|stat| is_directory(&stat)) {
            dir.rename(&name, &staging.dir, "replaced-active")?;
        }
        staging.dir.rename(PREPARED, &dir, &name)?;
        dir.sync()
    }
}
