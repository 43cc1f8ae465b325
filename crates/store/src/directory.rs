//! In: a directory that is open, and a name in it. Out: the file or directory of that name, open and judged by its own
//! descriptor. Never here: a path that is resolved twice, a symbolic link followed below the store, a removal that leaves
//! the directory.

mod walk;

#[cfg(test)]
mod tests;

pub(crate) use walk::Walked;

use crate::StoreError;
use crate::error::io_error;
use crate::weakness::Judgement;
use isomer_file::directory::{names, remove_in};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, fchmod, fstat, fsync, mkdirat, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// To go on from it; it can be neither listed nor changed by this descriptor.
const PASS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// To list it, and to put it on disk.
const LIST: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// To examine it, whatever it is; it can be neither read nor changed by this descriptor.
const EXAMINE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// To read a file. NONBLOCK: a FIFO must not hang the reader before its type is known.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// To read and write a file, made where it does not exist.
const WRITE: OFlags =
    OFlags::RDWR.union(OFlags::CREATE).union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// To write a file that does not exist.
const NEW: OFlags =
    OFlags::RDWR.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Only the owner can read and write it.
const OWNERS: Mode = Mode::RUSR.union(Mode::WUSR);

/// A directory that is open.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    /// As messages name it.
    path: PathBuf,
    /// The path by which it was reached from `/`.
    real: PathBuf,
    /// Of this directory and all above it.
    judgement: Judgement,
}

/// A regular file that is open for reading.
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(crate) file: File,
    pub(crate) stat: Stat,
    /// The path by which it was reached from `/`.
    pub(crate) real: PathBuf,
    /// Of this file and all directories above it.
    pub(crate) judgement: Judgement,
}

impl Directory {
    /// The same directory, called `path` in messages.
    pub(crate) fn called(self, path: &Path) -> Directory {
        Directory { path: path.to_owned(), ..self }
    }

