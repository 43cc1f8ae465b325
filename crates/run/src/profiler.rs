//! Which function is where, for profilers. In: which profiler. Out: the file that wasmtime tells it that in, new and this
//! user's. Never here: what wasmtime writes to it.
//!
//! wasmtime opens that file by a name that anyone can guess, in a directory that may be every user's, follows links and
//! appends to what it finds. A link that another user put there in time would lead to any file of this user's.

use isomer_contract::Hinted;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, openat, statat, unlinkat};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use wasmtime::ProfilingStrategy;

/// Whether a profiler is told which function is where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Profiler {
    /// None is. One that reads symbols finds them in an artifact that is mapped from a store.
    #[default]
    None,
    /// `perf` is, by a file `/tmp/perf-PID.map`. It looks there only for code that no file is behind, so the artifact is
    /// copied once more, which takes as much memory again.
    PerfMap,
    /// `perf inject --jit` is, by a file `jit-PID.dump` in the current directory.
    JitDump,
}

/// Why a profiler cannot be told anything.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfilerError {
    /// The system refuses.
    #[error("cannot create `{}`", .path.display())]
    Create {
        /// The profiler's file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Something has its name that is not this user's to replace.
    #[error("`{}` is {found} of the user {user}; expected no file, or one of this user", .path.display())]
    Foreign {
        /// The profiler's file.
        path: PathBuf,
        /// What it is: `a file`, `a symbolic link`.
        found: &'static str,
        /// Its owner.
        user: u32,
    },
    /// Another user can exchange whatever is created there.
    #[error("cannot create `{}` safely: {reason}", .path.display())]
    Directory {
        /// The profiler's file.
        path: PathBuf,
        /// Who can exchange it.
        reason: String,
    },
    /// wasmtime cannot use the file.
    #[error("cannot map `{}`", .path.display())]
    Map {
        /// The profiler's file.
        path: PathBuf,
        /// Its reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// wasmtime has no such profiler for this machine.
    #[error("wasmtime writes no jitdump on {}", std::env::consts::ARCH)]
    Unsupported,
}

impl Hinted for ProfilerError {
    fn hint(&self) -> Option<String> {
        let is_map = |path: &Path| path.starts_with(MAPS);
        Some(match self {
            ProfilerError::Create { path, .. } if is_map(path) => {
                format!("`perf` looks for maps in `{MAPS}` alone: make that writable, or write a jitdump instead")
            }
            ProfilerError::Create { .. } => "work in a directory that this user can write".to_owned(),
            ProfilerError::Foreign { path, .. } => {
                format!("that user put it there, perhaps to have another file changed: remove `{}`", path.display())
            }
            ProfilerError::Directory { path, .. } if is_map(path) => {
                format!("`chmod 1777 {MAPS}` and `chown root {MAPS}`, or write a jitdump instead")
            }
            ProfilerError::Directory { .. } => "work in a directory that only this user can write".to_owned(),
            ProfilerError::Map { .. } => {
                "work on a file system that is not mounted noexec, where memory may be executable".to_owned()
            }
            ProfilerError::Unsupported => "write a map for `perf` instead".to_owned(),
        })
    }
}

/// The only directory in which `perf` looks for maps.
const MAPS: &str = "/tmp";

/// Processes write one file for each profiler, whatever the number of engines: those that exist already.
static CREATED: Mutex<Vec<Profiler>> = Mutex::new(Vec::new());

impl Profiler {
    /// What wasmtime calls it.
    pub(crate) fn strategy(self) -> ProfilingStrategy {
        match self {
            Profiler::None => ProfilingStrategy::None,
            Profiler::PerfMap => ProfilingStrategy::PerfMap,
            Profiler::JitDump => ProfilingStrategy::JitDump,
        }
    }

    /// Creates the file that wasmtime appends to, once in a process.
    pub(crate) fn create_file(self) -> Result<(), ProfilerError> {
        let Some((directory, name)) = self.file() else { return Ok(()) };
        if self == Profiler::JitDump && cfg!(target_arch = "riscv64") {
            return Err(ProfilerError::Unsupported);
        }
        let mut created = CREATED.lock().unwrap_or_else(PoisonError::into_inner);
        if !created.contains(&self) {
            create(Path::new(directory), &name)?;
            created.push(self);
        }
        Ok(())
    }

    /// An error of wasmtime's about that file.
    pub(crate) fn map_error(self, source: Box<dyn std::error::Error + Send + Sync>) -> ProfilerError {
        let (directory, name) = self.file().unwrap_or_default();
        ProfilerError::Map { path: Path::new(directory).join(name), source }
    }

    fn file(self) -> Option<(&'static str, String)> {
        let process = std::process::id();
        match self {
            Profiler::None => None,
            Profiler::PerfMap => Some((MAPS, format!("perf-{process}.map"))),
            Profiler::JitDump => Some((".", format!("jit-{process}.dump"))),
        }
    }
}

/// Creates an empty file `name` in `directory`, which no other user can exchange until wasmtime opens it by its path.
fn create(directory: &Path, name: &str) -> Result<(), ProfilerError> {
    let path = directory.join(name);
    let failed = |error: Errno| ProfilerError::Create { path: path.clone(), source: error.into() };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(CWD, directory, flags, Mode::empty()).map_err(failed)?;
    if let Some(reason) = exchangeable(&fstat(&directory).map_err(failed)?) {
        return Err(ProfilerError::Directory { path, reason });
    }
    match statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        // Of an earlier process that had this one's number.
        Ok(found) if found.st_uid == geteuid().as_raw() => {
            unlinkat(&directory, name, AtFlags::empty()).map_err(failed)?;
        }
        Ok(found) => return Err(ProfilerError::Foreign { path, found: kind(&found), user: found.st_uid }),
        Err(Errno::NOENT) => {}
        Err(error) => return Err(failed(error)),
    }
    // What another user puts there meanwhile is not opened.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
    openat(&directory, name, flags, mode).map(drop).map_err(failed)
}

