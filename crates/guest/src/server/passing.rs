//! Why a version is not served: something of its own, or something of the moment. In: an error with its sources. Out: whether
//! another try may succeed: the system or a control group had no memory, descriptor or thread left, a disk did not answer, or
//! another process had a lock. Never here: what the error means to people.

use isomer_contract::chain;
use isomer_file::system::errno;
use rustix::io::Errno;
use std::error::Error;
use std::io::{self, ErrorKind};

/// Whether the error says nothing about the version itself.
pub(super) fn is_passing(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(|error| {
        let is_memory = |system: &io::Error| system.kind() == ErrorKind::OutOfMemory;
        errno(error).is_some_and(passes) || error.downcast_ref().is_some_and(is_memory)
    })
}

fn passes(errno: Errno) -> bool {
    const PASSING: [Errno; 12] = [
        Errno::AGAIN,
        Errno::BUSY,
        Errno::DEADLK,
        Errno::INTR,
        Errno::IO,
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOLCK,
        Errno::NOMEM,
        Errno::NOSPC,
        Errno::STALE,
        Errno::TIMEDOUT,
    ];
    PASSING.contains(&errno)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::ServeError;
    use isomer_runtime::{LoadError, SealError};

    #[test]
    fn what_passes_says_nothing_about_the_version() {
        let system = |errno: Errno| ServeError::Source(Box::new(io::Error::other(io::Error::from(errno))));
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::IO, Errno::AGAIN, Errno::NOLCK] {
            assert!(is_passing(&system(errno)) && is_passing(&ServeError::System(errno.into())), "{errno:?}");
        }
        for errno in [Errno::NOENT, Errno::ACCESS, Errno::LOOP, Errno::INVAL, Errno::FBIG] {
            assert!(!is_passing(&system(errno)), "{errno:?}");
        }
        let refusal = || isomer_file::memory::refusal("a control group leaves too little memory");
        let sealed = SealError::Memory { available_bytes: 0, copied_bytes: 0, source: refusal() };
        assert!(is_passing(&ServeError::Source(sealed.into())));
        let copy = LoadError::Memory { available_bytes: 0, needed_bytes: 1, source: refusal() };
        assert!(is_passing(&ServeError::Load(copy)));
        let unhealthy = ServeError::Unhealthy { path: "/".to_owned(), found: "500".to_owned() };
        assert!(!is_passing(&unhealthy) && !is_passing(&ServeError::CoreModule));
        // As wasmtime wraps the system's error.
        let wrapped = wasmtime::Error::from(Errno::NOMEM).context("mmap failed");
        assert!(is_passing(&ServeError::Instantiate(wrapped.into())));
    }
}
