//! A file that appears whole or not at all. In: a directory that is open. Out: a file with a name of its own in it, which
//! gets its final name in one step. Never here: a file that exists opened, a path.

use super::{Directory, one_name};
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, linkat, openat, renameat, renameat_with, unlinkat};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

/// A file that goes with this value, unless it is renamed.
#[derive(Debug)]
pub struct NewFile {
    directory: OwnedFd,
    name: String,
    file: File,
}

impl NewFile {
    pub(super) fn create(directory: OwnedFd, prefix: &str, mode: u32) -> io::Result<NewFile> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let name = format!("{prefix}{:x}-{number:x}.tmp", std::process::id());
            match openat(&directory, &name, flags, Mode::from_raw_mode(mode)) {
                Ok(fd) => return Ok(NewFile { directory, name, file: fd.into() }),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The file.
    pub fn as_file(&self) -> &File {
        &self.file
    }

    /// Gives it the name `name` in `to`, replacing a file that has it.
    ///
    /// # Errors
    /// When the system refuses: it is removed then.
    pub fn rename(mut self, to: &Directory, name: impl AsRef<OsStr>) -> io::Result<()> {
        renameat(&self.directory, &self.name, &to.fd, one_name(name.as_ref())?)?;
        self.name.clear();
        Ok(())
    }

    /// Gives it the name `name` in `to`, which nothing has.
    ///
    /// # Errors
    /// `AlreadyExists` when something has it, and when the system refuses: it is removed then.
    pub fn rename_new(mut self, to: &Directory, name: impl AsRef<OsStr>) -> io::Result<()> {
        let name = one_name(name.as_ref())?;
        match renameat_with(&self.directory, &self.name, &to.fd, name, RenameFlags::NOREPLACE) {
            Ok(()) => self.name.clear(),
            // File systems without it. The first name goes with this value.
            Err(Errno::INVAL | Errno::NOSYS) => {
                linkat(&self.directory, &self.name, &to.fd, name, AtFlags::empty())?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            // What cannot be removed, the next process finds.
            let _ = unlinkat(&self.directory, &self.name, AtFlags::empty());
        }
    }
}
