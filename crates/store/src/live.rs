//! Which versions answer requests now. In: an installed version. Out: a lock on its directory, which the kernel releases
//! when the process ends, however it ends; whether any process has that lock. Never here: a write to the store: a server need
//! not be allowed one. Any user who can read the store can take such a lock, which is shown and decides nothing.

use crate::error::io_error;
use crate::{Installed, Store, StoreError};
use isomer_contract::Digest;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

/// How often a lock is tried that another process has for a moment, to look whether it can be had.
const TRIES: u32 = 20;
/// How long between two tries.
const PAUSE: Duration = Duration::from_millis(2);

/// Shows other processes that a version answers requests, until this is dropped.
#[derive(Debug)]
pub struct Live {
    _lock: OwnedFd,
}

impl Installed {
    /// Shows other processes that this version answers requests, until the result is dropped or this process ends.
    ///
    /// # Errors
    /// When its directory cannot be opened, or its file system has no locks.
    pub fn mark_live(&self) -> Result<Live, StoreError> {
        let index = self.module().digest;
        match self.store.try_lock_installed(index, FlockOperation::NonBlockingLockShared)? {
            Some(lock) => Ok(Live { _lock: lock }),
            None => Err(self.store.lock_error(index, Errno::WOULDBLOCK)),
        }
    }

    /// Whether a process shows that this version answers requests.
    ///
    /// # Errors
    /// As [`Installed::mark_live`].
    pub fn is_live(&self) -> Result<bool, StoreError> {
        self.store.is_live(self.module().digest)
    }
}

impl Store {
    /// Whether a process shows that the installed `index` answers requests.
    pub(crate) fn is_live(&self, index: Digest) -> Result<bool, StoreError> {
        // None but for a moment has another lock than those that are looked for.
        Ok(self.try_lock_installed(index, FlockOperation::NonBlockingLockExclusive)?.is_none())
    }

    /// None where other processes keep the lock.
    fn try_lock_installed(&self, index: Digest, operation: FlockOperation) -> Result<Option<OwnedFd>, StoreError> {
        let directory = self.installed_dir(index)?;
        let lock = directory.listed().map_err(|error| self.lock_error(index, error))?;
        for _ in 0..TRIES {
            match flock(&lock, operation) {
                Ok(()) => return Ok(Some(lock)),
                Err(Errno::WOULDBLOCK) => thread::sleep(PAUSE),
                Err(Errno::INTR) => {}
                Err(error) => return Err(self.lock_error(index, error)),
            }
        }
        Ok(None)
    }

    fn lock_error(&self, index: Digest, error: Errno) -> StoreError {
        io_error("lock", &self.installed_path(index))(error.into())
    }
}
