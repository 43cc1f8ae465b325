//! In: paths. Out: keys, or files that hold keys. Never here: what a key may sign.
//!
//! A private key's file is readable by its owner alone (0600), and never replaces another. One that other users may read
//! is refused: they may have signed with it.

use crate::key::{KeyError, PublicKey, SigningKey, is_private};
use isomer_contract::Hinted;
use isomer_file::directory::Directory;
use isomer_file::{FileError, Regular};
use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The largest key file that is read, in bytes. An RSA key of 16384 bits, which is refused by its name, has 13 KiB.
pub const KEY_SIZE_BYTES_MAX: u64 = 64 << 10;

/// Why a key's file was not read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The file is not a valid key of the required kind.
    #[error("cannot use `{}` as a key", .path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        error: KeyError,
    },
    /// A private key that other users than its owner can read or change.
    #[error("expected the mode 0600 for the private key `{}`, found {mode:04o}: other users may read or change it", .path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Something else than a file, or a file larger than a key.
    #[error("expected a file of at most {limit_bytes} bytes, found `{}`, {found}", .path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        found: String,
        /// The limit.
        limit_bytes: u64,
    },
    /// A file of that name exists, which may be the only copy of a key.
    #[error("`{}` exists, and a key never replaces another file", .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {action} `{}`", .path.display())]
    Io {
        /// What was tried, a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Its words.
        source: io::Error,
    },
}

impl Hinted for KeyFileError {
    fn hint(&self) -> Option<String> {
        match self {
            KeyFileError::Key { error, .. } => error.hint(),
            KeyFileError::Exposed { path, .. } => {
                Some(format!("if no other user has read it, `chmod 600 {}`; otherwise make a new key", path.display()))
            }
            KeyFileError::Exists { .. } => Some("choose another name, or move the file away".to_owned()),
            KeyFileError::Io { action: "read", source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("check the path".to_owned())
            }
            KeyFileError::NotAFile { .. } | KeyFileError::Io { .. } => None,
        }
    }
}

/// Writes a private key and its public half, both or neither.
///
/// # Errors
/// When one of the files exists or cannot be written, or the passphrase is empty.
pub fn write_pair(
    private: &Path,
    public: &Path,
    key: &SigningKey,
    passphrase: Option<&str>,
) -> Result<(), KeyFileError> {
    let pem = key.to_pem(passphrase).map_err(|error| KeyFileError::Key { path: private.to_owned(), error })?;
    let directory = write_new(public, key.public_key().to_pem().as_bytes(), 0o644)?;
    write_new(private, pem.as_bytes(), 0o600).map(drop).inspect_err(|_| {
        // It was made above.
        let _ = directory.remove_file(public.file_name().unwrap_or_default());
    })
}

/// Reads a private key.
///
/// # Errors
/// When its file cannot be read, can be read by other users, or is not a private key that the passphrase opens.
pub fn read_private(path: &Path, passphrase: Option<&str>) -> Result<SigningKey, KeyFileError> {
    let regular = open(path, KEY_SIZE_BYTES_MAX)?;
    // The mode and the text of one and the same file.
    let file = regular.file().metadata().map_err(io_error("read", path))?;
    let mode = file.permissions().mode() & 0o7777;
    let text = zeroize::Zeroizing::new(read(regular, path, KEY_SIZE_BYTES_MAX)?);
    let text = text_of_key(path, &text)?;
    // Text that is not a private key may be readable by all users; the error is another one.
    if mode & 0o077 != 0 && is_private(text) {
        return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
    }
    SigningKey::from_pem(text, passphrase).map_err(|error| KeyFileError::Key { path: path.to_owned(), error })
}

/// Reads a public key.
///
/// # Errors
/// When its file cannot be read, or is not a public key.
pub fn read_public(path: &Path) -> Result<PublicKey, KeyFileError> {
    let bytes = read(open(path, KEY_SIZE_BYTES_MAX)?, path, KEY_SIZE_BYTES_MAX)?;
    let text = text_of_key(path, &bytes)?;
    PublicKey::from_pem(text).map_err(|error| KeyFileError::Key { path: path.to_owned(), error })
}

pub(crate) fn open(path: &Path, limit_bytes: u64) -> Result<Regular, KeyFileError> {
    isomer_file::open(path).map_err(|error| not_read(error, path, limit_bytes))
}

pub(crate) fn read(file: Regular, path: &Path, limit_bytes: u64) -> Result<Vec<u8>, KeyFileError> {
    file.read(limit_bytes).map_err(|error| not_read(error, path, limit_bytes))
}

fn not_read(error: FileError, path: &Path, limit_bytes: u64) -> KeyFileError {
    let found = match error {
        FileError::Io { source, .. } => return io_error("read", path)(source),
        FileError::NotRegular { found, .. } => found,
        _ => "a larger one",
    };
    KeyFileError::NotAFile { path: path.to_owned(), found: found.to_owned(), limit_bytes }
}

fn text_of_key<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str, KeyFileError> {
    std::str::from_utf8(bytes).map_err(|_| {
        let error = KeyError::NotPem { reason: "it is not text".to_owned() };
        KeyFileError::Key { path: path.to_owned(), error }
    })
}

