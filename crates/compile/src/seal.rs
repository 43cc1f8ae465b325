//! A key that only this user has, and what it seals. In: the user's state directory, and what this user made. Out: the same
//! with an HMAC-SHA256 over it, and the answer to whether a file that is found later was sealed with this very key.
//! Never here: a key of another user's making, or one that another user can read.
//!
//! A digest says that bytes are what they were, not who wrote them: every user can compute it. A seal can be made only
//! with the key, so that a cache entry, or the record of a release, is trusted wherever it lies. Copies of a user's
//! files, files on a shared disk, files in a directory that another user can write to: all of them are worth what their
//! seal is worth.
//!
//! ```text
//! DIR/seal.key      `isomer seal key 1`, then 64 hexadecimal digits; mode 0600, made by the first process that needs it
//! ```
//! Without the key, or with another one, earlier work is compiled again: nothing else is lost with it.

use crate::owner::{Owners, foreign_owner};
use hmac::{Hmac, KeyInit as _, Mac as _};
use hmac_sha2::Sha256;
use isomer_contract::{Hinted, canonical_json};
use isomer_file::directory::{Directory, Opened};
use rustix::fs::fstat;
use serde::{Deserialize, Serialize};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The file's name.
const FILE: &str = "seal.key";
/// What the file begins with.
const HEAD: &str = "isomer seal key 1\n";
/// The size of a key.
const KEY_SIZE_BYTES: usize = 32;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The system refuses.
    #[error("cannot {action} `{}`", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Another user could have put it there, or can read it.
    #[error("`{}` {found}; expected {expected}", .path.display())]
    Exposed {
        /// The file or directory.
        path: PathBuf,
        /// Who can write to it, or read it.
        found: String,
        /// What it must be like.
        expected: &'static str,
    },
    /// It is not a key.
    #[error("`{}` is not a seal key: expected `{}` and 64 hexadecimal digits", .path.display(), HEAD.trim_end())]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
}

impl Hinted for SealError {
    fn hint(&self) -> Option<String> {
        match self {
            SealError::Io { .. } => None,
            SealError::Exposed { path, .. } => {
                Some(format!("remove `{}`: it is made again, and what it sealed is compiled again", path.display()))
            }
            SealError::NotAKey { path } => Some(format!("remove `{}`: a new one is made", path.display())),
        }
    }
}

/// The key of one user on one machine, or of several machines that share the user's home.
pub struct SealKey {
    key: Zeroizing<[u8; KEY_SIZE_BYTES]>,
    id: String,
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What a seal is about: one for an entry does not hold for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// An entry of the cache.
    CacheEntry,
    /// The functions of a module for a profile.
    Functions,
    /// A module of a release.
    ReleasedModule,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Purpose::CacheEntry => "isomer cache entry",
            Purpose::Functions => "isomer cached functions",
            Purpose::ReleasedModule => "isomer released module",
        }
    }
}

/// A value with its seal, as a file holds it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Sealed<T> {
    /// What is sealed.
    pub(crate) content: T,
    /// Which key: no secret.
    key: String,
    /// The HMAC-SHA256 of the purpose and the content's canonical JSON.
    seal: String,
}

/// Why a value is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsealed {
    /// Another key sealed it: another user's, or one that this user no longer has.
    OtherKey,
    /// It says that this key sealed it, which is not so.
    Damaged,
}

impl SealKey {
    /// The key in the state directory `dir`. Directory and key are made when they do not exist.
    ///
    /// # Errors
    /// When they cannot be made or read, or another user could have written or read them.
    pub fn open(dir: &Path) -> Result<SealKey, SealError> {
        let state = own_directory(dir)?;
        loop {
            if let Some(key) = read(&state)? {
                return Ok(key);
            }
            // Another process may be as far: both use the first one's key.
            create(&state)?;
        }
    }

    /// A key that is kept nowhere: it has sealed nothing that exists, and what it seals is of use to this process alone.
    pub fn ephemeral() -> SealKey {
        let mut key = Zeroizing::new([0; KEY_SIZE_BYTES]);
        // Without random numbers nothing is forged with it either: it is used where no seal is made or trusted.
        let _ = getrandom::fill(key.as_mut_slice());
        SealKey::of(key)
    }

