//! Whose a file is. In: its owner, as the kernel reports it, and who else may own it. Out: the user whose it is instead.
//! Never here: a path, a permission.

/// Who may own a file that this user relies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owners {
    /// This user alone. Root is another user too: its files are not this user's.
    ThisUser,
    /// This user, or root, who can change everything anyway.
    ThisUserOrRoot,
}

/// `uid`, if `owners` does not include it.
pub(crate) fn foreign_owner(uid: u32, owners: Owners) -> Option<u32> {
    let is_allowed = uid == rustix::process::geteuid().as_raw() || uid == 0 && owners == Owners::ThisUserOrRoot;
    (!is_allowed).then_some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_owns_files_of_this_user_only_where_that_is_allowed() {
        let this = rustix::process::geteuid().as_raw();
        let other = this + 4711;
        for (uid, expected) in [(this, [None, None]), (other, [Some(other), Some(other)])] {
            assert_eq!([Owners::ThisUser, Owners::ThisUserOrRoot].map(|owners| foreign_owner(uid, owners)), expected);
        }
        assert_eq!(foreign_owner(0, Owners::ThisUserOrRoot), None);
        assert_eq!(foreign_owner(0, Owners::ThisUser), (this != 0).then_some(0));
    }
}
