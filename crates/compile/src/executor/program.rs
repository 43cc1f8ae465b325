//! Which program a worker process runs. In: arguments. Out: a command that starts this very program.
//!
//! `/proc/self/exe` is the file that this process runs, also after an upgrade has replaced the file at its path. Where
//! `/proc` is not mounted, the path is the one that the kernel started this process from (`AT_EXECFN` of getauxval(3)).
//! `argv[0]` is never used: it is whatever the caller wrote there, and `PATH` may lead to another program.

use std::ffi::{CStr, OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The link to the file that this process runs.
const PROC_SELF_EXE: &str = "/proc/self/exe";

/// A program whose processes are workers: they call [`serve`](super::serve) and do nothing else.
#[derive(Clone, Debug)]
pub struct WorkerProgram {
    path: PathBuf,
    /// `argv[0]`, for process lists.
    name: OsString,
    arguments: Vec<OsString>,
}

impl WorkerProgram {
    /// The program at `path`, called with `arguments`. It must be of the same build as this one.
    pub fn new(path: PathBuf, arguments: Vec<OsString>) -> WorkerProgram {
        WorkerProgram { name: path.clone().into(), path, arguments }
    }

    /// This very program, called with `arguments`; process lists show it as `name`. To be called early: without `/proc`, a
    /// relative path is resolved against the current directory.
    pub fn current(name: &str, arguments: Vec<OsString>) -> WorkerProgram {
        let program = WorkerProgram::new(current_program(), arguments);
        WorkerProgram { name: name.into(), ..program }
    }

    /// Where the program is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A command that starts it.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.arg0(&self.name).args(&self.arguments);
        command
    }

    /// Why a process of it cannot be started.
    pub(super) fn cannot_start(&self, error: &std::io::Error) -> String {
        let reason = format!("`{}`: {error}", self.path.display());
        if has_proc() { reason } else { format!("{reason}; /proc is not mounted") }
    }
}

fn has_proc() -> bool {
    Path::new(PROC_SELF_EXE).symlink_metadata().is_ok()
}

fn current_program() -> PathBuf {
    if has_proc() {
        return PathBuf::from(PROC_SELF_EXE);
    }
    let path = executed_path().map_or_else(|| PathBuf::from(PROC_SELF_EXE), PathBuf::from);
    std::path::absolute(&path).unwrap_or(path)
}

/// The path that was given to execve(2).
#[allow(unsafe_code)]
fn executed_path() -> Option<OsString> {
    // SAFETY: getauxval(3) reads a table that the kernel made for this process. Its entry AT_EXECFN, where it is not 0,
    // is the address of a string that ends in NUL and lives as long as the process.
    let path = unsafe {
        match libc::getauxval(libc::AT_EXECFN) {
            0 => return None,
            address => CStr::from_ptr(address as *const libc::c_char),
        }
    };
    Some(OsStr::from_bytes(path.to_bytes()).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executed_path_is_this_program() {
        let executed = std::path::absolute(executed_path().unwrap()).unwrap();
        assert_eq!(executed.canonicalize().unwrap(), std::env::current_exe().unwrap());
        assert_eq!(current_program(), Path::new(PROC_SELF_EXE));
    }
}
