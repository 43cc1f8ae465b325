//! A directory that is open, and what is done in it. In: a path, once; then names. Out: files and directories, made, read,
//! renamed and removed by descriptors. Never here: a path that is resolved twice, a symbolic link of another user followed
//! on the way, any link followed below.
//!
//! Who owns a directory above can rename what is in it at any moment, and put a link of the same name there. A program that
//! goes on by paths then writes and removes elsewhere, with its own rights. One that holds a descriptor stays where it was.

mod new_file;
mod remove;

pub use new_file::NewFile;
pub use remove::{names, remove_in};

use remove::listed;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, fsync, mkdirat, openat, readlinkat, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// As many as the kernel follows.
const LINKS_MAX: usize = 40;

/// To go on from it.
const PASS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// To list it, and to put it on disk.
const LIST: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory that is open: whatever its path leads to later, this is the one.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

/// A directory that was opened by its path.
#[derive(Debug)]
pub struct Opened {
    /// The directory.
    pub directory: Directory,
    /// The directory above and the name in it, where it was made for this.
    pub made: Option<(OwnedFd, OsString)>,
}

/// A symbolic link of another user's.
#[derive(Debug, thiserror::Error)]
#[error("`{}` is a symbolic link of the user {user}; expected one of this user or of root", .path.display())]
pub struct ForeignLink {
    /// The link.
    pub path: PathBuf,
    /// Its owner.
    pub user: u32,
}

impl Directory {
    /// The directory at `path`. A symbolic link on the way is followed if it belongs to this user or to root.
    ///
    /// # Errors
    /// When it does not exist, is not a directory, or a link of another user leads there ([`ForeignLink`]).
    pub fn open(path: &Path) -> io::Result<Directory> {
        Walk::to(path, None)?.end(path).map(|opened| opened.directory)
    }

    /// As [`Directory::open`]; what does not exist of `path` is made with these permissions, as the umask allows.
    ///
    /// # Errors
    /// As [`Directory::open`], and when the system refuses.
    pub fn open_or_make(path: &Path, mode: u32) -> io::Result<Opened> {
        Walk::to(path, Some(mode))?.end(path)
    }

    /// As messages name it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Another descriptor of it.
    ///
    /// # Errors
    /// When this process has too many.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }

    /// The same directory once more.
    ///
    /// # Errors
    /// As [`Directory::descriptor`].
    pub fn try_clone(&self) -> io::Result<Directory> {
        Ok(Directory { fd: self.descriptor()?, path: self.path.clone() })
    }

    /// What the kernel says of it.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn stat(&self) -> io::Result<Stat> {
        Ok(fstat(&self.fd)?)
    }

    /// The directory `name` in it.
    ///
    /// # Errors
    /// When it does not exist, or is something else, a link included.
    pub fn directory(&self, name: impl AsRef<OsStr>) -> io::Result<Directory> {
        let name = one_name(name.as_ref())?;
        Ok(Directory { fd: openat(&self.fd, name, LIST, Mode::empty())?, path: self.path.join(name) })
    }

    /// The same, made with these permissions, as the umask allows, where it does not exist.
    ///
    /// # Errors
    /// As [`Directory::directory`], and when the system refuses.
    pub fn make_directory(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<Directory> {
        let name = one_name(name.as_ref())?;
        match mkdirat(&self.fd, name, Mode::from_raw_mode(mode)) {
            Ok(()) | Err(Errno::EXIST) => self.directory(name),
            Err(error) => Err(error.into()),
        }
    }

    /// The file `name` in it, to read it. It may be anything but a link: a pipe is not waited for.
    ///
    /// # Errors
    /// When it does not exist, or is a link.
    pub fn file(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        self.open_file(name.as_ref(), OFlags::RDONLY)
    }

    /// The file `name` in it, to read and to write it, made where it does not exist.
    ///
    /// # Errors
    /// When it is a link, or the system refuses.
    pub fn file_to_write(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        self.open_file(name.as_ref(), OFlags::RDWR | OFlags::CREATE)
    }

    fn open_file(&self, name: &OsStr, how: OFlags) -> io::Result<File> {
        let flags = how | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
        Ok(openat(&self.fd, one_name(name)?, flags, mode)?.into())
    }

    /// What has the name `name` in it, itself where it is a link; none when nothing has.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn stat_of(&self, name: impl AsRef<OsStr>) -> io::Result<Option<Stat>> {
        match statat(&self.fd, one_name(name.as_ref())?, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// All names in it, sorted.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        Ok(names(listed(self.fd.as_fd())?.as_fd())?)
    }

    /// A new file with a name of its own and these permissions, as the umask allows. It is removed unless it is renamed.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new_file(&self, prefix: &str, mode: u32) -> io::Result<NewFile> {
        NewFile::create(self.descriptor()?, prefix, mode)
    }

    /// Removes the file, or the link, `name`.
    ///
    /// # Errors
    /// When it does not exist, or the system refuses.
    pub fn remove_file(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(unlinkat(&self.fd, one_name(name.as_ref())?, AtFlags::empty())?)
    }

    /// Removes the directory `name`, which is empty.
    ///
    /// # Errors
    /// When it is not, or the system refuses.
    pub fn remove_empty(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(unlinkat(&self.fd, one_name(name.as_ref())?, AtFlags::REMOVEDIR)?)
    }

    /// Removes what is called `name`, with everything below. Links are removed, not followed, and what is mounted below
    /// stays.
    ///
    /// # Errors
    /// When it does not exist, or the system refuses.
    pub fn remove_all(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(remove_in(self.fd.as_fd(), one_name(name.as_ref())?)?)
    }

    /// Puts its names on disk.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn sync(&self) -> io::Result<()> {
        Ok(fsync(listed(self.fd.as_fd())?)?)
    }
}

