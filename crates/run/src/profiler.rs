//! Which function is where, for profilers. In: which profiler. Out: the file that wasmtime tells it that in, new and this
//! user's. Never here: what wasmtime writes to it.
//!
//! wasmtime opens that file by a name that anyone can guess, in a directory that may be every user's, follows links and
//! appends to what it finds. A link that another user put there in time would lead to any file of this user's.

use isomer_contract::Hinted;
use isomer_file::directory::{Directory, is_own};
use rustix::fs::{FileType, Stat, stat};
use rustix::process::{getegid, geteuid};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use wasmtime::ProfilingStrategy;

/// Which profiler learns the addresses of a guest's functions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Profiler {
    /// None. A profiler that reads symbols finds them in an artifact that is mapped from a store.
    #[default]
    None,
    /// `perf`, from the file `/tmp/perf-PID.map`. It looks there only for code that is not mapped from a file, so the
    /// artifact is copied once more, which takes as much memory again.
    PerfMap,
    /// `perf inject --jit`, from the file `jit-PID.dump` in the current directory.
    JitDump,
}

/// Why there is no file for the profiler.
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
    /// Its name is taken by something of another user's.
    #[error("`{}` is {found} of the user {user}; expected no file, or one of this user", .path.display())]
    Foreign {
        /// The profiler's file.
        path: PathBuf,
        /// What it is: `a file`, `a symbolic link`.
        found: &'static str,
        /// Its owner.
        user: u32,
    },
    /// Another user can replace what is created there.
    #[error("cannot create `{}` safely: {reason}", .path.display())]
    Directory {
        /// The profiler's file.
        path: PathBuf,
        /// Which directory allows that: its own, or one above.
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
    let failed = |source: io::Error| ProfilerError::Create { path: path.clone(), source };
    // As for all that is written: no link of another user leads there.
    let opened = Directory::open(directory).map_err(failed)?;
    let reason = match exchangeable("its directory", &opened.stat().map_err(failed)?) {
        Some(reason) => Some(reason),
        None => exchangeable_above(directory).map_err(failed)?,
    };
    if let Some(reason) = reason {
        return Err(ProfilerError::Directory { path, reason });
    }
    match opened.stat_of(name).map_err(failed)? {
        // Of an earlier process that had this one's number.
        Some(found) if found.st_uid == geteuid().as_raw() => opened.remove_file(name).map_err(failed)?,
        Some(found) => return Err(ProfilerError::Foreign { path, found: kind(&found), user: found.st_uid }),
        None => {}
    }
    // What another user puts there meanwhile is not opened.
    opened.new_file(".isomer-", 0o644).and_then(|file| file.rename_new(&opened, name)).map_err(failed)
}

/// Why another user can make the path of a directory lead elsewhere, by a directory above it. The current directory
/// stays the same one, whatever its path becomes.
fn exchangeable_above(directory: &Path) -> io::Result<Option<String>> {
    if !directory.is_absolute() {
        return Ok(None);
    }
    let real = directory.canonicalize()?;
    for above in real.ancestors().skip(1) {
        let reason = exchangeable(&format!("`{}`", above.display()), &stat(above)?);
        if reason.is_some() {
            return Ok(reason);
        }
    }
    Ok(None)
}

/// Who but this user and root can exchange files in the directory that is called `name`, if any user can.
fn exchangeable(name: &str, directory: &Stat) -> Option<String> {
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    let mode = directory.st_mode & 0o7777;
    if !is_own(directory.st_uid) {
        return Some(format!("{name} belongs to the user {}", directory.st_uid));
    }
    // Others cannot rename or remove what is this user's.
    if mode & 0o1000 != 0 {
        return None;
    }
    if mode & 0o002 != 0 {
        return Some(format!("every user can write {name} (mode {mode:04o})"));
    }
    // A group of the user's own number is, by convention, that user's alone.
    let is_private = directory.st_gid == group && group == user;
    (mode & 0o020 != 0 && !is_private).then(|| format!("a group can write {name} (mode {mode:04o})"))
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

    #[test]
    fn every_directory_above_is_this_user_s_or_root_s_too() {
        let directory = tempfile::tempdir().expect("there is room");
        let (above, link) = (directory.path().join("above"), directory.path().join("link"));
        fs::create_dir_all(above.join("in")).expect("there is room");
        symlink(above.join("in"), &link).expect("there is room");
        for (mode, safe) in [(0o755, true), (0o777, false), (0o1777, true)] {
            fs::set_permissions(&above, fs::Permissions::from_mode(mode)).expect("it is this user's");
            for way in [&link, &above.join("in")] {
                let created = create(way, "file");
                assert!(created.is_ok() == safe, "{mode:o}: {created:?}");
                let Err(error) = created else { continue };
                assert!(error.to_string().contains("every user can write `/"), "{error}");
            }
        }
    }
}