/// Who but this user and root can exchange files in a directory, if any user can.
fn exchangeable(directory: &Stat) -> Option<String> {
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    let mode = directory.st_mode & 0o7777;
    if directory.st_uid != 0 && directory.st_uid != user {
        return Some(format!("its directory belongs to the user {}", directory.st_uid));
    }
    // Others cannot rename or remove what is this user's.
    if mode & 0o1000 != 0 {
        return None;
    }
    if mode & 0o002 != 0 {
        return Some(format!("every user can write its directory (mode {mode:04o})"));
    }
    // A group of the user's own number is, by convention, that user's alone.
    let is_private = directory.st_gid == group && group == user;
    (mode & 0o020 != 0 && !is_private).then(|| format!("a group can write its directory (mode {mode:04o})"))
}

fn kind(stat: &Stat) -> &'static str {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => "a file",
        FileType::Symlink => "a symbolic link",
        FileType::Directory => "a directory",
        _ => "a device, pipe or socket",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn the_file_is_new_and_this_user_s() {
        let directory = tempfile::tempdir().expect("there is room");
        let file = directory.path().join("file");
        fs::write(directory.path().join("other"), "other").expect("there is room");
        for stale in [true, false] {
            if stale {
                fs::write(&file, "stale").expect("there is room");
            } else {
                fs::remove_file(&file).expect("it exists");
                symlink("other", &file).expect("there is room");
            }
            create(directory.path(), "file").expect("it is this user's directory");
            assert!(!file.is_symlink() && fs::read(&file).expect("it exists").is_empty());
        }
        assert_eq!(fs::read(directory.path().join("other")).expect("it exists"), b"other");
        for (mode, safe) in [(0o1777, true), (0o700, true), (0o777, false), (0o702, false)] {
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).expect("it is this user's");
            let created = create(directory.path(), "file");
            assert!(created.is_ok() == safe, "{mode:o}: {created:?}");
            assert!(safe || matches!(created, Err(ProfilerError::Directory { .. })), "{created:?}");
        }
    }
}
