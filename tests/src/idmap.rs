//! Mounts that show another user's files as root's (idmapped mounts, Linux 5.12). In: a directory, a user, a mount point.
//! Out: the mount, for as long as the value lives. Never here: a mount without root.

use crate::users::User;
use crate::{program, wait_until};
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A mounted directory.
pub struct IdMapped(PathBuf);

/// `struct mount_attr` of linux/mount.h.
#[repr(C)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

// linux/mount.h
const OPEN_TREE_CLONE: libc::c_uint = 1;
const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 4;

impl IdMapped {
    /// Mounts `from` at `at`, where the files of `user` belong to root. An error where this kernel or file system cannot.
    pub fn mount(from: &Path, user: User, at: &Path) -> io::Result<IdMapped> {
        fs::create_dir_all(at)?;
        let namespace = namespace(user)?;
        let path = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other);
        let (from, to) = (path(from)?, path(at)?);
        attach(&from, &to, &namespace)?;
        Ok(IdMapped(at.to_owned()))
    }
}

#[allow(unsafe_code, reason = "libc has no functions for these calls")]
fn attach(from: &CString, to: &CString, namespace: &File) -> io::Result<()> {
    let attributes =
        Attributes { set: MOUNT_ATTR_IDMAP, clear: 0, propagation: 0, user_namespace: namespace.as_raw_fd() as u64 };
    let check = |returned: libc::c_long| if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(returned) };
    // SAFETY: strings end in NUL, `attributes` has the size that is stated, and all live until after the calls.
    unsafe {
        let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC as libc::c_uint;
        let tree = check(libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, from.as_ptr(), flags))?;
        let tree = OwnedFd::from_raw_fd(tree as i32);
        let (fd, empty) = (tree.as_raw_fd(), c"".as_ptr());
        let size = size_of::<Attributes>();
        check(libc::syscall(libc::SYS_mount_setattr, fd, empty, libc::AT_EMPTY_PATH, &raw const attributes, size))?;
        let moved =
            libc::syscall(libc::SYS_move_mount, fd, empty, libc::AT_FDCWD, to.as_ptr(), MOVE_MOUNT_F_EMPTY_PATH);
        check(moved).map(drop)
    }
}

/// A user namespace whose root is `user`, as the file system has it.
fn namespace(user: User) -> io::Result<File> {
    let mut child = Command::new("unshare").args(["--user", "sleep", "60"]).stderr(Stdio::null()).spawn()?;
    let file = |name: &str| format!("/proc/{}/{name}", child.id());
    let is_new = || fs::read_link(file("ns/user")).ok() != fs::read_link("/proc/self/ns/user").ok();
    wait_until("the namespace is made", || is_new() || !crate::is_alive(child.id()));
    let map = format!("{} 0 1", user.id);
    let opened = fs::write(file("uid_map"), &map)
        .and_then(|()| fs::write(file("gid_map"), &map))
        .and_then(|()| File::open(file("ns/user")));
    let _ = child.kill();
    child.wait()?;
    opened
}

impl Drop for IdMapped {
    fn drop(&mut self) {
        program("umount").arg("-l").arg(&self.0).run();
    }
}