    fn of(key: Zeroizing<[u8; KEY_SIZE_BYTES]>) -> SealKey {
        let id = hex::encode(&mac(&*key, "isomer seal key id", b"").finalize().into_bytes()[..8]);
        SealKey { key, id }
    }

    /// Names the key, and tells nothing of it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key for a worker process, which gets it through a pipe.
    pub(crate) fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(*self.key))
    }

    /// What [`SealKey::to_hex`] gave.
    pub(crate) fn from_hex(text: &str) -> Option<SealKey> {
        let mut key = Zeroizing::new([0; KEY_SIZE_BYTES]);
        hex::decode_to_slice(text, key.as_mut_slice()).ok()?;
        Some(SealKey::of(key))
    }

    /// Seals a value.
    pub(crate) fn seal<T: Serialize>(&self, purpose: Purpose, content: T) -> Sealed<T> {
        let seal = self.seal_bytes(purpose, canonical_json(&content).as_bytes());
        Sealed { content, key: self.id.clone(), seal }
    }

    /// The value, if this key sealed it for this purpose.
    pub(crate) fn unseal<T: Serialize>(&self, purpose: Purpose, sealed: Sealed<T>) -> Result<T, Unsealed> {
        let Sealed { content, key, seal } = sealed;
        if key != self.id {
            return Err(Unsealed::OtherKey);
        }
        let right = self.has_sealed(purpose, canonical_json(&content).as_bytes(), &seal);
        if right { Ok(content) } else { Err(Unsealed::Damaged) }
    }

    /// The seal of bytes, in hexadecimal.
    pub(crate) fn seal_bytes(&self, purpose: Purpose, bytes: &[u8]) -> String {
        hex::encode(mac(&*self.key, purpose.name(), bytes).finalize().into_bytes())
    }

    /// Whether `seal` is this key's of `bytes`, in a time that says nothing of how much of it is right.
    pub(crate) fn has_sealed(&self, purpose: Purpose, bytes: &[u8], seal: &str) -> bool {
        let Ok(seal) = hex::decode(seal) else { return false };
        mac(&*self.key, purpose.name(), bytes).verify_slice(&seal).is_ok()
    }
}

/// A purpose ends with a zero, which none contains: no two pairs of purpose and bytes are one text.
fn mac(key: &[u8], purpose: &str, bytes: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any size");
    mac.update(purpose.as_bytes());
    mac.update(&[0]);
    mac.update(bytes);
    mac
}

/// The state directory, of this user alone whatever the umask. What is in it is reached through the descriptor.
pub(crate) fn own_directory(path: &Path) -> Result<Directory, SealError> {
    let error = |action| move |source| SealError::Io { action, path: path.to_owned(), source };
    let Opened { directory, .. } = Directory::open_or_make(path, 0o700).map_err(error("create"))?;
    let stat = directory.stat().map_err(error("read"))?;
    match exposure(stat.st_uid, stat.st_mode, 0o022, "written") {
        None => Ok(directory),
        Some(found) => {
            let expected = "a directory that only this user can write to";
            Err(SealError::Exposed { path: path.to_owned(), found, expected })
        }
    }
}

/// The key in the directory, or none when there is no file of its name.
fn read(state: &Directory) -> Result<Option<SealKey>, SealError> {
    let path = state.path().join(FILE);
    let io = |source| SealError::Io { action: "read", path: path.clone(), source };
    let file = match state.file(FILE) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    let stat = fstat(&file).map_err(|errno| io(errno.into()))?;
    if let Some(found) = exposure(stat.st_uid, stat.st_mode, 0o077, "read or written") {
        return Err(SealError::Exposed { path, found, expected: "a file of this user alone, mode 0600" });
    }
    let mut text = Zeroizing::new(Vec::with_capacity(HEAD.len() + 2 * KEY_SIZE_BYTES + 2));
    let size_bytes_max = (HEAD.len() + 2 * KEY_SIZE_BYTES + 1) as u64;
    file.take(size_bytes_max + 1).read_to_end(&mut text).map_err(io)?;
    let digits = text.strip_prefix(HEAD.as_bytes()).and_then(|rest| rest.strip_suffix(b"\n"));
    let key = digits.and_then(|digits| SealKey::from_hex(std::str::from_utf8(digits).ok()?));
    key.map(Some).ok_or(SealError::NotAKey { path })
}

