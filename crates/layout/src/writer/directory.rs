//! In: a directory. Out: whether a release may be written to it. Never here: a change to it.

use crate::blob::Root;
use crate::document;
use crate::parse::parse_index;
use crate::staging::{STAGING, io_error};
use crate::{LayoutError, WriteError};
use isomer_contract::limits::DOCUMENT_SIZE_BYTES_MAX;
use isomer_contract::one_line;
use oci_spec::image::ImageIndex;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// Checks that a release may be written to `dir`, and returns whether it exists. Nothing is changed.
///
/// # Errors
/// [`WriteError::NoDirectory`] when it is not a directory, [`WriteError::NotOurs`] when it holds files but no release that
/// isomer wrote.
pub fn check_place(dir: &Path) -> Result<bool, WriteError> {
    let not_a_directory = |found| Err(WriteError::NoDirectory { path: dir.to_owned(), found });
    match fs::metadata(dir) {
        Ok(there) if there.is_dir() => check_ours(&Root::open(dir)?).map(|()| true),
        Ok(_) => not_a_directory("a file"),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error("read", dir, error)),
        Err(_) if dir.is_symlink() => not_a_directory("a symbolic link to nothing"),
        Err(_) => Ok(false),
    }
}

/// Checks that `root` is empty, a release that isomer wrote, or the files of a killed first run.
fn check_ours(root: &Root) -> Result<(), WriteError> {
    let dir = root.path();
    let not_ours = |found: String| Err(WriteError::NotOurs { dir: dir.to_owned(), found });
    match index_in(root) {
        Ok(Some(index)) if document::is_release_index(&index) => return Ok(()),
        Ok(Some(_)) => return not_ours("another tool wrote its `index.json`".to_owned()),
        Ok(None) => {}
        Err(error @ LayoutError::Io { .. }) => return Err(error.into()),
        Err(error) => return not_ours(one_line(&error)),
    }
    let mut first = None;
    for entry in fs::read_dir(dir).map_err(|error| io_error("read", dir, error))? {
        let name = entry.map_err(|error| io_error("read", dir, error))?.file_name();
        if name == STAGING {
            return Ok(());
        }
        first = first.or(Some(name));
    }
    match first {
        None => Ok(()),
        Some(name) => not_ours(format!("it holds `{}` and no `index.json`", name.to_string_lossy().escape_debug())),
    }
}

/// The `index.json` in `root`, if it exists.
pub(super) fn index_in(root: &Root) -> Result<Option<ImageIndex>, LayoutError> {
    let bytes = root.read_top("index.json", DOCUMENT_SIZE_BYTES_MAX)?;
    bytes.map(|bytes| parse_index(&root.path().join("index.json"), &bytes)).transpose()
}

/// Checks that `dir` is a directory and not a link to one.
pub(super) fn check_directory(dir: &Path) -> Result<(), WriteError> {
    let there = dir.symlink_metadata().map_err(|error| io_error("read", dir, error))?;
    if there.is_dir() {
        return Ok(());
    }
    let found = if there.is_symlink() { "a symbolic link" } else { "a file" };
    Err(LayoutError::FileType { file: dir.to_owned(), found, expected: "a directory" }.into())
}