/// Writes a file that does not exist: no other process sees half of it, and the second of two writers gets an error. The
/// directory that it is in.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<Directory, KeyFileError> {
    let above = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = Directory::open(above).map_err(io_error("write", path))?;
    let mut file = directory.new_file(".isomer-key-", 0o600).map_err(io_error("write", path))?;
    let written = file.write_all(bytes).and_then(|()| file.as_file().set_permissions(Permissions::from_mode(mode)));
    written.and_then(|()| file.as_file().sync_all()).map_err(io_error("write", path))?;
    file.rename_new(&directory, path.file_name().unwrap_or_default()).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => KeyFileError::Exists { path: path.to_owned() },
        _ => io_error("write", path)(error),
    })?;
    directory.sync().map_err(io_error("write", path))?;
    Ok(directory)
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyFileError {
    move |source| KeyFileError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Algorithm;
    use std::error::Error as _;

    fn pair(directory: &Path) -> (PathBuf, PathBuf) {
        (directory.join("farm.key"), directory.join("farm.pub"))
    }

    fn scratch() -> tempfile::TempDir {
        tempfile::tempdir().expect("there is room for a directory")
    }

    fn generate() -> SigningKey {
        SigningKey::generate(Algorithm::Ed25519).expect("there is randomness")
    }

    #[test]
    fn a_pair_is_written_once_and_read_back() {
        let directory = scratch();
        let (private, public) = pair(directory.path());
        let key = generate();
        write_pair(&private, &public, &key, Some("correct horse")).expect("the directory is empty");
        let mode = |path: &Path| path.metadata().expect("it was written").permissions().mode() & 0o7777;
        assert_eq!((mode(&private), mode(&public)), (0o600, 0o644));
        assert_eq!(read_public(&public).expect("it was written"), key.public_key());
        let again = read_private(&private, Some("correct horse")).expect("it was written");
        assert_eq!(again.public_key(), key.public_key());

        let bytes = std::fs::read(&private).expect("it was written");
        let error = write_pair(&private, &public, &generate(), None).expect_err("both files exist");
        assert!(matches!(error, KeyFileError::Exists { .. }), "{error}");
        std::fs::remove_file(&public).expect("it was written");
        let error = write_pair(&private, &public, &generate(), None).expect_err("one file exists");
        assert!(matches!(error, KeyFileError::Exists { .. }), "{error}");
        assert_eq!(std::fs::read(&private).expect("it is kept"), bytes);
        let names: Vec<_> = std::fs::read_dir(directory.path()).expect("it exists").collect();
        assert_eq!(names.len(), 1, "neither the public half nor a temporary file is left: {names:?}");
    }

    #[test]
    fn a_private_key_that_other_users_can_read_is_refused() {
        let directory = scratch();
        let (private, public) = pair(directory.path());
        write_pair(&private, &public, &generate(), None).expect("the directory is empty");
        for mode in [0o640, 0o604, 0o620, 0o602, 0o644, 0o601] {
            std::fs::set_permissions(&private, Permissions::from_mode(mode)).expect("the file is ours");
            let error = read_private(&private, None).expect_err("others reach it");
            assert!(matches!(error, KeyFileError::Exposed { mode: found, .. } if found == mode), "{error}");
            assert!(error.hint().is_some_and(|hint| hint.contains("chmod 600")));
        }
        std::fs::set_permissions(&private, Permissions::from_mode(0o400)).expect("the file is ours");
        read_private(&private, None).expect("only the owner reads it");
    }

    #[test]
    fn an_invalid_key_file_is_an_error_that_names_it() {
        let directory = scratch();
        let (private, public) = pair(directory.path());
        write_pair(&private, &public, &generate(), None).expect("the directory is empty");
        let write = |name: &str, bytes: &[u8]| {
            write_new(&directory.path().join(name), bytes, 0o600).expect("the name is new");
            directory.path().join(name)
        };
        let large = write("large", &[b'-'; KEY_SIZE_BYTES_MAX as usize + 1]);
        let binary = write("binary", b"\xff\xfe");
        let shown = |error: KeyFileError| {
            let source = error.source().map_or_else(String::new, |source| format!(" | {source}"));
            format!("{error}{source}").replace(&directory.path().display().to_string(), "DIR")
        };
        for (path, expected) in [
            (private.as_path(), "cannot use `DIR/farm.key` as a key | expected a public key, found a private key"),
            (directory.path(), "expected a file of at most 65536 bytes, found `DIR`, a directory"),
            (Path::new("/dev/null"), "expected a file of at most 65536 bytes, found `/dev/null`, a device"),
            (&large, "expected a file of at most 65536 bytes, found `DIR/large`, a larger one"),
            (&binary, "cannot use `DIR/binary` as a key | expected a key in PEM: it is not text"),
            (&directory.path().join("none"), "cannot read `DIR/none` | No such file or directory (os error 2)"),
        ] {
            assert_eq!(shown(read_public(path).expect_err("it is no public key")), expected);
        }
        std::fs::set_permissions(&public, Permissions::from_mode(0o600)).expect("the file is ours");
        let error = read_private(&public, None).expect_err("it is the public half");
        assert_eq!(shown(error), "cannot use `DIR/farm.pub` as a key | expected a private key, found a public key");
        // A file that is not a key need not be hidden.
        let manifest = write("isomer.toml", b"[release]\n");
        std::fs::set_permissions(&manifest, Permissions::from_mode(0o644)).expect("the file is ours");
        let error = read_private(&manifest, None).expect_err("it is no key");
        assert_eq!(
            shown(error),
            "cannot use `DIR/isomer.toml` as a key | expected a key in PEM: it has no line `-----BEGIN …-----`"
        );
    }
}
