//! `--cwd`, `--argv0`, `--stdin` and what else a guest has as a process. In: what was typed, or stands in a file. Out: the
//! guest's process. Never here: a file that is opened.

use isomer_guest::{Stream, Streams};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// What the guest has as a process.
#[derive(clap::Args, Clone, Debug, Default, Deserialize)]
#[command(next_help_heading = "The guest's process")]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ProcessOptions {
    /// The name that the guest has in its arguments, instead of the module's
    #[arg(long, value_name = "NAME")]
    pub(super) argv0: Option<String>,
    /// The current directory that guests of WASI 0.2 and later are told, a path in the guest
    #[arg(long, value_name = "PATH")]
    pub(super) cwd: Option<String>,
    /// Where standard input is from
    #[arg(long, value_name = "inherit|null|FILE")]
    stdin: Option<PathBuf>,
    /// Where standard output goes; a file is emptied first
    #[arg(long, value_name = "inherit|null|FILE")]
    stdout: Option<PathBuf>,
    /// Where standard error goes; a file is emptied first
    #[arg(long, value_name = "inherit|null|FILE")]
    stderr: Option<PathBuf>,
}

impl ProcessOptions {
    /// The keys in a file.
    pub(super) const KEYS: [&'static str; 5] = ["argv0", "cwd", "stdin", "stdout", "stderr"];

    /// With this current directory, unless another is stated.
    pub(super) fn with_cwd(self, cwd: Option<String>) -> ProcessOptions {
        ProcessOptions { cwd: self.cwd.or(cwd), ..self }
    }

    /// These where they are stated, else `other`'s.
    pub(super) fn or(self, other: ProcessOptions) -> ProcessOptions {
        ProcessOptions {
            argv0: self.argv0.or(other.argv0),
            cwd: self.cwd.or(other.cwd),
            stdin: self.stdin.or(other.stdin),
            stdout: self.stdout.or(other.stdout),
            stderr: self.stderr.or(other.stderr),
        }
    }

    /// Makes paths of a file that lies in `directory` relative to that.
    pub(super) fn resolve_paths(&mut self, directory: &Path) {
        for path in [&mut self.stdin, &mut self.stdout, &mut self.stderr].into_iter().flatten() {
            if !["inherit", "null"].iter().any(|word| path.as_os_str() == *word) {
                *path = directory.join(&path);
            }
        }
    }

    /// The standard streams.
    pub(super) fn streams(&self) -> Streams {
        let stream = |path: &Option<PathBuf>| match path {
            None => Stream::Inherit,
            Some(path) if path.as_os_str() == "inherit" => Stream::Inherit,
            Some(path) if path.as_os_str() == "null" => Stream::Null,
            Some(path) => Stream::File(path.clone()),
        };
        Streams { stdin: stream(&self.stdin), stdout: stream(&self.stdout), stderr: stream(&self.stderr) }
    }
}
