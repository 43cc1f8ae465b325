//! Whose the cache is. In: its directories and files. Out: those that only this user, or root, can have written; a digest
//! does not tell who sealed an entry. Never here: trust in a path. A file is judged by its descriptor, and it is the one
//! that is read.

use super::{CacheError, damaged};
use std::fmt;
use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// Makes a directory where there is none, of this user alone whatever the umask, and sees that nobody else writes to it.
pub(super) fn own_directory(path: &Path, cache: &Path) -> Result<(), CacheError> {
    let error = |action| move |source| CacheError::Io { action, path: path.to_owned(), source };
    let created = DirBuilder::new().recursive(true).mode(0o700).create(path);
    created.map_err(|source| match source.kind() {
        // Only a directory may be there before.
        ErrorKind::AlreadyExists => error("use")(ErrorKind::NotADirectory.into()),
        _ => error("create")(source),
    })?;
    let there = fs::metadata(path).map_err(error("read"))?;
    match others_write(&there) {
        None => Ok(()),
        Some(found) => Err(CacheError::Foreign { path: path.to_owned(), cache: cache.to_owned(), found }),
    }
}

/// What another user keeps for himself is not there for us: in a cache of root's that would else be said of every job.
pub(super) fn open_if_there(path: &Path) -> Result<Option<File>, CacheError> {
    let error = |source: io::Error| CacheError::Io { action: "read", path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => return Ok(None),
        Err(source) => return Err(error(source)),
    };
    let there = file.metadata().map_err(error)?;
    match others_write(&there) {
        None if !there.is_file() => Err(damaged(path.to_owned(), "it is no file".to_owned())),
        None => Ok(Some(file)),
        Some(found) => Err(damaged(path.to_owned(), format!("it {found}"))),
    }
}

/// Somebody other than this user and root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// The owner.
    User(u32),
    /// Whoever is in this group.
    Group(u32),
    /// Anybody.
    Everybody,
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Writer::User(user) => write!(f, "belongs to the user {user}"),
            Writer::Group(group) => write!(f, "can be written by the group {group}"),
            Writer::Everybody => f.write_str("can be written by everybody"),
        }
    }
}

/// Who else can have written there, the owner of it first.
fn others_write(there: &Metadata) -> Option<Writer> {
    let mode = there.permissions().mode();
    if there.uid() != rustix::process::geteuid().as_raw() && there.uid() != 0 {
        Some(Writer::User(there.uid()))
    } else if mode & 0o002 != 0 {
        Some(Writer::Everybody)
    } else {
        (mode & 0o020 != 0).then_some(Writer::Group(there.gid()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::cache_with;
    use super::super::{Cache, CacheError};
    use isomer_contract::{Digest, Hinted as _};
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

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
                [(0o777, "everybody"), (0o702, "everybody"), (0o770, "the group "), (0o1777, "everybody")]
            {
                set_mode(&path, open);
                let error = Cache::open(cache.dir()).unwrap_err();
                assert!(matches!(&error, CacheError::Foreign { path: found, .. } if *found == path), "{error}");
                assert!(error.to_string().contains(&format!("can be written by {who}")), "{name} {open:o}: {error}");
                let hint = error.hint().unwrap();
                assert!(hint.contains(&format!("`chmod -R go-w {}`", cache.dir().display())), "{hint}");
            }
            set_mode(&path, 0o755);
            Cache::open(cache.dir()).unwrap();
        }
    }

    #[test]
    fn a_file_that_others_write_to_counts_as_damaged() {
        let (_directory, cache) = cache_with(&["a"]);
        let job = Digest::of(b"a");
        let entry = cache.find(job).unwrap().unwrap();
        let layer = fs::read(cache.artifact(&entry)).unwrap();
        for path in [cache.action(job), cache.artifact(&entry)] {
            for open in [0o622, 0o606, 0o660] {
                set_mode(&path, open);
                let error = cache.find(job).unwrap_err();
                assert!(matches!(&error, CacheError::Damaged { path: found, .. } if *found == path), "{error}");
                assert!(error.to_string().contains("it can be written by "), "{error}");
                assert!(cache.find(job).unwrap().is_none());
                cache.put(job, &entry, &layer).unwrap();
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
        let entry = cache.find(Digest::of(b"a")).unwrap().unwrap();
        for name in ["", "v1", "v1/actions", "v1/artifacts", "v1/functions", "v1/profiles"] {
            assert_eq!(mode(&cache.dir().join(name)), 0o700, "{name}");
        }
        let files = [cache.action(Digest::of(b"a")), cache.artifact(&entry), cache.dir().join("CACHEDIR.TAG")];
        for path in files {
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }
}
