//! Why a cache, or something in it, is not used.

use isomer_contract::Hinted;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why the cache is not used, or why something in it is not.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The system refuses.
    #[error("cannot {action} `{}`", .path.display())]
    Io {
        /// The action, a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Another user could have written to it.
    #[error("`{}` {found}; expected a directory that only its owner, this user, writes to", .path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// The cache that it belongs to, if that is one of isomer's.
        cache: Option<PathBuf>,
        /// Which user can write there.
        found: Writer,
    },
    /// It is a directory of other files, and would be marked as one that may be removed.
    #[error("`{}` contains `{found}` and is not a cache of isomer's", .path.display())]
    NotACache {
        /// The directory.
        path: PathBuf,
        /// A name in it.
        found: String,
    },
    /// A file has changed since it was written.
    #[error("`{}` is damaged: {problem}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

impl Hinted for CacheError {
    fn hint(&self) -> Option<String> {
        match self {
            CacheError::Foreign { cache: Some(cache), found: Writer::Group(_) | Writer::Everybody, .. } => {
                Some(format!(
                    "`chmod -R go-w {}` if you trust everyone who could write there, or else remove it; or name another \
                 directory",
                    cache.display()
                ))
            }
            // A directory such as /tmp is open to everyone for a reason.
            CacheError::Foreign { .. } | CacheError::NotACache { .. } => {
                Some("name another directory: a new or an empty one of this user".to_owned())
            }
            CacheError::Io { .. } | CacheError::Damaged { .. } => None,
        }
    }
}

/// A user other than this one and root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// The owner.
    User(u32),
    /// The members of this group.
    Group(u32),
    /// Every user.
    Everybody,
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Writer::User(user) => write!(f, "belongs to the user {user}"),
            Writer::Group(group) => write!(f, "can be written by the group {group}"),
            Writer::Everybody => f.write_str("can be written by every user"),
        }
    }
}