/// Makes a key, unless there is one by now.
fn create(state: &Directory) -> Result<(), SealError> {
    let path = state.path().join(FILE);
    let io = |source| SealError::Io { action: "create", path: path.clone(), source };
    let mut key = Zeroizing::new([0; KEY_SIZE_BYTES]);
    getrandom::fill(key.as_mut_slice()).map_err(|error| io(io::Error::other(error.to_string())))?;
    let mut file = state.new_file(".seal-", 0o600).map_err(io)?;
    let text = Zeroizing::new(format!("{HEAD}{}\n", *Zeroizing::new(hex::encode(*key))));
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(io)?;
    match file.rename_new(state, FILE) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(io(error)),
        _ => Ok(()),
    }
}

/// Which other user has one of the permissions `forbidden`, with which a file can be `done`.
fn exposure(uid: u32, mode: u32, forbidden: u32, done: &str) -> Option<String> {
    match foreign_owner(uid, Owners::ThisUser) {
        Some(uid) => Some(format!("belongs to the user {uid}")),
        None => (mode & forbidden != 0).then(|| format!("can be {done} by other users (mode {:04o})", mode & 0o7777)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn the_first_process_makes_the_key_and_every_other_reads_it() {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path().join("state/isomer");
        let ids: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..8).map(|_| scope.spawn(|| SealKey::open(&dir).unwrap().id().to_owned())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        assert_eq!((mode(&dir), mode(&dir.join(FILE))), (0o700, 0o600));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "a temporary file was left");
        let other = SealKey::open(&directory.path().join("other")).unwrap();
        assert_ne!(other.id(), ids[0]);
        assert_ne!(SealKey::ephemeral().id(), SealKey::ephemeral().id());
    }

    #[test]
    fn a_seal_is_of_one_key_one_purpose_and_one_content() {
        let key = SealKey::ephemeral();
        let sealed = || key.seal(Purpose::CacheEntry, "content".to_owned());
        assert_eq!(key.unseal(Purpose::CacheEntry, sealed()), Ok("content".to_owned()));
        assert_eq!(key.unseal(Purpose::ReleasedModule, sealed()), Err(Unsealed::Damaged));
        let other = Sealed { content: "other".to_owned(), ..sealed() };
        assert_eq!(key.unseal(Purpose::CacheEntry, other), Err(Unsealed::Damaged));
        assert_eq!(SealKey::ephemeral().unseal(Purpose::CacheEntry, sealed()), Err(Unsealed::OtherKey));
        // Another user can write the name of this key, and cannot make its seal.
        let forged =
            Sealed { key: key.id().to_owned(), ..SealKey::ephemeral().seal(Purpose::CacheEntry, "x".to_owned()) };
        assert_eq!(key.unseal(Purpose::CacheEntry, forged), Err(Unsealed::Damaged));
        let sent = SealKey::from_hex(&key.to_hex()).unwrap();
        assert_eq!(sent.unseal(Purpose::CacheEntry, sealed()), Ok("content".to_owned()));
        assert!(!format!("{key:?}").contains(key.to_hex().as_str()));
    }

    #[test]
    fn a_key_that_another_user_could_know_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path().join("state");
        SealKey::open(&dir).unwrap();
        let key = dir.join(FILE);
        for open in [0o640, 0o604, 0o660, 0o602] {
            fs::set_permissions(&key, Permissions::from_mode(open)).unwrap();
            let error = SealKey::open(&dir).unwrap_err();
            assert!(error.to_string().contains("can be read or written by other users"), "{error}");
            assert!(error.hint().unwrap().contains("remove `"), "{error}");
        }
        fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(&dir, Permissions::from_mode(0o770)).unwrap();
        assert!(matches!(SealKey::open(&dir), Err(SealError::Exposed { path, .. }) if path == dir));
        fs::set_permissions(&dir, Permissions::from_mode(0o700)).unwrap();
        for wrong in ["", "isomer seal key 1\n", "isomer seal key 1\n00\n", &format!("{HEAD}{}\n!", "0".repeat(64))] {
            fs::write(&key, wrong).unwrap();
            assert!(matches!(SealKey::open(&dir), Err(SealError::NotAKey { .. })), "{wrong:?}");
        }
        fs::remove_file(&key).unwrap();
        symlink("/dev/zero", &key).unwrap();
        assert!(matches!(SealKey::open(&dir), Err(SealError::Io { .. })), "a link is not followed");
    }
}
