//! Whose a release's directory is. In: a directory that is about to be written, or signed in. Out: an error where another
//! user could change what is written there. Never here: a judgement of what is in it.

use crate::owner::{Owners, foreign_owner};
use isomer_contract::Hinted;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A directory of another user's.
#[derive(Debug, thiserror::Error)]
#[error("`{}` belongs to the user {uid}; expected a directory of this user", .dir.display())]
pub struct ForeignDirectory {
    /// The directory.
    pub dir: PathBuf,
    /// The user.
    pub uid: u32,
}

impl Hinted for ForeignDirectory {
    fn hint(&self) -> Option<String> {
        Some("use a directory of this user: its owner could change what is in it at any time".to_owned())
    }
}

/// Checks that no other user but root owns `dir`, where it exists.
///
/// # Errors
/// [`ForeignDirectory`] when one does.
pub fn check_owner(dir: &Path) -> Result<(), ForeignDirectory> {
    let uid = fs::metadata(dir).map_or(0, |found| found.uid());
    match foreign_owner(uid, Owners::ThisUserOrRoot) {
        None => Ok(()),
        Some(uid) => Err(ForeignDirectory { dir: dir.to_owned(), uid }),
    }
}
