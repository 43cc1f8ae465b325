//! In: a directory that is open, and a name in it. Out: what has that name is gone, with everything below. Never here: a
//! symbolic link followed, a removal in what is mounted below.

use super::LIST;
use rustix::fs::{AtFlags, Mode, RawDir, ResolveFlags, fstat, openat, openat2, unlinkat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// Removes what is called `name` in `dir`, with everything below.
///
/// # Errors
/// When it does not exist, something is mounted there, or the system refuses.
pub fn remove_in(dir: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
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

/// A descriptor by which `dir` can be listed and put on disk.
pub(super) fn listed(dir: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    openat(dir, ".", LIST, Mode::empty())
}

/// The names in `dir`, which was opened to list it, sorted. No name has more than 255 bytes.
///
/// # Errors
/// When the system refuses.
pub fn names(dir: BorrowedFd<'_>) -> Result<Vec<OsString>, Errno> {
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
