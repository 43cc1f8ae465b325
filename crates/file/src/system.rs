//! Errors of the system. In: an error with its sources. Out: its number, and what the system had no more of. Never here: what
//! helps against it.

use isomer_contract::chain;
use rustix::io::Errno;
use std::error::Error;
use std::io;

/// The number of the system's error, where this one is the system's; its sources are not looked at.
pub fn errno(error: &(dyn Error + 'static)) -> Option<Errno> {
    error.downcast_ref().copied().or_else(|| error.downcast_ref().and_then(Errno::from_io_error))
}

/// Whether the system gave no memory or address space: this error says so, or one of its sources.
pub fn is_out_of_memory(error: &(dyn Error + 'static)) -> bool {
    chain(error).filter_map(errno).any(|errno| errno == Errno::NOMEM)
}

/// Whether this process, or the whole system, has as many files open as it may.
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    Errno::from_io_error(error).is_some_and(|errno| matches!(errno, Errno::MFILE | Errno::NFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_system_has_a_number_in_both_types() {
        let system = io::Error::from(Errno::NOMEM);
        assert_eq!([errno(&system), errno(&Errno::NOMEM)], [Some(Errno::NOMEM); 2]);
        let wrapped = io::Error::other(system);
        assert_eq!(errno(&wrapped), None);
        assert!(is_out_of_memory(&wrapped) && !is_out_of_memory(&Errno::PERM));
    }

    #[test]
    fn both_limits_on_open_files_count() {
        let is_out = |errno: Errno| is_out_of_descriptors(&errno.into());
        assert_eq!([Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(is_out), [true, true, false]);
    }
}
