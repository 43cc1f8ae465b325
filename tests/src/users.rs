//! Other users of this machine. In: a user's number. Out: programs, or a thread of this one, that run as that user. Never
//! here: an entry in the system's list of users.

use super::{Call, has_program, program};
use rustix::fs::{XattrFlags, setxattr};
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Whether this is root.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// A user who is not root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// The user's number, and that of its only group.
    pub id: u32,
}

impl User {
    /// Users that no system has, or none where this is not root, who alone can become another user.
    pub fn several<const N: usize>() -> Option<[User; N]> {
        let possible = is_root() && has_program("setpriv");
        possible.then(|| std::array::from_fn(|number| User { id: 61_000 + number as u32 }))
    }

    /// A call of `path` as this user.
    pub fn program(self, path: impl AsRef<Path>) -> Call {
        let id = self.id.to_string();
        program("setpriv").args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"]).arg(path.as_ref())
    }

    /// Makes the calling thread, and no other one, this user for good.
    pub fn become_in_this_thread(self) {
        let (user, group) = (Uid::from_raw(self.id), Gid::from_raw(self.id));
        set_thread_groups(&[]).expect("root may");
        set_thread_res_gid(group, group, group).expect("root may");
        set_thread_res_uid(user, user, user).expect("root may");
    }

    /// Gives this user a file, or a directory with all in it.
    pub fn give(self, path: &Path) {
        let given = Command::new("chown").args(["-R", &format!("{0}:{0}", self.id)]).arg(path).status();
        assert!(given.is_ok_and(|status| status.success()), "{}", path.display());
    }

    /// Lets this user do that (`0o6`: read and write) with a file of another user's, by an access control list.
    ///
    /// # Errors
    /// Where the file system has none.
    pub fn grant(self, path: &Path, permissions: u16) -> std::io::Result<()> {
        // acl(5), linux/posix_acl_xattr.h: user::rwx, user:ID:…, group::r-x, mask::rwx, other::r-x. The mask shows as the
        // group's permissions.
        let none = u32::MAX;
        let entries =
            [(0x01, 7, none), (0x02, permissions, self.id), (0x04, 5, none), (0x10, 7, none), (0x20, 5, none)];
        let mut list = 2u32.to_le_bytes().to_vec();
        for (tag, permissions, id) in entries {
            list.extend(
                u16::to_le_bytes(tag).into_iter().chain(u16::to_le_bytes(permissions)).chain(u32::to_le_bytes(id)),
            );
        }
        Ok(setxattr(path, "system.posix_acl_access", &list, XattrFlags::empty())?)
    }

    /// A new directory of this user's with these permissions.
    pub fn directory(self, path: PathBuf, mode: u32) -> PathBuf {
        fs::create_dir(&path).expect("there is room");
        chown(&path, Some(self.id), Some(self.id)).expect("root may");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("root may");
        path
    }
}
