//! The one way to open a file that a user named.
//!
//! ```
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("isomer.toml");
//! # std::fs::write(&path, "[release]")?;
//! let text = isomer_file::read_text(&path, 1 << 20)?;
//! assert_eq!(text, "[release]");
//! let error = isomer_file::read("/dev/zero".as_ref(), 1 << 20).unwrap_err();
//! assert_eq!(error.to_string(), "`/dev/zero` is a device; expected a regular file");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! In: a path, and the most bytes that it may have. Out: its bytes, or a file that is open. Never here: a wait for another
//! process to open a pipe, a read without a bound, a device, what the bytes mean.
//!
//! A path may name anything: a FIFO that no process writes to, `/dev/zero`, a sparse file of terabytes, a link to one of
//! them. The file is opened without waiting (`O_NONBLOCK`), judged by its descriptor, and read up to a limit that also
//! holds for a file that grows meanwhile. Symbolic links are followed: a user may name them.
//!
//! A file of megabytes is read only if the control groups of this process leave the memory for it: the kernel would end the
//! process without a word.
//!
//! [`read`] and [`open`] take regular files alone. [`read_or_pipe`] also takes a pipe, for short documents that another
//! program writes: `--passphrase-file <(pass show farm)`.

#![warn(clippy::missing_errors_doc)]
#![cfg_attr(
    not(test),
    deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::print_stderr, clippy::print_stdout)
)]

pub mod directory;
pub mod memory;
pub mod system;

use isomer_contract::Hinted;
use rustix::fs::{CWD, FileType, Mode, OFlags, fcntl_getfl, fcntl_setfl, fstat, openat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The system refuses.
    #[error("cannot read `{}`", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// It is not a regular file.
    #[error("`{}` is {found}; expected a regular file", .path.display())]
    NotRegular {
        /// The file.
        path: PathBuf,
        /// What it is: `a directory`, `a device`, `a pipe`, `a socket`.
        found: &'static str,
    },
    /// It is larger than the caller allows.
    #[error("`{}` has {} bytes; expected at most {limit_bytes}", .path.display(), show(*.size_bytes, *.limit_bytes))]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size when it was opened; none for a pipe, or a file that grew.
        size_bytes: Option<u64>,
        /// The limit.
        limit_bytes: u64,
    },
    /// A control group would end this process before all of it is read.
    #[error(
        "`{}` has {} MiB, and a control group leaves this process {} MiB of memory",
        .path.display(), .size_bytes >> 20, .available_bytes >> 20
    )]
    Memory {
        /// The file.
        path: PathBuf,
        /// Its size.
        size_bytes: u64,
        /// What the group leaves.
        available_bytes: u64,
        /// The same, as [`memory::refusal`].
        source: io::Error,
    },
    /// It is not UTF-8.
    #[error("`{}` is not text: the byte at offset {offset} is not valid UTF-8", .path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The first byte that is not text.
        offset: usize,
    },
}

fn show(size_bytes: Option<u64>, limit_bytes: u64) -> String {
    size_bytes.map_or_else(|| format!("more than {limit_bytes}"), |size| size.to_string())
}

