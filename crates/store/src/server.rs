//! Which user serves a file system. In: an open file or directory. Out: whether that is the kernel, or the program of a user:
//! a FUSE file system shows the owners and permissions that this program makes up. Never here: a path; trust in what cannot
//! be determined.

use rustix::fs::{AtFlags, StatxFlags, fstatfs, statx};
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

/// What serves a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    /// The kernel, or a program of root's.
    System,
    /// A program of this user's.
    User(u32),
    /// It cannot be determined.
    Unknown,
}

/// `linux/magic.h`; the type of `f_type` differs between architectures.
const FUSE: u32 = 0x6573_5546;
const PROC: u32 = 0x9fa0;

const MOUNTS: &str = "/proc/self/mountinfo";
/// The longest list of mounts that is read.
const MOUNTS_SIZE_BYTES_MAX: u64 = 64 << 20;

/// What serves the file system of what is open as `fd`.
pub(crate) fn server_of(fd: impl AsFd) -> Server {
    match fstatfs(&fd).map(|stat| stat.f_type as u32) {
        Ok(FUSE) => server_of_fuse(fd).unwrap_or(Server::Unknown),
        Ok(_) => Server::System,
        Err(_) => Server::Unknown,
    }
}

/// As the list of mounts says, if it is the kernel's.
fn server_of_fuse(fd: impl AsFd) -> Option<Server> {
    let stat = statx(&fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
    if stat.stx_mask & StatxFlags::MNT_ID.bits() == 0 {
        return None;
    }
    let file = File::open(MOUNTS).ok().filter(|file| fstatfs(file).is_ok_and(|stat| stat.f_type as u32 == PROC))?;
    let mut text = String::new();
    file.take(MOUNTS_SIZE_BYTES_MAX).read_to_string(&mut text).ok()?;
    server_in(&text, stat.stx_mnt_id)
}

/// `ID PARENT DEVICE ROOT POINT OPTIONS… - TYPE SOURCE OPTIONS`, with spaces in names escaped: proc_pid_mountinfo(5).
fn server_in(mounts: &str, id: u64) -> Option<Server> {
    let id = id.to_string();
    let mount = mounts.lines().find(|line| line.split(' ').next() == Some(&id))?;
    let mut about = mount.split_once(" - ")?.1.split(' ');
    let kind = about.next()?;
    // virtiofs and its like speak the same protocol, and root alone mounts them.
    if kind != "fuse" && kind != "fuseblk" && !kind.starts_with("fuse.") {
        return Some(Server::System);
    }
    match about.nth(1)?.split(',').find_map(|option| option.strip_prefix("user_id="))?.parse().ok()? {
        0 => Some(Server::System),
        user => Some(Server::User(user)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_of_a_fuse_file_system_is_who_mounted_it() {
        let mounts = "21 27 0:20 / /proc rw - proc proc rw\n\
            42 27 0:39 / /tmp/x rw,nosuid,nodev - fuse /home/a\\040-\\040b rw,user_id=1001,group_id=0,allow_other\n\
            43 27 0:40 / /mnt rw shared:5 - fuse.sshfs host: rw,user_id=0,group_id=0\n\
            44 27 0:41 / /share rw - virtiofs share rw\n\
            45 27 0:42 / /odd rw - fuse.odd odd rw,group_id=0\n";
        for (id, expected) in [
            (42, Some(Server::User(1001))),
            (43, Some(Server::System)),
            (44, Some(Server::System)),
            (45, None),
            (4, None),
            (46, None),
        ] {
            assert_eq!(server_in(mounts, id), expected, "{id}");
        }
        assert_eq!(server_of(File::open("/").expect("it can be read")), Server::System);
    }
}
