//! What helps when the system has no more of something. In: an error with its sources. Out: the system's error in it, and an
//! instruction, for those that mean the same whatever was being done. Never here: what a library knows better.

use isomer_contract::chain;
use rustix::io::Errno;
use std::error::Error;
use std::io::{self, ErrorKind};

/// The instruction for the first of the system's errors in the chain that has one.
pub(crate) fn system_hint(error: &(dyn Error + 'static)) -> Option<&'static str> {
    chain(error).find_map(|error| {
        let kind = || error.downcast_ref::<io::Error>().map(io::Error::kind);
        errno(error).and_then(of_errno).or_else(|| kind().and_then(of_kind))
    })
}

/// The first of the system's errors in the chain. One that says that there is no memory has no number where this process was
/// not refused it, but would have been ended for it.
pub(crate) fn system_error(error: &(dyn Error + 'static)) -> Option<io::Error> {
    chain(error).find_map(|error| errno(error).map(io::Error::from).or_else(|| no_memory(error)))
}

fn no_memory(error: &(dyn Error + 'static)) -> Option<io::Error> {
    let system = error.downcast_ref::<io::Error>().filter(|system| system.kind() == ErrorKind::OutOfMemory)?;
    Some(io::Error::new(ErrorKind::OutOfMemory, system.to_string()))
}

/// The number of the system's error, where this one is the system's.
fn errno(error: &(dyn Error + 'static)) -> Option<Errno> {
    error.downcast_ref().copied().or_else(|| error.downcast_ref().and_then(Errno::from_io_error))
}

fn of_errno(errno: Errno) -> Option<&'static str> {
    match errno {
        Errno::MFILE => Some("raise the limit on open files (`ulimit -n`)"),
        Errno::NFILE => Some("the whole system has as many files open as it may: raise `fs.file-max`, or end programs"),
        errno => of_kind(io::Error::from(errno).kind()),
    }
}

/// Errors that were created again from their kind have no number.
fn of_kind(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::StorageFull => Some("the file system is full: free space or inodes there (`df`, `df -i`)"),
        ErrorKind::QuotaExceeded => Some("this user's quota on the file system is used up: remove files, or raise it"),
        ErrorKind::FileTooLarge => Some("raise the limit on file sizes (`ulimit -f`)"),
        ErrorKind::ReadOnlyFilesystem => {
            Some("the file system is mounted read-only: name a directory on another one, or mount it writable")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_means_the_same_everywhere_has_a_hint() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOSPC, Errno::DQUOT, Errno::FBIG, Errno::ROFS] {
            let by_number = system_hint(&io::Error::from(errno));
            assert!(by_number.is_some() && by_number == system_hint(&errno), "{errno:?}");
        }
        for errno in [Errno::NOENT, Errno::ACCESS, Errno::NOMEM, Errno::AGAIN] {
            assert_eq!(system_hint(&io::Error::from(errno)), None, "{errno:?}");
        }
    }
}
