//! The store's files. In: bytes and a name. Out: a file that is there whole or not at all. Never here: a final name before
//! the bytes are on disk, a symbolic link followed inside the store.

use super::error::StoreError;
use isomer_trust::strict_json::{self, JsonError};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The store's own documents are a page of JSON.
const DOCUMENT_SIZE_BYTES_MAX: usize = 1 << 20;

pub(super) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { action, path, source }
}

/// Makes a directory that everybody can read and only its owner can write, whatever the umask, where there is none.
pub(super) fn make_dir(path: &Path) -> Result<(), StoreError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => open_dir(path)?.set_permissions(Permissions::from_mode(0o755)).map_err(io_error("create", path)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let there = path.symlink_metadata().map_err(io_error("read", path))?;
            if there.is_dir() { Ok(()) } else { Err(no_directory(path)) }
        }
        Err(error) => Err(io_error("create", path)(error)),
    }
}

/// As [`make_dir`], with those above it.
fn make_dirs(path: &Path) -> Result<(), StoreError> {
    match path.parent() {
        Some(parent) if !path.exists() => make_dirs(parent).and_then(|()| make_dir(path)),
        _ => Ok(()),
    }
}

fn no_directory(path: &Path) -> StoreError {
    let found = if path.is_symlink() { "a symbolic link" } else { "no directory" };
    StoreError::Malformed { file: path.to_owned(), reason: format!("it is {found}, expected a directory") }
}

/// The directory at `path`, and never what a symbolic link there leads to.
fn open_dir(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    let opened = options.read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(path);
    opened.map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP | libc::ENOTDIR) => no_directory(path),
        _ => io_error("read", path)(error),
    })
}

/// Removes a file or a directory of the store, if it is there, by its name in the open directory that it is in.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    match open_dir(parent).map(|dir| remove_in(dir.as_fd(), name)) {
        Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(Err(Errno::NOENT)) => Ok(()),
        Ok(removed) => removed.map_err(|error| io_error("remove", path)(error.into())),
    }
}

fn remove_in(dir: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        removed => return removed,
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let below = openat(dir, name, flags, Mode::empty())?;
    for entry in Dir::read_from(&below)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            remove_in(below.as_fd(), OsStr::from_bytes(entry.file_name().to_bytes()))?;
        }
    }
    unlinkat(dir, name, AtFlags::REMOVEDIR)
}

/// A new file whose bytes are on disk.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    if let Some(dir) = path.parent() {
        make_dirs(dir)?;
    }
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io_error("create", path))?;
    let readable = file.set_permissions(Permissions::from_mode(0o644));
    readable.and_then(|()| file.write_all(bytes)).and_then(|()| file.sync_all()).map_err(io_error("write", path))
}

pub(super) fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(io_error("write", to))
}

/// Puts the names in `dir` on disk.
pub(super) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_error("write", dir))
}

/// Puts the names in `dir`, and in every directory below it, on disk.
pub(super) fn sync_tree(dir: &Path) -> Result<(), StoreError> {
    for path in entries(dir)? {
        if path.is_dir() {
            sync_tree(&path)?;
        }
    }
    sync_dir(dir)
}

/// The document in `path`, or none when it is not there. A key that stands twice in it makes it malformed: whoever mends a
/// counter by hand and leaves the old one in would not know which of them counts.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    let mut options = OpenOptions::new();
    let opened = options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            let reason = "it is a symbolic link, expected a file".to_owned();
            return Err(StoreError::Malformed { file: path.to_owned(), reason });
        }
        Err(error) => return Err(io_error("read", path)(error)),
    };
    let mut bytes = Vec::new();
    match file.take(DOCUMENT_SIZE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::IsADirectory => {
            let reason = "it is a directory, expected a file".to_owned();
            return Err(StoreError::Malformed { file: path.to_owned(), reason });
        }
        Err(error) => return Err(io_error("read", path)(error)),
    }
    let malformed = |error: JsonError| StoreError::Malformed { file: path.to_owned(), reason: error.to_string() };
    strict_json::read(&bytes, DOCUMENT_SIZE_BYTES_MAX).map(Some).map_err(malformed)
}

pub(super) fn json(value: &impl Serialize) -> Vec<u8> {
    (isomer_contract::canonical_json(value) + "\n").into_bytes()
}

/// What is in `dir`, sorted; nothing when it is not there. A symbolic link in its place is refused.
pub(super) fn entries(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let opened = match open_dir(dir) {
        Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened?,
    };
    let failed = |error: Errno| io_error("read", dir)(error.into());
    let mut paths = Vec::new();
    for entry in Dir::read_from(&opened).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            paths.push(dir.join(OsStr::from_bytes(entry.file_name().to_bytes())));
        }
    }
    paths.sort();
    Ok(paths)
}

/// Whether the file at `path` is still the open `file`.
pub(super) fn is_same(file: &File, path: &Path) -> Result<bool, StoreError> {
    use std::os::unix::fs::MetadataExt;
    let open = file.metadata().map_err(io_error("read", path))?;
    match path.symlink_metadata() {
        Ok(there) => Ok((open.dev(), open.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io_error("read", path)(error)),
    }
}
