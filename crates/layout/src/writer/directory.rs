//! In: a directory. Out: whether a release may be written to it. Never here: a change to it.

use crate::blob::Root;
use crate::document;
use crate::parse::parse_index;
use crate::staging::{STAGING, io_error};
use crate::{LayoutError, WriteError};
use isomer_contract::limits::DOCUMENT_SIZE_BYTES_MAX;
use isomer_contract::one_line;
use isomer_file::directory::{Directory, is_own};
use oci_spec::image::ImageIndex;
use std::io::ErrorKind;
use std::path::Path;

/// Checks that a release may be written to `dir`, and returns whether it exists. Nothing is changed.
///
/// # Errors
/// [`WriteError::NoDirectory`] when it is not a directory, [`WriteError::NotOurs`] when it holds files but no release that
/// isomer wrote.
pub fn check_place(dir: &Path) -> Result<bool, WriteError> {
    let not_a_directory = |found| Err(WriteError::NoDirectory { path: dir.to_owned(), found });
    match Directory::open(dir) {
        Ok(directory) => {
            let descriptor = directory.descriptor().map_err(|error| io_error("read", dir, error))?;
            check_ours(&Root::of_directory(descriptor, dir), &directory).map(|()| true)
        }
        Err(error) if error.kind() == ErrorKind::NotADirectory && dir.is_file() => not_a_directory("a file"),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error("read", dir, error)),
        Err(_) if dir.is_symlink() => not_a_directory("a symbolic link to nothing"),
        Err(_) => Ok(false),
    }
}

/// Checks that the directory `dir`, where it exists, belongs to this user or to root.
///
/// # Errors
/// [`WriteError::Foreign`] when it is another user's.
pub fn check_owner(dir: &Path) -> Result<(), WriteError> {
    match Directory::open(dir) {
        Ok(directory) => check_own(&directory),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(()),
        Err(error) => Err(io_error("read", dir, error)),
    }
}

pub(super) fn check_own(directory: &Directory) -> Result<(), WriteError> {
    let dir = directory.path().to_owned();
    match directory.stat() {
        Ok(stat) if is_own(stat.st_uid) => Ok(()),
        Ok(stat) => Err(WriteError::Foreign { dir, uid: stat.st_uid }),
        Err(error) => Err(io_error("read", &dir, error)),
    }
}

/// Checks that `root` is empty, a release that isomer wrote, or the files of a killed first run.
pub(super) fn check_ours(root: &Root, directory: &Directory) -> Result<(), WriteError> {
    let dir = root.path();
    let not_ours = |found: String| Err(WriteError::NotOurs { dir: dir.to_owned(), found });
    match index_in(root) {
        Ok(Some(index)) if document::is_release_index(&index) => return Ok(()),
        Ok(Some(_)) => return not_ours("another tool wrote its `index.json`".to_owned()),
        Ok(None) => {}
        Err(error @ LayoutError::Io { .. }) => return Err(error.into()),
        Err(error) => return not_ours(one_line(&error)),
    }
    let names = directory.names().map_err(|error| io_error("read", dir, error))?;
    match names.first() {
        Some(name) if !names.iter().any(|name| name == STAGING) => {
            not_ours(format!("it holds `{}` and no `index.json`", name.to_string_lossy().escape_debug()))
        }
        _ => Ok(()),
    }
}

/// The `index.json` in `root`, if it exists.
pub(super) fn index_in(root: &Root) -> Result<Option<ImageIndex>, LayoutError> {
    let bytes = root.read_top("index.json", DOCUMENT_SIZE_BYTES_MAX)?;
    bytes.map(|bytes| parse_index(&root.path().join("index.json"), &bytes)).transpose()
}
