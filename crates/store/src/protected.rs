//! In: where a server's store is, and the name of a file in it. Out: the open file, with every reason why somebody could
//! change it: without one it can be mapped as it is. Never here: a path that is resolved twice.
//!
//! # When storage is protected
//! Every directory from `/` to the file, and the file itself, is opened by its name in the directory before, without
//! following a symbolic link, and what is asked is asked of the descriptor that is open: nothing can be exchanged between
//! the question and the mapping. (A link on the way to the store is followed a step at a time, each step judged alike; an
//! artifact behind one is copied and hashed.) Each of them
//! - belongs to root, or, where the caller leaves it at the word of whoever installs ([`Owners::AnyOther`]), to any user
//!   but the one who runs this. For root only what is root's counts: no lesser user decides what root executes;
//! - can be written by nobody but its owner. Permission bits answer for access control lists, too: whatever a list
//!   grants to others than the owner is masked by the group's bits. A directory that everybody can write and that has
//!   the sticky bit, `/tmp`, is an exception where it is root's and the next on the way is root's: others can neither
//!   rename nor remove that.
//!
//! And the file lies on a file system of this machine that lets code be mapped. What root does to its own files is not
//! guarded against; nor is a descriptor that was opened for writing before the file became protected, which nobody has
//! of what [`crate::Store::pull`] wrote, and may have where a store is given to another owner later.
//!
//! fs-verity, where a kernel has it, would go here: a file whose measured digest is its name's needs no protection.

use isomer_runtime::MappedFile;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Stat, StatVfsMountFlags, fstat, fstatfs, fstatvfs, openat, readlinkat, statat,
};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Whose files are believed not to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owners {
    /// Root's alone.
    Root,
    /// Root's, and those of any other user but the one who runs this.
    AnyOther,
}

/// Why somebody who is not believed could change a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Weakness {
    /// A symbolic link on the way.
    Link(PathBuf),
    /// It belongs to the user who runs this.
    Own(PathBuf),
    /// It belongs to a user who is not believed.
    Owner {
        /// The directory or file.
        path: PathBuf,
        /// Whose it is.
        user: u32,
    },
    /// Others than its owner can write it.
    Writable {
        /// The directory or file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It lies in a directory that everybody can write.
    Sticky(PathBuf),
    /// Nothing on its file system can be executed.
    NoExecution(PathBuf),
    /// Its file system is another machine's, or a program's.
    FileSystem {
        /// The file.
        path: PathBuf,
        /// What it lies on.
        kind: &'static str,
    },
}

impl Weakness {
    /// Whether somebody else decides what is there: nothing is written into a store where that is so, and the word of an
    /// installation is worth nothing. Where a link led has been looked at, and who runs something may have installed it.
    pub(crate) fn is_foreign(&self) -> bool {
        matches!(self, Weakness::Owner { .. } | Weakness::Sticky(_) | Weakness::Writable { .. })
    }

    /// The directory or file.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Weakness::Link(path) | Weakness::Own(path) | Weakness::Sticky(path) | Weakness::NoExecution(path) => path,
            Weakness::Owner { path, .. } | Weakness::Writable { path, .. } | Weakness::FileSystem { path, .. } => path,
        }
    }
}

impl fmt::Display for Weakness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Weakness::Link(path) => write!(f, "`{}` is a symbolic link", path.display()),
            Weakness::Own(path) => write!(f, "`{}` belongs to the user who runs this", path.display()),
            Weakness::Owner { path, user } => write!(f, "`{}` belongs to the user {user}, not to root", path.display()),
            Weakness::Writable { path, mode } => {
                let who = if mode & 0o002 != 0 { "everybody" } else { "its group" };
                write!(f, "{who} can write `{}` (mode {:04o})", path.display(), mode & 0o7777)
            }
            Weakness::Sticky(path) => {
                write!(f, "`{}` lies where everybody can write, and is not root's", path.display())
            }
            Weakness::NoExecution(path) => {
                write!(f, "`{}` lies on a file system that is mounted noexec", path.display())
            }
            Weakness::FileSystem { path, kind } => write!(f, "`{}` lies on {kind}", path.display()),
        }
    }
}

