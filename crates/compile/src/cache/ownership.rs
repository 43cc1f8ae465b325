//! Whose the cache is. In: its directories and files. Out: those that only this user, or root, can have written. That is
//! the outer of two walls: what such a file says is trusted for its seal. Never here: trust in a path. A file is judged
//! by its descriptor, and it is the one that is read.

use super::{CacheError, Writer, damaged, is_ours};
use crate::owner::{Owners, foreign_owner};
use isomer_file::directory::{Directory, Opened};
use rustix::fs::{FileType, Stat, fstat};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;

/// Creates a directory if it does not exist, for this user alone whatever the umask, and checks that no other user can
/// write to it.
pub(super) fn own_directory(path: &Path, cache: &Path) -> Result<Directory, CacheError> {
    let error = |action| move |source| CacheError::Io { action, path: path.to_owned(), source };
    let opened = Directory::open_or_make(path, 0o700);
    let exists = || path.symlink_metadata().is_ok();
    let Opened { directory, .. } = opened.map_err(|source| error(if exists() { "use" } else { "create" })(source))?;
    match others_write(&directory.stat().map_err(error("read"))?) {
        None => Ok(directory),
        Some(found) => {
            // Only then is it known what the mode of its directories should be.
            let cache = is_ours(cache).then(|| cache.to_owned());
            Err(CacheError::Foreign { path: path.to_owned(), cache, found })
        }
    }
}

/// The directory that the file `path` of a cache is in, and the file's name. Where a path leads may change at any moment:
/// it counts only as far as this user alone writes there, and what follows is done by the descriptor.
pub(super) fn directory_of(path: &Path) -> io::Result<(Directory, &OsStr)> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(ErrorKind::InvalidInput.into());
    };
    let directory = Directory::open(parent)?;
    match others_write(&directory.stat()?) {
        None => Ok((directory, name)),
        Some(found) => Err(io::Error::other(format!("its directory {found}"))),
    }
}

/// Opens a file of the cache. One that may not be read counts as missing: otherwise a cache of root's would give a warning
/// for every job.
pub(super) fn open_if_there(path: &Path) -> Result<Option<File>, CacheError> {
    let error = |source: io::Error| CacheError::Io { action: "read", path: path.to_owned(), source };
    // A pipe of a file's name is not waited for, and a link is followed nowhere.
    let file = match directory_of(path).and_then(|(directory, name)| directory.file(name)) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => return Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            return Err(damaged(path.to_owned(), "it is a symbolic link".to_owned()));
        }
        Err(source) => return Err(error(source)),
    };
    let there = fstat(&file).map_err(|errno| error(errno.into()))?;
    match others_write(&there) {
        None if FileType::from_raw_mode(there.st_mode) != FileType::RegularFile => {
            Err(damaged(path.to_owned(), "it is not a regular file".to_owned()))
        }
        None => Ok(Some(file)),
        Some(found) => Err(damaged(path.to_owned(), format!("it {found}"))),
    }
}

/// Removes a file of the cache, or what has its name instead.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let (directory, name) = directory_of(path)?;
    directory.remove_all(name)
}

/// Which other user can have written to it, its owner first.
fn others_write(there: &Stat) -> Option<Writer> {
    if let Some(user) = foreign_owner(there.st_uid, Owners::ThisUserOrRoot) {
        Some(Writer::User(user))
    } else if there.st_mode & 0o002 != 0 {
        Some(Writer::Everybody)
    } else {
        (there.st_mode & 0o020 != 0).then_some(Writer::Group(there.st_gid))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::cache_with;
    use super::super::{Cache, CacheError};
    use crate::seal::SealKey;
    use isomer_contract::{Digest, Hinted as _};
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use std::sync::Arc;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    /// Each directory alone: none of them is guarded by another.
    #[test]
    fn a_cache_with_a_directory_that_others_write_to_is_not_used() {
        let (_directory, cache) = cache_with(&["a"]);
        for name in ["", "v1", "v1/actions", "v1/artifacts", "v1/functions", "v1/profiles"] {
            let path = cache.dir().join(name);
            for (open, who) in
                [(0o777, "every user"), (0o702, "every user"), (0o770, "the group "), (0o1777, "every user")]
            {
                set_mode(&path, open);
                let error = Cache::open(cache.dir(), cache.key()).unwrap_err();
                assert!(matches!(&error, CacheError::Foreign { path: found, .. } if *found == path), "{error}");
                assert!(error.to_string().contains(&format!("can be written by {who}")), "{name} {open:o}: {error}");
                let hint = error.hint().unwrap();
                assert!(hint.contains(&format!("`chmod -R go-w {}`", cache.dir().display())), "{hint}");
            }
            set_mode(&path, 0o755);
            Cache::open(cache.dir(), cache.key()).unwrap();
        }
    }

    /// It is open to every user for a reason, and none of isomer's.
    #[test]
    fn the_hint_never_changes_a_directory_that_is_not_a_cache() {
        let directory = tempfile::tempdir().unwrap();
        set_mode(directory.path(), 0o1777);
        let error = Cache::open(directory.path(), Arc::new(SealKey::ephemeral())).unwrap_err();
        let hint = error.hint().unwrap();
        assert!(error.to_string().contains("can be written by every user"), "{error}");
        assert_eq!(hint, "name another directory: a new or an empty one of this user");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        // What else is in it says so better.
        fs::write(directory.path().join("thesis.txt"), "data").unwrap();
        let error = Cache::open(directory.path(), Arc::new(SealKey::ephemeral())).unwrap_err();
        assert!(matches!(&error, CacheError::NotACache { found, .. } if found == "thesis.txt"), "{error}");
    }

    #[test]
    fn a_file_that_others_write_to_counts_as_damaged() {
        let (_directory, cache) = cache_with(&["a"]);
        let job = Digest::of(b"a");
        let (entry, maker) = cache.find(job).unwrap().unwrap();
        let layer = fs::read(cache.artifact(&entry)).unwrap();
        for path in [cache.action(job), cache.artifact(&entry)] {
            for open in [0o622, 0o606, 0o660] {
                set_mode(&path, open);
                let error = cache.find(job).unwrap_err();
                assert!(matches!(&error, CacheError::Damaged { path: found, .. } if *found == path), "{error}");
                assert!(error.to_string().contains("it can be written by "), "{error}");
                assert!(cache.find(job).unwrap().is_none());
                cache.put(job, &entry, &maker, &layer).unwrap();
                assert!(cache.find(job).unwrap().is_some());
            }
        }
        let effective = isomer_contract::Profile::shipped("z15").unwrap().effective();
        cache.put_profile(&effective).unwrap();
        set_mode(&cache.profile_path(effective.digest()), 0o666);
        assert_eq!(cache.profile(effective.digest()), None);
    }

    #[test]
    fn what_it_makes_is_of_its_user_alone() {
        let (_directory, cache) = cache_with(&["a"]);
        let (entry, _) = cache.find(Digest::of(b"a")).unwrap().unwrap();
        for name in ["", "v1", "v1/actions", "v1/artifacts", "v1/functions", "v1/profiles"] {
            assert_eq!(mode(&cache.dir().join(name)), 0o700, "{name}");
        }
        let files = [cache.action(Digest::of(b"a")), cache.artifact(&entry), cache.dir().join("CACHEDIR.TAG")];
        for path in files {
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }
}
