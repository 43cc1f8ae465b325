//! The mounts of this process, as the kernel lists them. In: an open file. Out: the mount by which it was reached, and that
//! mount's line. Never here: a path; a list that is not the kernel's.

use crate::proc;
use rustix::fs::{AtFlags, StatxFlags, statx};
use std::os::fd::AsFd;

const LIST: &str = "/proc/self/mountinfo";
/// The longest list that is read, in bytes. The kernel's own limit, `fs.mount-max`, is 100,000 mounts.
const LIST_SIZE_BYTES_MAX: u64 = 16 << 20;

/// The mount by which a file was reached; none before Linux 5.8, which has no such numbers, and cannot map owners.
pub(crate) fn mount_of(file: impl AsFd) -> Option<u64> {
    let stat = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
    StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::MNT_ID).then_some(stat.stx_mnt_id)
}

/// All mounts, a line each; none if the list cannot be read, or another program shows one in its stead.
pub(crate) fn list() -> Option<String> {
    proc::read(LIST, LIST_SIZE_BYTES_MAX).ok().flatten()
}

/// The line of a mount: `ID PARENT DEVICE ROOT POINT OPTIONS… - TYPE SOURCE OPTIONS`, with spaces in names escaped:
/// proc_pid_mountinfo(5).
pub(crate) fn line_of(mounts: &str, mount: u64) -> Option<&str> {
    let mount = mount.to_string();
    mounts.lines().find(|line| line.split(' ').next() == Some(&mount))
}

/// Whether a mount, of those in `mounts`, has the option; none where it is not listed.
pub(crate) fn has_option(mounts: &str, mount: u64, option: &str) -> Option<bool> {
    let options = line_of(mounts, mount)?.split(' ').nth(5)?;
    Some(options.split(',').any(|it| it == option))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn the_mount_of_an_open_file_is_listed() {
        let status = File::open("/proc/self/status").expect("it can be read");
        let mount = mount_of(&status).expect("tests run on Linux 5.8 or later");
        let mounts = list().expect("the kernel lists them");
        let line = line_of(&mounts, mount).expect("it is mounted");
        assert_eq!(line.split(' ').nth(4), Some("/proc"), "{line}");
        assert!(line.contains(" - proc "), "{line}");
    }

    #[test]
    fn a_mount_is_found_by_its_whole_number_and_its_options_by_their_whole_names() {
        let mounts = "21 27 0:20 / /proc rw,nosuid - proc proc rw,idmapped\n\
            1 27 0:39 / /data\\040x rw,idmapped shared:5 - ext4 /dev/sda rw\n\
            2 1 0:39 / /not rw,not-idmapped - ext4 /dev/sda rw\n";
        for (mount, expected) in [(21, Some(false)), (1, Some(true)), (2, Some(false)), (27, None), (0, None)] {
            assert_eq!(has_option(mounts, mount, "idmapped"), expected, "{mount}");
        }
        assert_eq!(has_option("3 1 0:39 / /cut", 3, "idmapped"), None);
    }
}
