//! Files that appear whole or not at all. In: bytes. Out: a temporary file, which is on disk before it is renamed; and the
//! private directory, with its lock, in which a release's files are written.

use crate::error::CREATE_IN;
use crate::{LayoutError, WriteError};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// The directory in a release that holds the lock and unfinished files. It exists only while a release is written, or
/// after that was killed.
pub(crate) const STAGING: &str = ".isomer-staging";

/// The lock of a directory, and its temporary files. Both end with it.
#[derive(Debug)]
pub(crate) struct Staging {
    dir: PathBuf,
    lock: PathBuf,
    locked: File,
}

impl Staging {
    /// Takes the lock of `release` and removes the files of a killed run.
    pub(crate) fn open(release: &Path) -> Result<Staging, WriteError> {
        let dir = release.join(STAGING);
        let path = dir.join("lock");
        let locked = loop {
            match fs::create_dir(&dir) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    // Everything in it is about to be removed: through a link, that would be another directory's.
                    if dir.is_symlink() {
                        let found = "a symbolic link";
                        return Err(LayoutError::FileType { file: dir, found, expected: "a directory" }.into());
                    }
                }
                Err(error) => return Err(io_error("create", &dir, error)),
            }
            let file = match OpenOptions::new().write(true).create(true).truncate(false).open(&path) {
                Ok(file) => file,
                // The process that had the lock has just removed the directory.
                Err(error) if error.kind() == ErrorKind::NotFound && dir.symlink_metadata().is_err() => continue,
                Err(error) => return Err(io_error("open", &path, error)),
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(WriteError::Locked { dir: release.to_owned(), lock: path });
                }
                Err(TryLockError::Error(error)) => return Err(io_error("lock", &path, error)),
            }
            // The process that had it removed the file that is locked now: the lock is another file.
            if is_same_file(&file, &path).map_err(|error| io_error("read", &path, error))? {
                break file;
            }
        };
        let staging = Staging { dir, lock: path, locked };
        staging.clear().map_err(|error| io_error("clear", &staging.dir, error))?;
        Ok(staging)
    }

    /// A new file, readable by all as the umask allows, removed unless [`persist`] renames it.
    pub(crate) fn file(&self) -> Result<NamedTempFile, WriteError> {
        temporary_in(&self.dir)
    }

    fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.path() == self.lock {
                continue;
            }
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Removes the directory while the lock is still held. Errors are ignored: the next
    /// release removes what remains.
    pub(crate) fn remove(&self) {
        let _ = self.clear();
        let _ = fs::remove_file(&self.lock);
        let _ = fs::remove_dir(&self.dir);
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Not after `remove`: the files may be another writer's now.
        if is_same_file(&self.locked, &self.lock).unwrap_or(false) {
            self.remove();
        }
    }
}

fn is_same_file(file: &File, path: &Path) -> io::Result<bool> {
    let file = file.metadata()?;
    match path.symlink_metadata() {
        Ok(there) => Ok((file.dev(), file.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn temporary_in(dir: &Path) -> Result<NamedTempFile, WriteError> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".isomer-").suffix(".tmp").permissions(Permissions::from_mode(0o644));
    builder.tempfile_in(dir).map_err(|error| io_error(CREATE_IN, dir, error))
}

/// Renames `file` to `path` once its bytes are on disk. A file of that name is replaced in one step.
pub(crate) fn persist(file: NamedTempFile, path: &Path) -> Result<(), WriteError> {
    file.as_file().sync_all().map_err(|error| io_error("write", path, error))?;
    file.persist(path).map_err(|error| io_error("write", path, error.error))?;
    Ok(())
}

/// Flushes the directory's entries to disk.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), WriteError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| io_error("write", dir, error))
}

pub(crate) fn io_error(action: &'static str, path: &Path, source: io::Error) -> WriteError {
    WriteError::Io { action, path: path.to_owned(), source: without_path(source) }
}

/// An error of `tempfile` without the path of the temporary file.
fn without_path(error: io::Error) -> io::Error {
    let words = error.to_string();
    match words.split_once(" at path \"") {
        Some((words, _)) if error.raw_os_error().is_none() => io::Error::new(error.kind(), words.to_owned()),
        _ => error,
    }
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
            temporary_in(directory_of(path))?;
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
/// permissions are 0644 as the umask allows. A symbolic link stays and its target is replaced; a file that is not regular,
/// `/dev/null` or a pipe, is written directly.
///
/// # Errors
/// [`WriteError::Io`] when `write` fails or the operating system refuses; the temporary file is removed then.
pub fn write_atomically(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), WriteError> {
    let error = |error| io_error("write", path, error);
    let path = match fs::metadata(path) {
        Ok(there) if there.is_dir() => return Err(error(ErrorKind::IsADirectory.into())),
        Ok(there) if !there.is_file() => {
            let mut file = OpenOptions::new().write(true).open(path).map_err(error)?;
            return write(&mut file).map_err(error);
        }
        Ok(_) => &*path.canonicalize().map_err(error)?,
        Err(_) => path,
    };
    let dir = directory_of(path);
    let mut file = temporary_in(dir)?;
    let mut buffered = BufWriter::new(file.as_file_mut());
    write(&mut buffered).and_then(|()| buffered.flush()).map_err(error)?;
    drop(buffered);
    persist(file, path)?;
    sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use isomer_contract::{Hinted, one_line};

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
        let first = Staging::open(dir.path()).unwrap();
        let stale = dir.path().join(STAGING).join("stale");
        fs::write(&stale, b"").unwrap();
        assert!(matches!(Staging::open(dir.path()), Err(WriteError::Locked { .. })));
        assert!(stale.exists(), "cleaned without the lock");
        drop(first);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        // A symbolic link of that name leads to files that are not a release's.
        let other = tempfile::tempdir().unwrap();
        fs::write(other.path().join("thesis"), b"").unwrap();
        std::os::unix::fs::symlink(other.path(), dir.path().join(STAGING)).unwrap();
        let error = Staging::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("is a symbolic link"), "{error}");
        assert!(other.path().join("thesis").exists());
        fs::remove_file(dir.path().join(STAGING)).unwrap();
        // What a killed run leaves.
        fs::create_dir_all(dir.path().join(STAGING).join("sub")).unwrap();
        fs::write(&stale, b"").unwrap();
        let second = Staging::open(dir.path()).unwrap();
        assert!(!stale.exists() && !dir.path().join(STAGING).join("sub").exists());
        second.remove();
        // A later writer's lock outlives the drop of one that was removed.
        let third = Staging::open(dir.path()).unwrap();
        drop(second);
        assert!(matches!(Staging::open(dir.path()), Err(WriteError::Locked { .. })));
        drop(third);
    }
}
