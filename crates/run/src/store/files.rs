//! The store's files. In: bytes and a name. Out: a file that is there whole or not at all. Never here: a final name before
//! the bytes are on disk, a symbolic link followed inside the store.

use super::error::StoreError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The store's own documents are a page of JSON.
const DOCUMENT_SIZE_BYTES_MAX: u64 = 1 << 20;

pub(super) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { action, path, source }
}

/// Makes a directory that only its owner can write, where there is none.
pub(super) fn make_dir(path: &Path) -> Result<(), StoreError> {
    match DirBuilder::new().mode(0o755).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let there = path.symlink_metadata().map_err(io_error("read", path))?;
            if there.is_dir() {
                return Ok(());
            }
            let reason = if there.is_symlink() { "it is a symbolic link" } else { "it is a file" };
            Err(StoreError::Malformed { file: path.to_owned(), reason: format!("{reason}, expected a directory") })
        }
        other => other.map_err(io_error("create", path)),
    }
}

/// A new file whose bytes are on disk.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    if let Some(dir) = path.parent() {
        DirBuilder::new().mode(0o755).recursive(true).create(dir).map_err(io_error("create", dir))?;
    }
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o644).open(path).map_err(io_error("create", path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io_error("write", path))
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

/// The document in `path`, or none when it is not there.
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
    file.take(DOCUMENT_SIZE_BYTES_MAX).read_to_end(&mut bytes).map_err(io_error("read", path))?;
    let malformed = |error: serde_json::Error| {
        let reason: String = error.to_string().chars().take(200).flat_map(char::escape_debug).collect();
        StoreError::Malformed { file: path.to_owned(), reason: reason.replace("\\\"", "\"") }
    };
    serde_json::from_slice(&bytes).map(Some).map_err(malformed)
}

pub(super) fn json(value: &impl Serialize) -> Vec<u8> {
    (isomer_contract::canonical_json(value) + "\n").into_bytes()
}

/// What is in `dir`, sorted; nothing when it is not there.
pub(super) fn entries(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let listed = match fs::read_dir(dir) {
        Ok(listed) => listed,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error("read", dir)(error)),
    };
    let mut paths = listed
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(io_error("read", dir))?;
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