impl FileError {
    /// Whether there is no file of that name.
    pub fn is_missing(&self) -> bool {
        matches!(self, FileError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

impl Hinted for FileError {
    fn hint(&self) -> Option<String> {
        match self {
            FileError::NotRegular { found: PIPE | DEVICE, .. } => {
                Some("write its contents to a file, and name that file".to_owned())
            }
            FileError::TooLarge { .. } => Some("check that it is the right file".to_owned()),
            FileError::Memory { .. } => Some(MEMORY_HINT.to_owned()),
            _ => None,
        }
    }
}

const MEMORY_HINT: &str = "raise the group's limit (memory.max)";

/// A smaller file is not worth a look at the control groups.
const ASKED_FROM_BYTES: u64 = 2 << 20;

const PIPE: &str = "a pipe";
const DEVICE: &str = "a device";

/// A regular file, open for reading.
#[derive(Debug)]
pub struct Regular {
    path: PathBuf,
    file: File,
    size_bytes: u64,
}

impl Regular {
    /// Its size when it was opened.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Its first bytes, at most `count`, so that a file of another kind is refused before all of it is read.
    ///
    /// # Errors
    /// [`FileError::Io`].
    pub fn first_bytes(&self, count: usize) -> Result<Vec<u8>, FileError> {
        let mut bytes = vec![0; count];
        let mut filled = 0;
        while filled < count {
            match self.file.read_at(&mut bytes[filled..], filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(FileError::Io { path: self.path.clone(), source }),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// All of its bytes.
    ///
    /// # Errors
    /// [`FileError::TooLarge`] when there are more than `limit_bytes`, also when it grows while it is read;
    /// [`FileError::Memory`] when a control group does not leave as much memory.
    pub fn read(self, limit_bytes: u64) -> Result<Vec<u8>, FileError> {
        let Regular { path, file, size_bytes } = self;
        if size_bytes > limit_bytes {
            return Err(FileError::TooLarge { path, size_bytes: Some(size_bytes), limit_bytes });
        }
        if size_bytes >= ASKED_FROM_BYTES {
            check_memory(&path, size_bytes, memory::available_bytes())?;
        }
        read_bounded(file, size_bytes, &path, limit_bytes)
    }

    /// The file, to ask the system about it.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The file itself.
    pub fn into_file(self) -> File {
        self.file
    }
}

/// Opens the regular file at `path`, and waits for nothing.
///
/// # Errors
/// [`FileError::NotRegular`] for directories, devices, pipes and sockets, also behind a symbolic link.
pub fn open(path: &Path) -> Result<Regular, FileError> {
    let (file, size_bytes) = open_any(path)?;
    match size_bytes {
        Some(size_bytes) => Ok(Regular { path: path.to_owned(), file, size_bytes }),
        None => Err(FileError::NotRegular { path: path.to_owned(), found: PIPE }),
    }
}

/// The bytes of the regular file at `path`, if it has no more than `limit_bytes`.
///
/// # Errors
/// Those of [`open`] and [`Regular::read`].
pub fn read(path: &Path, limit_bytes: u64) -> Result<Vec<u8>, FileError> {
    open(path)?.read(limit_bytes)
}

/// The text of the regular file at `path`.
///
/// # Errors
/// Those of [`read`], and [`FileError::NotText`].
pub fn read_text(path: &Path, limit_bytes: u64) -> Result<String, FileError> {
    text(path, read(path, limit_bytes)?)
}

/// The bytes of a short document, which may also come through a pipe. The writer of a pipe is waited for; a pipe that no
/// process has opened for writing is empty.
///
/// # Errors
/// Those of [`read`], but for pipes.
pub fn read_or_pipe(path: &Path, limit_bytes: u64) -> Result<Vec<u8>, FileError> {
    match open_any(path)? {
        (file, Some(size_bytes)) => Regular { path: path.to_owned(), file, size_bytes }.read(limit_bytes),
        (file, None) => {
            wait_when_reading(&file).map_err(|source| FileError::Io { path: path.to_owned(), source })?;
            read_bounded(file, 0, path, limit_bytes)
        }
    }
}

/// The text of a short document, which may also come through a pipe.
///
/// # Errors
/// Those of [`read_or_pipe`], and [`FileError::NotText`].
pub fn read_text_or_pipe(path: &Path, limit_bytes: u64) -> Result<String, FileError> {
    text(path, read_or_pipe(path, limit_bytes)?)
}

/// Opens `path` without waiting. The size is none for a pipe; anything else that is not a regular file is refused.
fn open_any(path: &Path) -> Result<(File, Option<u64>), FileError> {
    let io = |error: Errno| FileError::Io { path: path.to_owned(), source: error.into() };
    let not_regular = |found| Err(FileError::NotRegular { path: path.to_owned(), found });
    // NOCTTY: a terminal that is named does not become this process's.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match openat(CWD, path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        // What a socket answers, and a device without a driver.
        Err(Errno::NXIO) => return not_regular("a socket or a device"),
        Err(error) => return Err(io(error)),
    };
    let found = fstat(&file).map_err(io)?;
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => Ok((file, Some(u64::try_from(found.st_size).unwrap_or(0)))),
        FileType::Fifo => Ok((file, None)),
        FileType::Directory => not_regular("a directory"),
        FileType::Socket => not_regular("a socket"),
        _ => not_regular(DEVICE),
    }
}

/// Makes reads of a pipe wait for bytes again.
fn wait_when_reading(pipe: &File) -> io::Result<()> {
    let flags = fcntl_getfl(pipe)?;
    Ok(fcntl_setfl(pipe, flags - OFlags::NONBLOCK)?)
}

/// Whether so many bytes may be read into memory of which the control groups leave so much.
fn check_memory(path: &Path, size_bytes: u64, available_bytes: Option<u64>) -> Result<(), FileError> {
    match available_bytes {
        Some(available_bytes) if available_bytes < size_bytes.saturating_add(memory::HEADROOM_BYTES) => {
            let left = format!("a control group leaves this process {} MiB of memory", available_bytes >> 20);
            let source = memory::refusal(left);
            Err(FileError::Memory { path: path.to_owned(), size_bytes, available_bytes, source })
        }
        _ => Ok(()),
    }
}

fn read_bounded(file: File, expected_bytes: u64, path: &Path, limit_bytes: u64) -> Result<Vec<u8>, FileError> {
    let io = |source| FileError::Io { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    // One more, so that the read that finds the end needs no larger buffer.
    let expected = usize::try_from(expected_bytes.saturating_add(1)).unwrap_or(usize::MAX);
    bytes.try_reserve_exact(expected).map_err(|_| io(io::ErrorKind::OutOfMemory.into()))?;
    file.take(limit_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > limit_bytes {
        return Err(FileError::TooLarge { path: path.to_owned(), size_bytes: None, limit_bytes });
    }
    Ok(bytes)
}

fn text(path: &Path, bytes: Vec<u8>) -> Result<String, FileError> {
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        FileError::NotText { path: path.to_owned(), offset }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::thread;

    fn fifo(path: &Path) {
        let made = std::process::Command::new("mkfifo").arg(path).status().expect("mkfifo runs");
        assert!(made.success());
    }

    #[test]
    fn only_regular_files_are_read_and_nothing_is_waited_for() {
        let directory = tempfile::tempdir().expect("there is room");
        let path = |name: &str| directory.path().join(name);
        fifo(&path("fifo"));
        let _socket = UnixListener::bind(path("socket")).expect("a socket");
        symlink("/dev/zero", path("zero")).expect("a link");
        symlink("fifo", path("link-to-fifo")).expect("a link");
        fs::create_dir(path("directory")).expect("a directory");
        for (name, found) in [
            ("fifo", "a pipe"),
            ("link-to-fifo", "a pipe"),
            ("zero", "a device"),
            ("socket", "a socket or a device"),
            ("directory", "a directory"),
        ] {
            let error = read(&path(name), u64::MAX).expect_err(name);
            let expected = format!("`{}` is {found}; expected a regular file", path(name).display());
            assert_eq!(error.to_string(), expected);
        }
        symlink("nothing", path("dangling")).expect("a link");
        assert!(read(&path("dangling"), 1).expect_err("there is nothing").is_missing());
        fs::write(path("file"), "text").expect("a file");
        symlink("file", path("link")).expect("a link");
        assert_eq!(read_text(&path("link"), 4).expect("a link to a file is one"), "text");
    }

    #[test]
    fn no_more_is_read_than_the_limit_says() {
        let directory = tempfile::tempdir().expect("there is room");
        let path = directory.path().join("sparse");
        File::create(&path).and_then(|file| file.set_len(4 << 30)).expect("a sparse file");
        let error = read(&path, 1 << 20).expect_err("it is too large");
        let shown = path.display();
        assert_eq!(error.to_string(), format!("`{shown}` has 4294967296 bytes; expected at most 1048576"));
        assert!(error.hint().is_some());
        // A file of the kernel's has no size, and is read up to the limit.
        let error = read("/proc/self/status".as_ref(), 10).expect_err("it is too large");
        assert_eq!(error.to_string(), "`/proc/self/status` has more than 10 bytes; expected at most 10");
        fs::write(&path, "1234").expect("a file");
        assert_eq!(read(&path, 4).expect("as many as allowed"), b"1234");
        assert!(matches!(read(&path, 3), Err(FileError::TooLarge { size_bytes: Some(4), .. })));
        assert_eq!(open(&path).and_then(|file| file.first_bytes(2)).expect("it has two"), b"12");
        assert_eq!(open(&path).and_then(|file| file.first_bytes(9)).expect("it has four"), b"1234");
        fs::write(&path, b"ab\xff").expect("a file");
        let error = read_text(&path, 3).expect_err("it is not text").to_string();
        assert_eq!(error, format!("`{shown}` is not text: the byte at offset 2 is not valid UTF-8"));
    }

    #[test]
    fn a_file_is_read_where_the_control_groups_leave_the_memory() {
        let check = |available_bytes| check_memory("m.wasm".as_ref(), 45 << 20, available_bytes);
        check(None).expect("there is no limit");
        check(Some(49 << 20)).expect("it is enough");
        let error = check(Some((49 << 20) - 1)).expect_err("it is too little");
        let expected = "`m.wasm` has 45 MiB, and a control group leaves this process 48 MiB of memory";
        assert_eq!((error.to_string().as_str(), error.hint().as_deref()), (expected, Some(MEMORY_HINT)));
    }

    #[test]
    fn a_short_document_may_come_through_a_pipe() {
        let directory = tempfile::tempdir().expect("there is room");
        let path = directory.path().join("fifo");
        fifo(&path);
        assert_eq!(read_or_pipe(&path, 8).expect("a pipe without a writer is empty"), b"");
        let (reader, mut writer) = io::pipe().expect("a pipe");
        let name = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
        let slow = thread::spawn(move || {
            for part in ["sec", "ret\n"] {
                thread::sleep(std::time::Duration::from_millis(50));
                io::Write::write_all(&mut writer, part.as_bytes()).expect("it is read");
            }
        });
        assert_eq!(read_text_or_pipe(name.as_ref(), 8).expect("it is waited for"), "secret\n");
        slow.join().expect("it does not panic");
        assert!(read_or_pipe("/dev/zero".as_ref(), 8).is_err());
    }
}
