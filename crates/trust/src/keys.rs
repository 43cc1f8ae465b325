//! In: paths. Out: keys and policies, or files that hold keys. The only file of this crate that touches a disk.
//!
//! A private key's file is its owner's alone (0600), and never replaces another. One that others may read is refused:
//! who could read it may have signed with it.

use crate::key::{KeyError, PublicKey, SigningKey, is_private};
use crate::policy::{Policy, PolicyError, PolicyProblem};
use isomer_contract::Hinted;
use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The largest key file that is read. An RSA key of 16384 bits, which is refused by its name, has 13 KiB.
pub const KEY_SIZE_BYTES_MAX: u64 = 64 << 10;
/// The largest policy that is read.
pub const POLICY_SIZE_BYTES_MAX: u64 = 1 << 20;

/// Why a key's file was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file is not the key that was asked for.
    #[error("`{}` {error}", .path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: KeyError,
    },
    /// A private key that others than its owner can reach.
    #[error("`{}` has the mode {mode:04o}, expected 0600: others may read or change this private key", .path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// No file of a key's size, or no file.
    #[error("`{}` is {found}, expected a file of at most {limit_bytes} bytes", .path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What is there.
        found: String,
        /// The limit.
        limit_bytes: u64,
    },
    /// There is a file already, which may be somebody's only key.
    #[error("`{}` exists, and a key is never written over another file", .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("can't {action} `{}`: {source}", .path.display())]
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
                Some(format!("if nobody read it meanwhile, `chmod 600 {}`; else make another", path.display()))
            }
            KeyFileError::Exists { .. } => Some("choose another name, or move the file away".to_owned()),
            KeyFileError::Io { action: "read", source, .. } if source.kind() == io::ErrorKind::NotFound => Some(
                "is the path right? `isomer keygen` makes keys; `isomer-run verify --help` shows a policy".to_owned(),
            ),
            KeyFileError::NotAFile { .. } | KeyFileError::Io { .. } => None,
        }
    }
}

/// Writes a private key and its public half, both or neither.
///
/// # Errors
/// When one of the files exists or can't be written, or the passphrase is empty.
pub fn write_pair(
    private: &Path,
    public: &Path,
    key: &SigningKey,
    passphrase: Option<&str>,
) -> Result<(), KeyFileError> {
    let pem = key.to_pem(passphrase).map_err(|error| KeyFileError::Key { path: private.to_owned(), error })?;
    write_new(public, key.public_key().to_pem().as_bytes(), 0o644)?;
    write_new(private, pem.as_bytes(), 0o600).inspect_err(|_| {
        // It was made above, and says nothing that the error does not.
        let _ = std::fs::remove_file(public);
    })
}

/// Reads a private key.
///
/// # Errors
/// When its file can't be read, can be read by others, or is no private key that the passphrase opens.
pub fn read_private(path: &Path, passphrase: Option<&str>) -> Result<SigningKey, KeyFileError> {
    let file = open(path, KEY_SIZE_BYTES_MAX)?;
    let mode = file.metadata().map_err(io_error("read", path))?.permissions().mode() & 0o7777;
    let text = zeroize::Zeroizing::new(read(file, path, KEY_SIZE_BYTES_MAX)?);
    let text = text_of_key(path, &text)?;
    // What is no private key may be read by all, and is not what was asked for.
    if mode & 0o077 != 0 && is_private(text) {
        return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
    }
    SigningKey::from_pem(text, passphrase).map_err(|error| KeyFileError::Key { path: path.to_owned(), error })
}

/// Reads a public key.
///
/// # Errors
/// When its file can't be read, or is no public key.
pub fn read_public(path: &Path) -> Result<PublicKey, KeyFileError> {
    let bytes = read(open(path, KEY_SIZE_BYTES_MAX)?, path, KEY_SIZE_BYTES_MAX)?;
    let text = text_of_key(path, &bytes)?;
    PublicKey::from_pem(text).map_err(|error| KeyFileError::Key { path: path.to_owned(), error })
}

/// Reads a policy, and the keys whose files it names relative to its own.
///
/// # Errors
/// When a file can't be read, or does not say what a policy says.
pub fn read_policy(path: &Path) -> Result<Policy, PolicyError> {
    let directory = path.parent().unwrap_or(Path::new(""));
    let shown = path.display().to_string();
    let fail = |problem| PolicyError { path: shown.clone(), line: None, problem };
    let bytes = open(path, POLICY_SIZE_BYTES_MAX).and_then(|file| read(file, path, POLICY_SIZE_BYTES_MAX));
    let bytes = bytes.map_err(|error| fail(PolicyProblem::Unreadable(error)))?;
    let text = String::from_utf8(bytes).map_err(|error| fail(PolicyProblem::Toml(error.to_string())))?;
    Policy::parse(&shown, &text, |file| read_public(&directory.join(file)))
}

fn open(path: &Path, limit_bytes: u64) -> Result<File, KeyFileError> {
    // Before it is opened: opening a pipe waits for its writer.
    let metadata = std::fs::metadata(path).map_err(io_error("read", path))?;
    let not_a_file = |found| KeyFileError::NotAFile { path: path.to_owned(), found, limit_bytes };
    if metadata.is_dir() {
        return Err(not_a_file("a directory".to_owned()));
    }
    if !metadata.is_file() {
        return Err(not_a_file("a device, pipe or socket".to_owned()));
    }
    File::open(path).map_err(io_error("read", path))
}