    /// As messages name it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn path_of(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.path.join(name.as_ref())
    }

    pub(crate) fn judgement(&self) -> &Judgement {
        &self.judgement
    }

    /// Another descriptor of it.
    pub(crate) fn descriptor(&self) -> Result<OwnedFd, StoreError> {
        self.fd.try_clone().map_err(io_error("read", &self.path))
    }

    /// The directory `name` in it, or none when that does not exist.
    pub(crate) fn directory(&self, name: impl AsRef<OsStr>) -> Result<Option<Directory>, StoreError> {
        let name = name.as_ref();
        debug_assert!(is_one_name(name), "{name:?}");
        match openat(&self.fd, name, PASS, Mode::empty()) {
            Ok(fd) => self.below(fd, name).map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => Err(self.not_a_directory(name)),
            Err(error) => Err(self.error("read", name, error)),
        }
    }

    fn below(&self, fd: OwnedFd, name: &OsStr) -> Result<Directory, StoreError> {
        let stat = fstat(&fd).map_err(|error| self.error("read", name, error))?;
        let (real, mut judgement) = (self.real.join(name), self.judgement.clone());
        judgement.add(&real, &fd, &stat);
        Ok(Directory { fd, path: self.path_of(name), real, judgement })
    }

    /// As [`Directory::directory`], made where it does not exist: every user can read it and only its owner can write it,
    /// whatever the umask.
    pub(crate) fn make_directory(&self, name: impl AsRef<OsStr>) -> Result<Directory, StoreError> {
        let name = name.as_ref();
        debug_assert!(is_one_name(name), "{name:?}");
        match mkdirat(&self.fd, name, Mode::RWXU) {
            Ok(()) => {
                let made = openat(&self.fd, name, LIST, Mode::empty());
                made.and_then(|made| fchmod(made, Mode::from_raw_mode(0o755)))
                    .map_err(|error| self.not_made(name, error))?;
            }
            Err(Errno::EXIST) => {}
            Err(error) => return Err(self.error("create", name, error)),
        }
        self.directory(name)?.ok_or_else(|| self.error("read", name, Errno::NOENT))
    }

    /// A new directory that only its owner can enter. None where something has that name.
    pub(crate) fn new_directory(&self, name: &str) -> Result<Option<Directory>, StoreError> {
        match mkdirat(&self.fd, name, Mode::RWXU) {
            Ok(()) => {
                let made = openat(&self.fd, name, LIST, Mode::empty());
                made.map_err(|error| self.not_made(name.as_ref(), error))
                    .and_then(|made| self.below(made, name.as_ref()))
                    .map(Some)
            }
            Err(Errno::EXIST) => Ok(None),
            Err(error) => Err(io_error("create a directory in", &self.path)(error.into())),
        }
    }

    fn not_made(&self, name: &OsStr, error: Errno) -> StoreError {
        // The error that is returned is the one to tell.
        let _ = unlinkat(&self.fd, name, AtFlags::REMOVEDIR);
        self.error("create", name, error)
    }

    /// The regular file `name` in it, or none when that does not exist.
    pub(crate) fn file(&self, name: impl AsRef<OsStr>) -> Result<Option<OpenFile>, StoreError> {
        let name = name.as_ref();
        debug_assert!(is_one_name(name), "{name:?}");
        match openat(&self.fd, name, READ, Mode::empty()) {
            Ok(fd) => self.regular(fd, name).map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::LOOP) => Err(self.malformed(name, "it is a symbolic link, expected a file")),
            Err(error) => Err(self.error("read", name, error)),
        }
    }

    /// The regular file `name` in it for reading and writing, made where it does not exist, mode 0600.
    pub(crate) fn file_to_write(&self, name: &str) -> Result<OpenFile, StoreError> {
        match openat(&self.fd, name, WRITE, OWNERS) {
            Ok(fd) => self.regular(fd, name.as_ref()),
            Err(Errno::LOOP) => Err(self.malformed(name.as_ref(), "it is a symbolic link, expected a file")),
            Err(error) => Err(self.error("open", name.as_ref(), error)),
        }
    }

    /// A new file, mode 0600.
    pub(crate) fn new_file(&self, name: impl AsRef<OsStr>) -> Result<File, StoreError> {
        let name = name.as_ref();
        debug_assert!(is_one_name(name), "{name:?}");
        let fd = openat(&self.fd, name, NEW, OWNERS);
        fd.map(File::from).map_err(|error| self.error("create", name, error))
    }

    fn regular(&self, fd: OwnedFd, name: &OsStr) -> Result<OpenFile, StoreError> {
        let stat = fstat(&fd).map_err(|error| self.error("read", name, error))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(self.malformed(name, "it is a directory, expected a file")),
            _ => return Err(self.malformed(name, "it is a device, socket or pipe, expected a file")),
        }
        let (real, mut judgement) = (self.real.join(name), self.judgement.clone());
        judgement.add(&real, &fd, &stat);
        Ok(OpenFile { file: fd.into(), stat, real, judgement })
    }

    /// The reasons against the file or directory `name` in it, which need not be readable; none when it does not exist.
    pub(crate) fn judge(&self, name: &str) -> Result<Option<Judgement>, StoreError> {
        let opened = openat(&self.fd, name, EXAMINE, Mode::empty()).and_then(|fd| Ok((fstat(&fd)?, fd)));
        let (stat, fd) = match opened {
            Ok(opened) => opened,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(self.error("read", name.as_ref(), error)),
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            return Err(self.malformed(name.as_ref(), "it is a symbolic link"));
        }
        let mut judgement = self.judgement.clone();
        judgement.add(&self.real.join(name), &fd, &stat);
        Ok(Some(judgement))
    }

    /// What has the name `name` in it, whatever it is; none when nothing has.
    pub(crate) fn stat(&self, name: impl AsRef<OsStr>) -> Result<Option<Stat>, StoreError> {
        let name = name.as_ref();
        match statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.error("read", name, error)),
        }
    }

    /// A descriptor by which it can be listed, put on disk and locked.
    pub(crate) fn listed(&self) -> Result<OwnedFd, Errno> {
        openat(&self.fd, ".", LIST, Mode::empty())
    }

    /// All names in it, sorted.
    pub(crate) fn names(&self) -> Result<Vec<OsString>, StoreError> {
        let names = self.listed().and_then(|dir| names(dir.as_fd()));
        names.map_err(|error| io_error("read", &self.path)(error.into()))
    }

    /// Gives what is called `from` in it the name `to_name` in `to`, in one step.
    pub(crate) fn rename(
        &self,
        from: impl AsRef<OsStr>,
        to: &Directory,
        to_name: impl AsRef<OsStr>,
    ) -> Result<(), StoreError> {
        let to_name = to_name.as_ref();
        renameat(&self.fd, from.as_ref(), &to.fd, to_name).map_err(|error| to.error("write", to_name, error))
    }

    /// Puts its names on disk.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        let synced = self.listed().and_then(fsync);
        synced.map_err(|error| io_error("write", &self.path)(error.into()))
    }

    /// Removes what is called `name` in it, with everything below, if it exists. Links are removed, not followed, and what
    /// is mounted below stays.
    pub(crate) fn remove(&self, name: impl AsRef<OsStr>) -> Result<(), StoreError> {
        let name = name.as_ref();
        debug_assert!(is_one_name(name), "{name:?}");
        match remove_in(self.fd.as_fd(), name) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(self.error("remove", name, error)),
        }
    }

    /// Removes all that is in it, if it is a [`Directory::new_directory`]: by its own descriptor, since there may be no
    /// other one left.
    pub(crate) fn clear(&self) -> Result<(), StoreError> {
        let cleared =
            names(self.fd.as_fd()).and_then(|names| names.iter().try_for_each(|name| remove_in(self.fd.as_fd(), name)));
        cleared.map_err(|error| io_error("remove", &self.path)(error.into()))
    }

    fn not_a_directory(&self, name: &OsStr) -> StoreError {
        let link = |stat: Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        let is_link = self.stat(name).ok().flatten().is_some_and(link);
        self.malformed(name, if is_link { IS_LINK } else { "it is no directory, expected a directory" })
    }

    fn malformed(&self, name: &OsStr, reason: &str) -> StoreError {
        StoreError::Malformed { file: self.path_of(name), reason: reason.to_owned() }
    }

    fn error(&self, action: &'static str, name: &OsStr, error: Errno) -> StoreError {
        io_error(action, &self.path_of(name))(error.into())
    }
}

const IS_LINK: &str = "it is a symbolic link, expected a directory";

/// Whether it can only be a name in a directory.
fn is_one_name(name: &OsStr) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.as_bytes().contains(&b'/')
}
