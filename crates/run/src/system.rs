//! In: this system. Out: whether it permits the system calls without which wasmtime panics instead of giving an error. A
//! seccomp filter may deny any of them. Never here: calls whose failure becomes an error by itself.

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use rustix::param::page_size;
use std::io;
use std::sync::OnceLock;

/// A system call that wasmtime cannot do without, and is denied.
#[derive(Debug, thiserror::Error)]
#[error("the system denies `{call}`, which wasmtime cannot do without")]
pub struct DeniedCall {
    /// Its name.
    pub call: &'static str,
    /// The system's error.
    #[source]
    pub source: io::Error,
}

/// Tries each of them, once in a process.
///
/// # Errors
/// The first that is denied.
pub(crate) fn check_calls() -> Result<(), DeniedCall> {
    static DENIED: OnceLock<Option<(&str, i32)>> = OnceLock::new();
    let denied = DENIED.get_or_init(|| {
        let calls = [("munmap", unmap_page as fn() -> io::Result<()>), ("sigaltstack", signal_stack)];
        calls.into_iter().find_map(|(name, call)| Some((name, call().err()?.raw_os_error().unwrap_or_default())))
    });
    match denied {
        None => Ok(()),
        Some((call, code)) => Err(DeniedCall { call, source: io::Error::from_raw_os_error(*code) }),
    }
}

#[allow(unsafe_code)]
fn unmap_page() -> io::Result<()> {
    // SAFETY: without a wished address the kernel puts the page where nothing else is, and no reference into it exists
    // when it goes.
    unsafe {
        let page = mmap_anonymous(std::ptr::null_mut(), page_size(), ProtFlags::empty(), MapFlags::PRIVATE)?;
        Ok(munmap(page, page_size())?)
    }
}

/// Which stack signal handlers have, on this thread.
#[allow(unsafe_code, reason = "libc has no safe wrapper")]
fn signal_stack() -> io::Result<()> {
    let mut stack = libc::stack_t { ss_sp: std::ptr::null_mut(), ss_flags: 0, ss_size: 0 };
    // SAFETY: without a new stack the call only writes to `stack`.
    let returned = unsafe { libc::sigaltstack(std::ptr::null(), &raw mut stack) };
    if returned == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_is_denied_where_tests_run() {
        super::check_calls().expect("wasmtime works here");
    }
}