/// A file of a store.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) file: File,
    pub(crate) size_bytes: u64,
    /// None means that it is protected.
    pub(crate) weaknesses: Vec<Weakness>,
}

impl Opened {
    /// Maps it where it lies, if no weakness was found; else it is given back.
    #[allow(unsafe_code)]
    pub(crate) fn map(self) -> io::Result<Result<MappedFile, Opened>> {
        if !self.weaknesses.is_empty() {
            return Ok(Err(self));
        }
        // SAFETY: no weakness was found: nobody but those who are believed can write the file.
        Ok(Ok(unsafe { MappedFile::new(self.file, self.size_bytes) }?))
    }
}

/// Opens the regular file at `names` below `dir`. A symbolic link on the way to `dir` is a weakness, one below it an
/// error.
pub(crate) fn open(dir: &Path, names: &[&str], owners: Owners) -> Result<Opened, (PathBuf, io::Error)> {
    let mut way = Way::from_root(owners)?;
    way.follow(&std::path::absolute(dir).map_err(|error| (dir.to_owned(), error))?)?;
    let (name, dirs) = names.split_last().expect("a file has a name");
    for dir in dirs {
        way.enter(dir.as_ref(), false)?;
    }
    way.path.push(name);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = openat(&way.fd, *name, flags, Mode::empty()).map_err(|error| way.error(error))?;
    let stat = fstat(&fd).map_err(|error| way.error(error))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err((way.path, io::Error::other("it is no regular file")));
    }
    way.judge(&stat);
    way.judge_file_system(&fd)?;
    let size_bytes = u64::try_from(stat.st_size).unwrap_or(0);
    Ok(Opened { file: fd.into(), size_bytes, weaknesses: way.weaknesses })
}

/// Every reason why others could change the directory or file `below` `dir`, or put another one in its place. A symbolic
/// link on the way to `dir` is followed a step at a time, and whoever could change a step is found; one below it is an
/// error.
pub(crate) fn weaknesses(dir: &Path, below: &Path) -> Result<Vec<Weakness>, (PathBuf, io::Error)> {
    let mut way = Way::from_root(Owners::AnyOther)?;
    way.follow(&std::path::absolute(dir).map_err(|error| (dir.to_owned(), error))?)?;
    for name in below {
        way.path.push(name);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let next = openat(&way.fd, name, flags, Mode::empty()).and_then(|fd| Ok((fstat(&fd)?, fd)));
        let (stat, fd) = next.map_err(|error| way.error(error))?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            return Err((way.path, io::Error::other(IS_LINK)));
        }
        way.judge(&stat);
        way.fd = fd;
    }
    Ok(way.weaknesses)
}

const IS_LINK: &str = "it is a symbolic link";

/// As many as the kernel follows.
const LINKS_MAX: usize = 40;

