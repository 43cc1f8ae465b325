//! Files that appear whole or not at all. In: bytes. Out: a temporary file, which is on disk before it is renamed; and the
//! private directory, with its lock, in which a release's files are written.

use crate::error::CREATE_IN;
use crate::{LayoutError, WriteError};
use isomer_file::directory::{Directory, NewFile, is_link, read_link};
use rustix::fs::{FileType, fstat};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The directory in a release that holds the lock and unfinished files. It exists only while a release is written, or
/// after that was killed.
pub(crate) const STAGING: &str = ".isomer-staging";

/// The file in it that is locked.
const LOCK: &str = "lock";
/// What the names of unfinished files begin with.
const TEMPORARY: &str = ".isomer-";
/// The permissions of files, as the umask allows.
const MODE: u32 = 0o644;
/// The permissions of files that may hold secrets.
const PRIVATE_MODE: u32 = 0o600;
/// More links than the kernel follows.
const LINKS_MAX: usize = 40;

/// The lock of a directory, and its temporary files. Both end with it.
#[derive(Debug)]
pub(crate) struct Staging {
    release: Directory,
    dir: Directory,
    locked: File,
}

impl Staging {
    /// Takes the lock of `release` and removes the files of a killed run.
    pub(crate) fn open(release: &Directory) -> Result<Staging, WriteError> {
        let path = release.path().join(STAGING);
        let lock = path.join(LOCK);
        let release = release.try_clone().map_err(|error| io_error("read", &path, error))?;
        let (dir, locked) = loop {
            // Everything in it is about to be removed: through a link, that would be another directory's.
            let dir = make_directory(&release, STAGING)?;
            let file = match dir.file_to_write(LOCK) {
                Ok(file) => file,
                // The process that had the lock has just removed the directory.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(io_error("open", &lock, error)),
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(WriteError::Locked { dir: release.path().to_owned(), lock });
                }
                Err(TryLockError::Error(error)) => return Err(io_error("lock", &lock, error)),
            }
            // The process that had it removed the file that is locked now: the lock is another file.
            if is_in_place(&release, &file).map_err(|error| io_error("read", &lock, error))? {
                break (dir, file);
            }
        };
        let staging = Staging { release, dir, locked };
        staging.clear().map_err(|error| io_error("clear", &path, error))?;
        Ok(staging)
    }

    /// A new file, readable by all as the umask allows, removed unless [`persist`] renames it.
    pub(crate) fn file(&self) -> Result<NewFile, WriteError> {
        temporary_in(&self.dir, MODE)
    }

    fn clear(&self) -> io::Result<()> {
        let names = self.dir.names()?;
        names.iter().filter(|name| *name != LOCK).try_for_each(|name| self.dir.remove_all(name))
    }

    /// Removes the directory while the lock is still held. Errors are ignored: the next
    /// release removes what remains.
    pub(crate) fn remove(&self) {
        let _ = self.clear();
        let _ = self.dir.remove_file(LOCK);
        let _ = self.release.remove_empty(STAGING);
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Not after `remove`: the files may be another writer's now.
        if is_in_place(&self.release, &self.locked).unwrap_or(false) {
            self.remove();
        }
    }
}

