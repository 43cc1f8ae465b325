//! In: what the kernel says of an open directory or file. Out: every reason why another user could change it, or why this
//! machine cannot attest what it holds. Never here: a path that is resolved.
//!
//! A directory or file is protected if
//! - it belongs to root. Where only the statement of the user who installed it counts, any user but root may rely on
//!   a third user's files as well: no other user decides what root executes;
//! - only its owner can write it. Permission bits cover access control lists, too: whatever a list grants to others
//!   than the owner is masked by the group's bits. A directory that every user can write and that has the sticky bit,
//!   `/tmp`, is an exception where it is root's and the next on the path is root's: others can neither rename nor remove
//!   that.
//!
//! A file system that a program of a user's serves (FUSE) shows owners and permissions of that program's making: there,
//! all belongs to that user.
//!
//! What root does to its own files is not guarded against.

use crate::server::{Server, server_of};
use rustix::fs::{FileType, Stat};
use rustix::process::geteuid;
use std::fmt;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

const ROOT: u32 = 0;

/// Why another user could change a file, or why this machine does not attest what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Weakness {
    /// A symbolic link on the path to the store.
    Link(PathBuf),
    /// It belongs to the user who runs this.
    Own(PathBuf),
    /// It belongs to a user other than root.
    Owner {
        /// The directory or file.
        path: PathBuf,
        /// Its owner.
        user: u32,
    },
    /// Others than its owner can write it.
    Writable {
        /// The directory or file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It lies in a directory that every user can write.
    Sticky(PathBuf),
    /// It is mounted so that nothing there can be executed, or as what others provide is mounted.
    Mount {
        /// The file.
        path: PathBuf,
        /// `noexec`, `nosuid`, `nodev` or `idmapped`.
        option: &'static str,
    },
    /// Its file system is not one that reports every change of a file.
    FileSystem {
        /// The file.
        path: PathBuf,
        /// The file system.
        kind: String,
    },
    /// Its file system is not the one that holds this machine's hash records.
    OtherFileSystem {
        /// The file.
        path: PathBuf,
        /// The directory of the records.
        records: PathBuf,
    },
    /// Its file system is served by a program of a user's, which makes up owners and permissions.
    Served {
        /// The directory or file.
        path: PathBuf,
        /// The user, where that can be determined.
        user: Option<u32>,
    },
    /// This process cannot tell who root is.
    Namespace {
        /// Why not.
        reason: String,
    },
    /// This machine has no record that it hashed the file.
    NotRecorded(PathBuf),
    /// A process may have it open for writing.
    OpenForWriting(PathBuf),
    /// It was changed or replaced since this machine hashed it.
    Changed {
        /// The file.
        path: PathBuf,
        /// What differs from the record.
        what: &'static str,
    },
}

impl Weakness {
    /// Whether another user decides the contents: nothing is written to a store where that is so, and what it declares
    /// to be installed does not count. Where a link led has been judged, and the user who runs something may have
    /// installed it.
    pub(crate) fn is_foreign(&self) -> bool {
        match self {
            Weakness::Owner { .. } | Weakness::Served { user: Some(_), .. } => geteuid().is_root(),
            Weakness::Served { user: None, .. } | Weakness::Sticky(_) | Weakness::Writable { .. } => true,
            _ => false,
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
                let who = if mode & 0o002 != 0 { "every user" } else { "its group" };
                write!(f, "{who} can write `{}` (mode {:04o})", path.display(), mode & 0o7777)
            }
            Weakness::Sticky(path) => {
                write!(f, "`{}` lies where every user can write, and is not root's", path.display())
            }
            Weakness::Mount { path, option } => {
                write!(f, "`{}` lies on a file system that is mounted {option}", path.display())
            }
            Weakness::FileSystem { path, kind } => write!(f, "`{}` lies on {kind}", path.display()),
            Weakness::OtherFileSystem { path, records } => write!(
                f,
                "`{}` lies on another file system than `{}`, where this machine records what it hashed",
                path.display(),
                records.display()
            ),
            Weakness::Served { path, user: Some(user) } => {
                write!(f, "`{}` lies on a file system that a program of the user {user} serves", path.display())
            }
            Weakness::Served { path, user: None } => {
                write!(
                    f,
                    "`{}` lies on a FUSE file system, and which user serves it cannot be determined",
                    path.display()
                )
            }
            Weakness::Namespace { reason } => f.write_str(reason),
            Weakness::NotRecorded(path) => {
                write!(f, "this machine has no record that it hashed `{}`", path.display())
            }
            Weakness::OpenForWriting(path) => {
                write!(f, "a process may have `{}` open for writing", path.display())
            }
            Weakness::Changed { path, what } => {
                write!(f, "`{}` is not the file that this machine hashed: its {what} differs", path.display())
            }
        }
    }
}

/// The judgement of each directory and file on a path, in order.
#[derive(Clone, Debug)]
pub(crate) struct Judgement {
    user: u32,
    /// Whether every user may put something beside what comes next.
    sticky: bool,
    weaknesses: Vec<Weakness>,
}

impl Judgement {
    pub(crate) fn new() -> Judgement {
        Judgement { user: geteuid().as_raw(), sticky: false, weaknesses: Vec::new() }
    }

    /// Everything found so far.
    pub(crate) fn weaknesses(&self) -> &[Weakness] {
        &self.weaknesses
    }

    /// The first reason why another user decides the contents.
    pub(crate) fn foreign(&self) -> Option<&Weakness> {
        self.weaknesses.iter().find(|weakness| weakness.is_foreign())
    }

    /// Judges the directory or file `path`, which is open as `fd`, and has this `stat`.
    pub(crate) fn add(&mut self, path: &Path, fd: impl AsFd, stat: &Stat) {
        match server_of(fd) {
            Server::System => {}
            Server::User(user) => self.weaknesses.push(Weakness::Served { path: path.to_owned(), user: Some(user) }),
            Server::Unknown => self.weaknesses.push(Weakness::Served { path: path.to_owned(), user: None }),
        }
        self.judge_owner(path, stat);
        let mode = stat.st_mode & 0o7777;
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let writable = mode & 0o022 != 0;
        let sticky = directory && mode & 0o1000 != 0 && stat.st_uid == ROOT;
        if writable && !sticky {
            self.weaknesses.push(Weakness::Writable { path: path.to_owned(), mode });
        }
        self.sticky = writable && sticky;
    }

    /// Judges the symbolic link `path`, whose permission bits mean nothing.
    pub(crate) fn add_link(&mut self, path: &Path, stat: &Stat) {
        self.weaknesses.push(Weakness::Link(path.to_owned()));
        self.judge_owner(path, stat);
    }

    /// The next to be judged lies in `/`.
    pub(crate) fn back_to_root(&mut self) {
        self.sticky = false;
    }

    fn judge_owner(&mut self, path: &Path, stat: &Stat) {
        if stat.st_uid == ROOT {
            return;
        }
        let path = path.to_owned();
        self.weaknesses.push(if stat.st_uid == self.user {
            Weakness::Own(path)
        } else if self.sticky && self.user != ROOT {
            Weakness::Sticky(path)
        } else {
            Weakness::Owner { path, user: stat.st_uid }
        });
    }
}

#[cfg(test)]
mod tests;