/// The directories passed so far.
struct Way {
    owners: Owners,
    user: u32,
    path: PathBuf,
    fd: OwnedFd,
    /// Whether everybody may put something beside what comes next.
    sticky: bool,
    /// How many symbolic links were followed.
    links: usize,
    weaknesses: Vec<Weakness>,
}

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Way {
    fn from_root(owners: Owners) -> Result<Way, (PathBuf, io::Error)> {
        let path = PathBuf::from("/");
        let opened = openat(CWD, &path, DIRECTORY, Mode::empty()).and_then(|fd| Ok((fstat(&fd)?, fd)));
        let (stat, fd) = opened.map_err(|error| (path.clone(), error.into()))?;
        let user = geteuid().as_raw();
        let mut way = Way { owners, user, path, fd, sticky: false, links: 0, weaknesses: Vec::new() };
        way.judge(&stat);
        Ok(way)
    }

    fn follow(&mut self, dir: &Path) -> Result<(), (PathBuf, io::Error)> {
        for component in dir.components() {
            match component {
                Component::Normal(name) => self.enter(name.as_ref(), true)?,
                Component::ParentDir => self.enter("..".as_ref(), true)?,
                Component::RootDir => self.back_to_root()?,
                Component::CurDir | Component::Prefix(_) => {}
            }
        }
        Ok(())
    }

    fn enter(&mut self, name: &Path, links: bool) -> Result<(), (PathBuf, io::Error)> {
        self.path.push(name);
        let next = match openat(&self.fd, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
            Err(Errno::NOTDIR | Errno::LOOP) if links => match self.link(name) {
                Some(stat) => return self.follow_link(name, &stat),
                None => Err(Errno::NOTDIR),
            },
            other => other,
        };
        let next = next.and_then(|fd| Ok((fstat(&fd)?, fd)));
        let (stat, fd) = next.map_err(|error| self.error(error))?;
        self.judge(&stat);
        self.fd = fd;
        Ok(())
    }

    fn link(&self, name: &Path) -> Option<Stat> {
        let stat = statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        (FileType::from_raw_mode(stat.st_mode) == FileType::Symlink).then_some(stat)
    }

    /// Goes where a link leads, by all directories on the way: whoever can write one of them decides where it ends.
    fn follow_link(&mut self, name: &Path, stat: &Stat) -> Result<(), (PathBuf, io::Error)> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err((self.path.clone(), io::Error::other("too many symbolic links")));
        }
        self.weaknesses.push(Weakness::Link(self.path.clone()));
        // Everybody can "write" a link.
        self.judge_owner(stat);
        let target = readlinkat(&self.fd, name, Vec::new()).map_err(|error| self.error(error))?;
        self.path.pop();
        self.follow(Path::new(OsStr::from_bytes(target.as_bytes())))
    }

    fn back_to_root(&mut self) -> Result<(), (PathBuf, io::Error)> {
        self.path = PathBuf::from("/");
        self.fd = openat(CWD, &self.path, DIRECTORY, Mode::empty()).map_err(|error| self.error(error))?;
        self.sticky = false;
        Ok(())
    }

    fn judge_owner(&mut self, stat: &Stat) {
        const ROOT: u32 = 0;
        let path = || self.path.clone();
        let found = &mut self.weaknesses;
        if stat.st_uid != ROOT {
            if stat.st_uid == self.user {
                found.push(Weakness::Own(path()));
            } else if self.owners == Owners::Root || self.user == ROOT {
                found.push(Weakness::Owner { path: path(), user: stat.st_uid });
            } else if self.sticky {
                found.push(Weakness::Sticky(path()));
            }
        }
    }

    /// Looks at who can change what is at the path now.
    fn judge(&mut self, stat: &Stat) {
        const ROOT: u32 = 0;
        self.judge_owner(stat);
        let mode = stat.st_mode & 0o7777;
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let writable = mode & 0o022 != 0;
        let sticky = directory && mode & 0o1000 != 0 && stat.st_uid == ROOT;
        if writable && !sticky {
            self.weaknesses.push(Weakness::Writable { path: self.path.clone(), mode });
        }
        self.sticky = writable && sticky;
    }

    fn judge_file_system(&mut self, file: &OwnedFd) -> Result<(), (PathBuf, io::Error)> {
        if fstatvfs(file).map_err(|error| self.error(error))?.f_flag.contains(StatVfsMountFlags::NOEXEC) {
            self.weaknesses.push(Weakness::NoExecution(self.path.clone()));
        }
        // linux/magic.h; the type of `f_type` differs between architectures.
        let kind = match fstatfs(file).map_err(|error| self.error(error))?.f_type as u32 {
            0x6573_5546 => "a FUSE file system, which a program answers for",
            0x6969 => "NFS, where another machine can change it",
            0xff53_4d42 | 0xfe53_4d42 | 0x517b => "SMB, where another machine can change it",
            0x0102_1997 => "9P, where another machine can change it",
            0x00c3_6400 => "Ceph, where another machine can change it",
            _ => return Ok(()),
        };
        self.weaknesses.push(Weakness::FileSystem { path: self.path.clone(), kind });
        Ok(())
    }

    fn error(&self, error: Errno) -> (PathBuf, io::Error) {
        let error = match error {
            // What a symbolic link is to O_NOFOLLOW.
            Errno::LOOP => io::Error::other(format!("{IS_LINK}, expected a file")),
            other => other.into(),
        };
        (self.path.clone(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    /// The weaknesses of `file` below `dir` that are about what lies in `dir` itself.
    fn found(dir: &Path, owners: Owners) -> Vec<Weakness> {
        let opened = open(dir, &["artifacts", "file"], owners).expect("it is there");
        let ours = |weakness: &Weakness| match weakness {
            Weakness::Link(path) | Weakness::Own(path) | Weakness::Sticky(path) => path.starts_with(dir),
            Weakness::Owner { path, .. } | Weakness::Writable { path, .. } => path.starts_with(dir),
            Weakness::NoExecution(_) | Weakness::FileSystem { .. } => false,
        };
        opened.weaknesses.into_iter().filter(ours).collect()
    }

    fn store() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("there is room");
        fs::create_dir(dir.path().join("artifacts")).expect("there is room");
        fs::set_permissions(dir.path().join("artifacts"), Permissions::from_mode(0o755)).expect("it is ours");
        fs::write(dir.path().join("artifacts/file"), b"bytes").expect("there is room");
        fs::set_permissions(dir.path().join("artifacts/file"), Permissions::from_mode(0o444)).expect("it is ours");
        dir
    }

    #[test]
    fn whatever_others_can_write_is_found() {
        let dir = store();
        for (name, mode) in [("", 0o775), ("", 0o757), ("", 0o1777), ("artifacts", 0o770), ("artifacts/file", 0o464)] {
            let path = dir.path().join(name);
            let path = if name.is_empty() { dir.path() } else { &path };
            let before = fs::metadata(path).expect("it is there").permissions();
            fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
            let found = found(dir.path(), Owners::AnyOther);
            let writable = |it: &Weakness| *it == Weakness::Writable { path: path.to_owned(), mode };
            let excused = mode == 0o1777 && geteuid().is_root();
            assert_eq!(found.iter().any(writable), !excused, "{mode:o}: {found:?}");
            fs::set_permissions(path, before).expect("it is ours");
        }
    }

    #[test]
    fn a_link_is_found_on_the_way_and_refused_below() {
        let dir = store();
        let link = dir.path().join("link");
        symlink(dir.path(), &link).expect("there is room");
        let opened = open(&link, &["artifacts", "file"], Owners::Root).expect("it leads there");
        assert!(opened.weaknesses.contains(&Weakness::Link(link)));
        symlink("file", dir.path().join("artifacts/link")).expect("there is room");
        assert!(open(dir.path(), &["artifacts", "link"], Owners::Root).is_err());
        symlink("artifacts", dir.path().join("elsewhere")).expect("there is room");
        assert!(open(dir.path(), &["elsewhere", "file"], Owners::Root).is_err());
        assert!(open(dir.path(), &["artifacts"], Owners::Root).is_err());
    }

    #[test]
    fn only_what_is_roots_is_protected_from_root() {
        let dir = store();
        let own = Weakness::Own(dir.path().join("artifacts/file"));
        if !geteuid().is_root() {
            assert!(found(dir.path(), Owners::AnyOther).contains(&own), "what is ours is ours to change");
            return;
        }
        assert_eq!(found(dir.path(), Owners::Root), []);
        chown(dir.path().join("artifacts/file"), Some(1234), None).expect("root may");
        let owner = Weakness::Owner { path: dir.path().join("artifacts/file"), user: 1234 };
        assert_eq!(found(dir.path(), Owners::AnyOther), std::slice::from_ref(&owner));
        assert_eq!(found(dir.path(), Owners::Root), [owner]);
    }
}