/// Whether `locked` is the lock of `release`.
fn is_in_place(release: &Directory, locked: &File) -> io::Result<bool> {
    let locked = fstat(locked)?;
    let there = match release.directory(STAGING) {
        Ok(dir) => dir.stat_of(LOCK)?,
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    Ok(there.is_some_and(|there| (there.st_dev, there.st_ino) == (locked.st_dev, locked.st_ino)))
}

/// The directory `name` in `dir`, made where it does not exist.
pub(crate) fn make_directory(dir: &Directory, name: &str) -> Result<Directory, WriteError> {
    let path = dir.path().join(name);
    dir.make_directory(name, 0o777).map_err(|error| {
        let found = match dir.stat_of(name).ok().flatten() {
            Some(there) if is_link(&there) => "a symbolic link",
            Some(there) if FileType::from_raw_mode(there.st_mode) != FileType::Directory => "a file",
            _ => return io_error("create", &path, error),
        };
        LayoutError::FileType { file: path.clone(), found, expected: "a directory" }.into()
    })
}

fn temporary_in(dir: &Directory, mode: u32) -> Result<NewFile, WriteError> {
    dir.new_file(TEMPORARY, mode).map_err(|error| io_error(CREATE_IN, dir.path(), error))
}

fn open_directory(dir: &Path) -> Result<Directory, WriteError> {
    Directory::open(dir).map_err(|error| io_error(CREATE_IN, dir, error))
}

/// Gives `file` the name `name` in `dir` once its bytes are on disk. A file of that name is replaced in one step.
pub(crate) fn persist(file: NewFile, dir: &Directory, name: impl AsRef<OsStr>) -> Result<(), WriteError> {
    let error = |error| io_error("write", &dir.path().join(name.as_ref()), error);
    file.as_file().sync_all().map_err(error)?;
    file.rename(dir, name.as_ref()).map_err(error)
}

/// Flushes the directory's entries to disk.
pub(crate) fn sync_dir(dir: &Directory) -> Result<(), WriteError> {
    dir.sync().map_err(|error| io_error("write", dir.path(), error))
}

pub(crate) fn io_error(action: &'static str, path: &Path, source: io::Error) -> WriteError {
    WriteError::Io { action, path: path.to_owned(), source }
}

/// Checks that [`write_atomically`] could begin to write each of `paths`, before work is done for an output that cannot be
/// written. Each directory is tried once.
///
/// # Errors
/// [`WriteError::Io`] when a directory does not exist or takes no new file, or when a name is not valid for a file.
pub fn check_writable<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Result<(), WriteError> {
    let mut directories = BTreeSet::new();
    for path in paths {
        match fs::symlink_metadata(path) {
            Ok(_) if path.is_dir() => return Err(io_error("write", path, ErrorKind::IsADirectory.into())),
            // A pipe or a device is opened when there is something to write.
            Ok(there) if !there.is_file() => continue,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(io_error("write", path, error)),
        }
        if directories.insert(directory_of(path)) {
            temporary_in(&open_directory(directory_of(path))?, MODE)?;
        }
    }
    Ok(())
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes the file `path` with what `write` writes: afterwards it is whole, or as it was before.
///
/// The bytes go to a temporary file in the same directory, are flushed to disk, and then it is renamed. The new file's
/// permissions are 0644 as the umask allows. A symbolic link of this user or of root stays and its target is replaced; a
/// file that is not regular, `/dev/null` or a pipe, is written directly.
///
/// # Errors
/// [`WriteError::Io`] when `write` fails or the operating system refuses; the temporary file is removed then. Also where
/// `path` is a symbolic link of another user's, who could have it lead to any file of this user.
pub fn write_atomically(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), WriteError> {
    replace(path, MODE, write)
}

/// As [`write_atomically`], for what may hold secrets: no other user can read the new file.
///
/// # Errors
/// As [`write_atomically`].
pub fn write_private_atomically(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), WriteError> {
    replace(path, PRIVATE_MODE, write)
}

fn replace(path: &Path, mode: u32, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), WriteError> {
    let error = |error| io_error("write", path, error);
    let output = Output::of(path)?;
    let name = output.name();
    match output.dir.stat_of(name).map_err(error)?.map(|there| FileType::from_raw_mode(there.st_mode)) {
        Some(FileType::Directory) => return Err(error(ErrorKind::IsADirectory.into())),
        Some(FileType::RegularFile) | None => {}
        Some(_) => {
            // By its path: a pipe is opened when there is a reader.
            let mut file = OpenOptions::new().write(true).open(&output.path).map_err(error)?;
            return write(&mut file).map_err(error);
        }
    }
    let mut file = temporary_in(&output.dir, mode)?;
    let mut buffered = BufWriter::new(&mut file);
    write(&mut buffered).and_then(|()| buffered.flush()).map_err(error)?;
    drop(buffered);
    persist(file, &output.dir, name)?;
    sync_dir(&output.dir)
}

/// A name in a directory, which is no symbolic link.
struct Output {
    dir: Directory,
    path: PathBuf,
}

impl Output {
    /// Follows links from `path` on. One that leads to nothing is replaced itself.
    fn of(path: &Path) -> Result<Output, WriteError> {
        let error = |error| io_error("write", path, error);
        let first = Output { dir: open_directory(directory_of(path))?, path: path.to_owned() };
        let mut next = Output { dir: first.dir.try_clone().map_err(error)?, path: path.to_owned() };
        for _ in 0..LINKS_MAX {
            match next.dir.stat_of(next.checked_name().map_err(error)?).map_err(error)? {
                Some(there) if is_link(&there) => {}
                Some(_) => return Ok(next),
                None => return Ok(first),
            }
            let target = read_link(&next.dir, next.name()).map_err(error)?;
            let path = directory_of(&next.path).join(target);
            match Directory::open(directory_of(&path)) {
                Ok(dir) => next = Output { dir, path },
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(first),
                Err(source) => return Err(error(source)),
            }
        }
        Err(error(io::Error::from_raw_os_error(rustix::io::Errno::LOOP.raw_os_error())))
    }

    fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }

    /// The name, where the path has one: `/` and `a/..` are directories.
    fn checked_name(&self) -> io::Result<&OsStr> {
        self.path.file_name().ok_or_else(|| ErrorKind::IsADirectory.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isomer_contract::{Hinted, one_line};
    use std::os::unix::fs::PermissionsExt as _;

    fn staging_in(dir: &Path) -> Result<Staging, WriteError> {
        Staging::open(&Directory::open(dir).unwrap())
    }

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.cwasm");
        write_atomically(&path, |file| file.write_all(b"first")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777 & !0o044, 0o600);
        let failed = write_atomically(&path, |file| {
            file.write_all(b"half")?;
            Err(ErrorKind::StorageFull.into())
        });
        let error = failed.unwrap_err();
        assert!(error.to_string().contains("out.cwasm"), "{error}");
        assert!(error.hint().unwrap().contains("disk is full"));
        assert_eq!(fs::read(&path).unwrap(), b"first");
        write_atomically(&path, |file| file.write_all(b"second")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "a temporary file was left");
    }

    #[test]
    fn links_and_devices_stay_what_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        fs::write(&target, b"old").unwrap();
        std::os::unix::fs::symlink("target", &link).unwrap();
        write_atomically(&link, |file| file.write_all(b"new")).unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read(&target).unwrap(), b"new");
        let null = Path::new("/dev/null");
        write_atomically(null, |file| file.write_all(b"gone")).unwrap();
        assert!(!null.is_file());
        assert!(write_atomically(dir.path(), |_| Ok(())).is_err());
        for error in [
            write_atomically(&dir.path().join("no/such"), |_| Ok(())).unwrap_err(),
            check_writable([dir.path().join("no/such").as_path()]).unwrap_err(),
        ] {
            assert!(one_line(&error).ends_with("/no`: No such file or directory (os error 2)"), "{error}");
            assert!(error.hint().unwrap().starts_with("create the directory first"));
        }
        assert!(check_writable([dir.path()]).is_err());
    }

    #[test]
    fn the_lock_is_exclusive_and_leaves_no_trace() {
        let dir = tempfile::tempdir().unwrap();
        let first = staging_in(dir.path()).unwrap();
        let stale = dir.path().join(STAGING).join("stale");
        fs::write(&stale, b"").unwrap();
        assert!(matches!(staging_in(dir.path()), Err(WriteError::Locked { .. })));
        assert!(stale.exists(), "cleaned without the lock");
        drop(first);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        // A symbolic link of that name leads to files that are not a release's.
        let other = tempfile::tempdir().unwrap();
        fs::write(other.path().join("thesis"), b"").unwrap();
        std::os::unix::fs::symlink(other.path(), dir.path().join(STAGING)).unwrap();
        let error = staging_in(dir.path()).unwrap_err().to_string();
        assert!(error.contains("is a symbolic link"), "{error}");
        assert!(other.path().join("thesis").exists());
        fs::remove_file(dir.path().join(STAGING)).unwrap();
        // What a killed run leaves.
        fs::create_dir_all(dir.path().join(STAGING).join("sub")).unwrap();
        fs::write(&stale, b"").unwrap();
        let second = staging_in(dir.path()).unwrap();
        assert!(!stale.exists() && !dir.path().join(STAGING).join("sub").exists());
        second.remove();
        // A later writer's lock outlives the drop of one that was removed.
        let third = staging_in(dir.path()).unwrap();
        drop(second);
        assert!(matches!(staging_in(dir.path()), Err(WriteError::Locked { .. })));
        drop(third);
    }
}
