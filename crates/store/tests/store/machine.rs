//! This machine, as far as a store changes it. In: a test that creates a store. Out: a directory for it, from which nothing is
//! recorded in the machine's own `/var/lib/isomer-hashed`. Never here: another user's rights.

use rustix::process::geteuid;
use std::ptr::null;
use tempfile::{TempDir, tempdir, tempdir_in};

/// A file system that is not that of [`LIB`].
const SHARED_MEMORY: &str = "/dev/shm";
/// The directory above the records.
const LIB: &str = "/var/lib";

/// A directory for a store. Root's lies in a `/var/lib` that only the calling thread and its children see, beside records
/// that end with them. Where the system denies that, it lies where no record counts and none is written: on another file
/// system than the records. No other user writes records.
pub(crate) fn directory() -> TempDir {
    thread_local!(static HAS_OWN_LIB: bool = mount_own_lib());
    let created = match geteuid().is_root() {
        false => tempdir(),
        true if HAS_OWN_LIB.with(|has| *has) => tempdir_in(LIB),
        true => tempdir_in(SHARED_MEMORY),
    };
    created.expect("there is room")
}

/// Whether [`LIB`] is now an empty file system in memory, for this thread and its children alone.
#[allow(unsafe_code)]
fn mount_own_lib() -> bool {
    let (tmpfs, options) = (c"tmpfs".as_ptr(), c"mode=0755".as_ptr().cast());
    // SAFETY: the texts end with a zero and outlive the calls, which take no other memory. A thread that leaves its
    // namespace of mounts shares no directory with the others either.
    unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(null(), c"/".as_ptr(), null(), libc::MS_REC | libc::MS_PRIVATE, null()) == 0
            && libc::mount(tmpfs, c"/var/lib".as_ptr(), tmpfs, 0, options) == 0
    }
}
