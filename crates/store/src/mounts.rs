//! The mounts of this process, as the kernel lists them. In: an open file. Out: the mount by which it was reached, and that
//! mount's line. Never here: a path; a list that is not the kernel's.

use rustix::fs::{AtFlags, StatxFlags, fstatfs, statx};
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

/// `linux/magic.h`; the type of `f_type` differs between architectures.
const PROC: u32 = 0x9fa0;

const LIST: &str = "/proc/self/mountinfo";
/// The longest list that is read, in bytes. The kernel's own limit, `fs.mount-max`, is 100,000 mounts.
const LIST_SIZE_BYTES_MAX: u64 = 16 << 20;

/// The mount by which a file was reached; none before Linux 5.8, which has no such numbers, and cannot map owners.
pub(crate) fn mount_of(file: impl AsFd) -> Option<u64> {
    let stat = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
    (stat.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(stat.stx_mnt_id)
}

/// All mounts, a line each; none if the list cannot be read, or another program shows one in its stead.
pub(crate) fn list() -> Option<String> {
    let file = File::open(LIST).ok().filter(|file| fstatfs(file).is_ok_and(|stat| stat.f_type as u32 == PROC))?;
    let mut text = String::new();
    file.take(LIST_SIZE_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The line of a mount: `ID PARENT DEVICE ROOT POINT OPTIONS… - TYPE SOURCE OPTIONS`, with spaces in names escaped:
/// proc_pid_mountinfo(5).
pub(crate) fn line_of(mounts: &str, mount: u64) -> Option<&str> {
    let mount = mount.to_string();
    mounts.lines().find(|line| line.split(' ').next() == Some(&mount))
}
