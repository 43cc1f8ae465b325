//! In: a path. Out: the directory that it leads to, reached from `/` a name at a time, each step judged. Never here: a
//! step that counts for nothing because a later one is missing.

use super::{Directory, EXAMINE, PASS};
use crate::StoreError;
use crate::error::io_error;
use crate::weakness::Judgement;
use rustix::fs::{CWD, FileType, Mode, fstat, openat, readlinkat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// As many as the kernel follows.
const LINKS_MAX: usize = 40;

/// How far a path leads.
pub(crate) struct Walked {
    /// The last directory on it that exists.
    pub(crate) directory: Directory,
    /// The names behind that, none of which exists.
    pub(crate) missing: Vec<OsString>,
}

impl Directory {
    /// Walks from `/` to `path` a name at a time. A symbolic link is followed the same way: any user who can change a
    /// step can decide where the path leads, and is found.
    pub(crate) fn walk(path: &Path) -> Result<Walked, StoreError> {
        let absolute = std::path::absolute(path).map_err(io_error("read", path))?;
        let mut walk = Walk::from_root().map_err(|error| walk_error(path, "/".as_ref(), error))?;
        walk.follow(&absolute).map_err(|error| walk_error(path, &walk.real, error))?;
        let Walk { fd, real, judgement, missing, .. } = walk;
        let existing = if missing.is_empty() { path.to_owned() } else { real.clone() };
        Ok(Walked { directory: Directory { fd, path: existing, real, judgement }, missing })
    }
}

/// The directories passed so far.
struct Walk {
    fd: OwnedFd,
    real: PathBuf,
    judgement: Judgement,
    /// How many symbolic links were followed.
    links: usize,
    missing: Vec<OsString>,
}

impl Walk {
    fn from_root() -> Result<Walk, Errno> {
        let fd = openat(CWD, "/", PASS, Mode::empty())?;
        let (real, mut judgement) = (PathBuf::from("/"), Judgement::new());
        judgement.add(&real, &fd, &fstat(&fd)?);
        Ok(Walk { fd, real, judgement, links: 0, missing: Vec::new() })
    }

    fn follow(&mut self, path: &Path) -> Result<(), Errno> {
        for component in path.components() {
            match component {
                Component::Normal(name) if !self.missing.is_empty() => self.missing.push(name.to_owned()),
                Component::Normal(name) => self.enter(name)?,
                // What would it lead back from?
                Component::ParentDir if !self.missing.is_empty() => return Err(Errno::NOENT),
                Component::ParentDir => self.enter("..".as_ref())?,
                Component::RootDir => {
                    self.fd = openat(CWD, "/", PASS, Mode::empty())?;
                    self.real = PathBuf::from("/");
                    self.judgement.back_to_root();
                }
                Component::CurDir | Component::Prefix(_) => {}
            }
        }
        Ok(())
    }

    fn enter(&mut self, name: &OsStr) -> Result<(), Errno> {
        let fd = match openat(&self.fd, name, PASS, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => {
                self.missing.push(name.to_owned());
                return Ok(());
            }
            Err(Errno::NOTDIR | Errno::LOOP) => return self.enter_link(name),
            Err(error) => return Err(error),
        };
        let stat = fstat(&fd)?;
        self.fd = fd;
        if name == ".." {
            self.real.pop();
        } else {
            self.real.push(name);
        }
        self.judgement.add(&self.real, &self.fd, &stat);
        Ok(())
    }

    /// Follows the link `name`; the one that is judged is the one that is read.
    fn enter_link(&mut self, name: &OsStr) -> Result<(), Errno> {
        let link = openat(&self.fd, name, EXAMINE, Mode::empty())?;
        let stat = fstat(&link)?;
        self.real.push(name);
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            return Err(Errno::NOTDIR);
        }
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(Errno::LOOP);
        }
        self.judgement.add_link(&self.real, &stat);
        self.real.pop();
        let target = readlinkat(&link, "", Vec::new())?;
        self.follow(Path::new(OsStr::from_bytes(target.as_bytes())))
    }
}

fn walk_error(path: &Path, real: &Path, error: Errno) -> StoreError {
    match error {
        Errno::NOTDIR if std::path::absolute(path).is_ok_and(|path| path == real) => {
            StoreError::NotAStore { dir: path.to_owned(), found: "it is not a directory".to_owned() }
        }
        Errno::LOOP => io_error("read", path)(io::Error::other("too many symbolic links")),
        error => io_error("read", path)(error.into()),
    }
}
