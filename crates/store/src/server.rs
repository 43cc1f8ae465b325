//! Which user serves a file system. In: an open file or directory. Out: whether that is the kernel, or the program of a user:
//! a FUSE file system shows the owners and permissions that this program makes up. Never here: a path; trust in what cannot
//! be determined.

use crate::mounts::{line_of, list, mount_of};
use rustix::fs::fstatfs;
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
    server_in(&list()?, mount_of(fd)?)
}

fn server_in(mounts: &str, mount: u64) -> Option<Server> {
    let mut about = line_of(mounts, mount)?.split_once(" - ")?.1.split(' ');
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
    use std::fs::File;

    #[test]
    fn the_server_of_a_fuse_file_system_is_who_mounted_it() {
        let mounts = "21 27 0:20 / /proc rw - proc proc rw\n\
            42 27 0:39 / /tmp/x rw,nosuid,nodev - fuse /home/a\\040-\\040b rw,user_id=1001,group_id=0,allow_other\n\
            43 27 0:40 / /mnt rw shared:5 - fuse.sshfs host: rw,user_id=0,group_id=0\n\
            44 27 0:41 / /share rw - virtiofs share rw\n\
            45 27 0:42 / /odd rw - fuse.odd odd rw,group_id=0\n\
            47 27 8:17 / /stick rw - fuseblk /dev/sdb1 rw,user_id=1002,group_id=0\n\
            48 27 0:43 / /home rw - fuse.sshfs host: rw,user_id=1003,group_id=0\n\
            49 27 0:44 / /none rw - fuse\n";
        for (id, expected) in [
            (42, Some(Server::User(1001))),
            (43, Some(Server::System)),
            (44, Some(Server::System)),
            (45, None),
            (47, Some(Server::User(1002))),
            (48, Some(Server::User(1003))),
            (49, None),
            (4, None),
            (46, None),
        ] {
            assert_eq!(server_in(mounts, id), expected, "{id}");
        }
        assert_eq!(server_of(File::open("/").expect("it can be read")), Server::System);
    }
}
