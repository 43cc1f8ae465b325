//! In: a directory that is open, and a name in it. Out: the file or directory of that name, open and judged by its own
//! descriptor. Never here: a path that is resolved twice, a symbolic link followed below the store, a removal that leaves
//! the directory.

use crate::StoreError;
use crate::error::io_error;
use crate::weakness::Judgement;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat, fchmod, fstat, fsync, mkdirat, openat, openat2,
    readlinkat, renameat, statat, unlinkat,
};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// As many as the kernel follows.
const LINKS_MAX: usize = 40;

/// To go on from it; it can be neither listed nor changed by this descriptor.
const PASS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// To list it, and to put it on disk.
const LIST: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

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

/// How far a path leads.
pub(crate) struct Walked {
    /// The last directory on it that exists.
    pub(crate) directory: Directory,
    /// The names behind that, none of which exists.
    pub(crate) missing: Vec<OsString>,
}

impl Directory {
    /// Walks from `/` to `path` a name at a time. A symbolic link is followed the same way: whoever can change a step
    /// decides where it ends, and is found.
    pub(crate) fn walk(path: &Path) -> Result<Walked, StoreError> {
        let absolute = std::path::absolute(path).map_err(io_error("read", path))?;
        let mut walk = Walk::from_root().map_err(|error| walk_error(path, "/".as_ref(), error))?;
        walk.follow(&absolute).map_err(|error| walk_error(path, &walk.real, error))?;
        let Walk { fd, real, judgement, missing, .. } = walk;
        let existing = if missing.is_empty() { path.to_owned() } else { real.clone() };
        Ok(Walked { directory: Directory { fd, path: existing, real, judgement }, missing })
    }

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
        judgement.add(&real, &stat);
        Ok(Directory { fd, path: self.path_of(name), real, judgement })
    }

    /// As [`Directory::directory`], made where it does not exist: everybody can read it and only its owner can write it,
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
        // NONBLOCK: a FIFO must not hang the reader before its type is known.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => self.regular(fd, name).map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::LOOP) => Err(self.malformed(name, "it is a symbolic link, expected a file")),
            Err(error) => Err(self.error("read", name, error)),
        }
    }

    /// The regular file `name` in it for reading and writing, made where it does not exist, mode 0600.
    pub(crate) fn file_to_write(&self, name: &str) -> Result<OpenFile, StoreError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR) {
            Ok(fd) => self.regular(fd, name.as_ref()),
            Err(Errno::LOOP) => Err(self.malformed(name.as_ref(), "it is a symbolic link, expected a file")),
            Err(error) => Err(self.error("open", name.as_ref(), error)),
        }
    }

    /// A new file, mode 0600.
    pub(crate) fn new_file(&self, name: impl AsRef<OsStr>) -> Result<File, StoreError> {
        let name = name.as_ref();
        debug_assert!(is_one_name(name), "{name:?}");
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR);
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
        judgement.add(&real, &stat);
        Ok(OpenFile { file: fd.into(), stat, real, judgement })
    }

    /// The reasons against the file or directory `name` in it, which need not be readable; none when it does not exist.
    pub(crate) fn judge(&self, name: &str) -> Result<Option<Judgement>, StoreError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(&self.fd, name, flags, Mode::empty()).and_then(|fd| fstat(&fd));
        let stat = match opened {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(self.error("read", name.as_ref(), error)),
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            return Err(self.malformed(name.as_ref(), "it is a symbolic link"));
        }
        let mut judgement = self.judgement.clone();
        judgement.add(&self.real.join(name), &stat);
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

    /// All names in it, sorted.
    pub(crate) fn names(&self) -> Result<Vec<OsString>, StoreError> {
        let names = listed(self.fd.as_fd()).and_then(|dir| names(dir.as_fd()));
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
        let synced = listed(self.fd.as_fd()).and_then(fsync);
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

fn listed(dir: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    openat(dir, ".", LIST, Mode::empty())
}

/// The names in `dir`, which was opened to list it, sorted. No name has more than 255 bytes.
fn names(dir: BorrowedFd<'_>) -> Result<Vec<OsString>, Errno> {
    let mut names = Vec::new();
    let mut buffer = [MaybeUninit::uninit(); 8192];
    let mut entries = RawDir::new(dir, &mut buffer);
    while let Some(entry) = entries.next() {
        let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn remove_in(dir: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        removed => return removed,
    }
    match unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        removed => return removed,
    }
    let below = enter_to_remove(dir, name)?;
    for name in names(below.as_fd())? {
        remove_in(below.as_fd(), &name)?;
    }
    unlinkat(dir, name, AtFlags::REMOVEDIR)
}

/// The directory `name` in `dir`, which is no link and on which nothing else is mounted.
fn enter_to_remove(dir: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let within =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    match openat2(dir, name, LIST, Mode::empty(), within) {
        // Before Linux 5.6, or forbidden by a filter of system calls that does not know it.
        Err(Errno::NOSYS | Errno::PERM) => {}
        opened => return opened,
    }
    let below = openat(dir, name, LIST, Mode::empty())?;
    if fstat(&below)?.st_dev == fstat(dir)?.st_dev { Ok(below) } else { Err(Errno::XDEV) }
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
        judgement.add(&real, &fstat(&fd)?);
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
        self.judgement.add(&self.real, &stat);
        Ok(())
    }

    /// Follows the link `name`; the one that is judged is the one that is read.
    fn enter_link(&mut self, name: &OsStr) -> Result<(), Errno> {
        let link = openat(&self.fd, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
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
            StoreError::NotAStore { dir: path.to_owned(), found: "it is no directory".to_owned() }
        }
        Errno::LOOP => io_error("read", path)(io::Error::other("too many symbolic links")),
        error => io_error("read", path)(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weakness::Weakness;
    use rustix::process::geteuid;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    fn open(path: &Path) -> Directory {
        let walked = Directory::walk(path).expect("it can be walked");
        assert_eq!(walked.missing, [""; 0]);
        walked.directory
    }

    /// The weaknesses of `artifacts/file` in `dir` that are about what lies in `dir` itself.
    fn found(dir: &Path) -> Vec<Weakness> {
        let artifacts = open(dir).directory("artifacts").expect("it is a directory").expect("it exists");
        let file = artifacts.file("file").expect("it is a file").expect("it exists");
        let ours = |weakness: &&Weakness| match weakness {
            Weakness::Link(path) | Weakness::Own(path) | Weakness::Sticky(path) => path.starts_with(dir),
            Weakness::Owner { path, .. } | Weakness::Writable { path, .. } => path.starts_with(dir),
            _ => false,
        };
        file.judgement.weaknesses().iter().filter(ours).cloned().collect()
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
            let before = fs::metadata(path).expect("it exists").permissions();
            fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
            let found = found(dir.path());
            let writable = |it: &Weakness| *it == Weakness::Writable { path: path.to_owned(), mode };
            let excused = mode == 0o1777 && geteuid().is_root();
            assert_eq!(found.iter().any(writable), !excused, "{mode:o}: {found:?}");
            fs::set_permissions(path, before).expect("it is ours");
        }
    }

    #[test]
    fn a_link_is_followed_on_the_way_and_refused_below() {
        let dir = store();
        let link = dir.path().join("link");
        symlink(dir.path(), &link).expect("there is room");
        let opened = open(&link);
        assert!(opened.judgement().weaknesses().contains(&Weakness::Link(link)));
        assert_eq!(opened.real, dir.path());
        symlink("file", dir.path().join("artifacts/link")).expect("there is room");
        symlink("artifacts", dir.path().join("elsewhere")).expect("there is room");
        let artifacts = opened.directory("artifacts").expect("it is a directory").expect("it exists");
        assert!(matches!(artifacts.file("link"), Err(StoreError::Malformed { .. })));
        assert!(matches!(opened.directory("elsewhere"), Err(StoreError::Malformed { .. })));
        assert!(matches!(opened.file("artifacts"), Err(StoreError::Malformed { .. })));
        symlink("turn", dir.path().join("turn")).expect("there is room");
        assert!(Directory::walk(&dir.path().join("turn")).is_err());
    }

    #[test]
    fn a_missing_part_excuses_nothing() {
        let dir = store();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).expect("it is ours");
        let walked = Directory::walk(&dir.path().join("missing/store")).expect("it can be walked");
        assert_eq!(walked.missing, ["missing", "store"]);
        assert!(walked.directory.judgement().foreign().is_some());
        assert!(Directory::walk(&dir.path().join("missing/../artifacts")).is_err());
    }

    #[test]
    fn only_what_is_roots_is_protected_from_root() {
        let dir = store();
        let own = Weakness::Own(dir.path().join("artifacts/file"));
        if !geteuid().is_root() {
            assert!(found(dir.path()).contains(&own), "what is ours is ours to change");
            return;
        }
        assert_eq!(found(dir.path()), []);
        chown(dir.path().join("artifacts/file"), Some(1234), None).expect("root may");
        let owner = Weakness::Owner { path: dir.path().join("artifacts/file"), user: 1234 };
        assert!(owner.is_foreign());
        assert_eq!(found(dir.path()), [owner]);
    }

    #[test]
    fn a_removal_takes_links_and_leaves_what_they_lead_to() {
        let dir = store();
        let elsewhere = store();
        fs::create_dir_all(dir.path().join("left/deep")).expect("there is room");
        symlink(elsewhere.path(), dir.path().join("left/deep/link")).expect("there is room");
        symlink(elsewhere.path(), dir.path().join("link")).expect("there is room");
        let opened = open(dir.path());
        for name in ["left", "link", "missing"] {
            opened.remove(name).expect("it can be removed");
        }
        assert_eq!(opened.names().expect("it can be listed"), ["artifacts"]);
        assert!(elsewhere.path().join("artifacts/file").exists());
    }

    #[test]
    fn a_directory_stays_the_same_whatever_its_path_leads_to() {
        let dir = store();
        let opened = open(&dir.path().join("artifacts"));
        fs::rename(dir.path().join("artifacts"), dir.path().join("moved")).expect("it is ours");
        fs::create_dir(dir.path().join("artifacts")).expect("there is room");
        opened.write_new("deep/new", b"bytes").expect("there is room");
        assert!(dir.path().join("moved/deep/new").exists());
        assert_eq!(fs::read_dir(dir.path().join("artifacts")).expect("it is a directory").count(), 0);
    }
}