impl Opened {
    /// Removes the directory if it was made for this and is empty.
    ///
    /// # Errors
    /// When it is not empty, or the system refuses.
    pub fn unmake(made: &(OwnedFd, OsString)) -> io::Result<()> {
        Ok(unlinkat(&made.0, &made.1, AtFlags::REMOVEDIR)?)
    }
}

/// Whether a user's links are followed, and its files are as good as this user's own: this one's and root's.
pub fn is_own(user: u32) -> bool {
    user == 0 || user == geteuid().as_raw()
}

/// Whether it is a symbolic link.
pub fn is_link(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Symlink
}

/// Where a symbolic link in `directory` leads, if it belongs to this user or to root.
///
/// # Errors
/// [`ForeignLink`] when it does not, and when it is no link.
pub fn read_link(directory: &Directory, name: &OsStr) -> io::Result<PathBuf> {
    link_target(&directory.fd, one_name(name)?, &directory.path.join(name))
}

/// The link that is judged is the one that is read.
fn link_target(directory: impl AsFd, name: &OsStr, path: &Path) -> io::Result<PathBuf> {
    let link = openat(directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let stat = fstat(&link)?;
    if !is_link(&stat) {
        return Err(Errno::NOTDIR.into());
    }
    if !is_own(stat.st_uid) {
        return Err(io::Error::other(ForeignLink { path: path.to_owned(), user: stat.st_uid }));
    }
    let target = readlinkat(&link, "", Vec::new())?;
    Ok(PathBuf::from(OsStr::from_bytes(target.as_bytes())))
}

fn one_name(name: &OsStr) -> io::Result<&OsStr> {
    let is_one = !name.is_empty() && name != "." && name != ".." && !name.as_bytes().contains(&b'/');
    if is_one { Ok(name) } else { Err(Errno::INVAL.into()) }
}

/// A path, as far as it was followed.
struct Walk {
    fd: OwnedFd,
    real: PathBuf,
    links: usize,
    /// The permissions of what is made.
    make: Option<Mode>,
    made: Option<(OwnedFd, OsString)>,
}

impl Walk {
    fn to(path: &Path, make: Option<u32>) -> io::Result<Walk> {
        let start = if path.is_absolute() { "/" } else { "." };
        let fd = openat(CWD, start, PASS, Mode::empty())?;
        let real = if path.is_absolute() { PathBuf::from("/") } else { PathBuf::new() };
        let mut walk = Walk { fd, real, links: 0, make: make.map(Mode::from_raw_mode), made: None };
        walk.follow(path)?;
        Ok(walk)
    }

    fn follow(&mut self, path: &Path) -> io::Result<()> {
        for component in path.components() {
            match component {
                Component::Normal(name) => self.enter(name)?,
                Component::ParentDir => self.enter("..".as_ref())?,
                Component::RootDir => {
                    self.fd = openat(CWD, "/", PASS, Mode::empty())?;
                    self.real = PathBuf::from("/");
                }
                Component::CurDir | Component::Prefix(_) => {}
            }
        }
        Ok(())
    }

    fn enter(&mut self, name: &OsStr) -> io::Result<()> {
        self.made = None;
        let fd = match openat(&self.fd, name, PASS, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOTDIR | Errno::LOOP) => {
                self.links += 1;
                if self.links > LINKS_MAX {
                    return Err(Errno::LOOP.into());
                }
                let target = link_target(&self.fd, name, &self.real.join(name))?;
                return self.follow(&target);
            }
            Err(Errno::NOENT) if self.make.is_some() => {
                let made = mkdirat(&self.fd, name, self.make.unwrap_or(Mode::RWXU));
                let fd = match made {
                    Ok(()) | Err(Errno::EXIST) => openat(&self.fd, name, PASS, Mode::empty())?,
                    Err(error) => return Err(error.into()),
                };
                self.made =
                    made.is_ok().then(|| self.fd.try_clone()).transpose()?.map(|above| (above, name.to_owned()));
                fd
            }
            Err(error) => return Err(error.into()),
        };
        self.fd = fd;
        if name == ".." {
            self.real.pop();
        } else {
            self.real.push(name);
        }
        Ok(())
    }

    fn end(self, path: &Path) -> io::Result<Opened> {
        let fd = openat(&self.fd, ".", LIST, Mode::empty())?;
        Ok(Opened { directory: Directory { fd, path: path.to_owned() }, made: self.made })
    }
}

#[cfg(test)]
mod tests;