fn read(file: File, path: &Path, limit_bytes: u64) -> Result<Vec<u8>, KeyFileError> {
    let mut bytes = Vec::new();
    file.take(limit_bytes + 1).read_to_end(&mut bytes).map_err(io_error("read", path))?;
    if bytes.len() as u64 > limit_bytes {
        return Err(KeyFileError::NotAFile { path: path.to_owned(), found: "larger".to_owned(), limit_bytes });
    }
    Ok(bytes)
}

fn text_of_key<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str, KeyFileError> {
    std::str::from_utf8(bytes).map_err(|_| {
        let error = KeyError::NotPem { reason: "it holds bytes that are no text".to_owned() };
        KeyFileError::Key { path: path.to_owned(), error }
    })
}

/// Writes a file where none is: nobody sees half of it, and whoever comes second is refused.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), KeyFileError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let fail = io_error("write", path);
    // Temporary files are made with O_EXCL and 0600.
    let mut file = tempfile::Builder::new().prefix(".isomer-key-").tempfile_in(directory).map_err(fail)?;
    let written = file.write_all(bytes).and_then(|()| file.as_file().set_permissions(Permissions::from_mode(mode)));
    written.and_then(|()| file.as_file().sync_all()).map_err(io_error("write", path))?;
    file.persist_noclobber(path).map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => KeyFileError::Exists { path: path.to_owned() },
        _ => io_error("write", path)(error.error),
    })?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(io_error("write", path))
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyFileError {
    move |source| KeyFileError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Algorithm;

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
    fn a_private_key_that_others_can_reach_is_refused() {
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
    fn what_is_no_key_file_says_so() {
        let directory = scratch();
        let (private, public) = pair(directory.path());
        write_pair(&private, &public, &generate(), None).expect("the directory is empty");
        let write = |name: &str, bytes: &[u8]| {
            write_new(&directory.path().join(name), bytes, 0o600).expect("the name is new");
            directory.path().join(name)
        };
        let large = write("large", &[b'-'; KEY_SIZE_BYTES_MAX as usize + 1]);
        let binary = write("binary", b"\xff\xfe");
        let shown = |error: KeyFileError| error.to_string().replace(&directory.path().display().to_string(), "DIR");
        for (path, expected) in [
            (private.as_path(), "`DIR/farm.key` is a private key, expected a public key"),
            (directory.path(), "`DIR` is a directory, expected a file of at most 65536 bytes"),
            (Path::new("/dev/null"), "`/dev/null` is a device, pipe or socket, expected a file of at most 65536 bytes"),
            (&large, "`DIR/large` is larger, expected a file of at most 65536 bytes"),
            (&binary, "`DIR/binary` is no key in PEM: it holds bytes that are no text"),
            (&directory.path().join("none"), "can't read `DIR/none`: No such file or directory (os error 2)"),
        ] {
            assert_eq!(shown(read_public(path).expect_err("it is no public key")), expected);
        }
        std::fs::set_permissions(&public, Permissions::from_mode(0o600)).expect("the file is ours");
        let error = read_private(&public, None).expect_err("it is the public half");
        assert_eq!(shown(error), "`DIR/farm.pub` is a public key, expected a private key");
        // What is no key at all is not to be hidden.
        let manifest = write("isomer.toml", b"[release]\n");
        std::fs::set_permissions(&manifest, Permissions::from_mode(0o644)).expect("the file is ours");
        let error = read_private(&manifest, None).expect_err("it is no key");
        assert_eq!(shown(error), "`DIR/isomer.toml` is no key in PEM: it has no line `-----BEGIN …-----`");
    }

    #[test]
    fn a_policy_names_its_keys_relative_to_itself() {
        let directory = scratch();
        let (private, public) = pair(directory.path());
        let key = generate();
        write_pair(&private, &public, &key, None).expect("the directory is empty");
        let path = directory.path().join("trust.toml");
        std::fs::write(&path, "[[key]]\nname = \"farm\"\nfile = \"farm.pub\"\n").expect("the directory is ours");
        let policy = read_policy(&path).expect("it is right");
        assert_eq!(policy.keys[0].key, key.public_key());
        std::fs::write(&path, "[[key]]\nname = \"farm\"\nfile = \"farm.key\"\n").expect("the directory is ours");
        let error = read_policy(&path).expect_err("it names the private half").to_string();
        assert!(
            error.contains("trust.toml:3: ") && error.ends_with("is a private key, expected a public key"),
            "{error}"
        );
        std::fs::write(&path, b"\xff").expect("the directory is ours");
        let shown = |path: &Path| {
            let error = read_policy(path).expect_err("it is no policy").to_string();
            error.replace(&directory.path().display().to_string(), "DIR")
        };
        assert_eq!(shown(&path), "DIR/trust.toml: invalid utf-8 sequence of 1 bytes from index 0");
        assert_eq!(shown(&directory.path().join("x")), "can't read `DIR/x`: No such file or directory (os error 2)");
    }
}
