//! In: `counters.json` and what is installed. Out: the counters that a pull is compared with, and the file repaired. Never
//! here: a counter changed without the store's lock; one forgotten without a report.

use crate::documents::Counters;
use crate::error::unless_damaged;
use crate::files::{Judged, json};
use crate::{Locked, Staging, Store, StoreError};
use isomer_trust::{COUNTERS_SIZE_BYTES_MAX, Forgotten, Scope};

/// The document's name in the store.
const COUNTERS: &str = "counters.json";

/// The most of a damaged file that is read to be repaired.
const REPAIRED_SIZE_BYTES_MAX: usize = 64 << 20;

/// A counter that later releases may not fall below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RememberedCounter {
    /// What it applies to.
    pub scope: Scope,
    /// The counter.
    pub counter: u64,
}

/// What [`Store::repair_counters`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterRepair {
    /// How many counters of the file are kept.
    pub kept: usize,
    /// What could not be kept, and why.
    pub forgotten: Vec<Forgotten>,
}

impl Store {
    /// The counters of the file, and of what is installed where the file has none: removing it does not remove those.
    pub(crate) fn counters(&self) -> Result<Counters, StoreError> {
        let mut counters = self.counters_of_file()?;
        counters.complete(&self.recorded_counters()?);
        Ok(counters)
    }

    fn counters_of_file(&self) -> Result<Counters, StoreError> {
        match self.root.read(COUNTERS)? {
            None => Ok(Counters::default()),
            Some(Judged { value, foreign: None }) => Ok(value),
            Some(Judged { foreign: Some(weakness), .. }) => {
                Err(StoreError::NotOurs { dir: self.dir().to_owned(), weakness })
            }
        }
    }

    fn recorded_counters(&self) -> Result<Counters, StoreError> {
        let mut counters = Counters::default();
        for (name, _, index) in self.references()?.0 {
            let Some(record) = unless_damaged(self.record_of(index))? else { continue };
            let (Some(release), Ok(module)) = (record.value.release, name.parse()) else { continue };
            let module = Some(module);
            let mut keys: Vec<_> = record.value.key_ids.into_iter().map(Some).collect();
            if keys.is_empty() {
                // Installed by an isomer that did not record them.
                keys.push(None);
            }
            for key in keys {
                let scope = Scope { key, module: module.clone(), release: release.name.clone() };
                counters.raise(scope, release.counter);
            }
        }
        Ok(counters)
    }

    /// The counters that releases may not fall below, those of what is installed included.
    ///
    /// # Errors
    /// When `counters.json` is malformed, or the store cannot be read.
    pub fn remembered_counters(&self) -> Result<Vec<RememberedCounter>, StoreError> {
        let counters = self.counters()?;
        Ok(counters.iter().map(|(scope, counter)| RememberedCounter { scope: scope.clone(), counter }).collect())
    }

    /// Writes `counters.json` anew with what is valid in it. What is installed keeps its counters in any case.
    ///
    /// # Errors
    /// When the store cannot be read or written, or another user decides what it holds.
    pub fn repair_counters(&self) -> Result<CounterRepair, StoreError> {
        let (locked, staging) = self.lock_to_change()?;
        let Some(Judged { value: bytes, .. }) = self.root.read_bytes(COUNTERS, REPAIRED_SIZE_BYTES_MAX)? else {
            return Ok(CounterRepair { kept: 0, forgotten: Vec::new() });
        };
        let (counters, forgotten) = Counters::repair(&bytes);
        if !forgotten.is_empty() {
            locked.put_counters(&staging, &counters)?;
        }
        Ok(CounterRepair { kept: counters.iter().count(), forgotten })
    }

    /// Removes the counters of `module`, and says which they were. What is installed keeps its counters.
    ///
    /// # Errors
    /// As [`Store::repair_counters`], and when `counters.json` is malformed.
    pub fn forget_counters(&self, module: &str) -> Result<Vec<RememberedCounter>, StoreError> {
        let (locked, staging) = self.lock_to_change()?;
        let mut counters = self.counters_of_file()?;
        let forgotten = counters.forget(module);
        if !forgotten.is_empty() {
            locked.put_counters(&staging, &counters)?;
        }
        Ok(forgotten.into_iter().map(|(scope, counter)| RememberedCounter { scope, counter }).collect())
    }

    fn lock_to_change(&self) -> Result<(Locked<'_>, Staging), StoreError> {
        let locked = self.lock()?;
        locked.sweep()?;
        let staging = locked.stage()?;
        Ok((locked, staging))
    }
}

impl Locked<'_> {
    /// Replaces `counters.json`. What is written can be read again.
    pub(crate) fn put_counters(&self, staging: &Staging, counters: &Counters) -> Result<(), StoreError> {
        let bytes = json(counters);
        if bytes.len() > COUNTERS_SIZE_BYTES_MAX {
            return Err(StoreError::CountersFull { file: self.store.root.path_of(COUNTERS) });
        }
        self.replace(staging, &self.store.root, COUNTERS, &bytes)
    }
}

#[cfg(test)]
mod tests;
