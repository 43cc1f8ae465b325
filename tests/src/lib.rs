//! The harness of the end-to-end tests: finds the two binaries, runs them as a person would, and shows their output
//! with everything that changes between runs replaced by a word.

pub mod foreign;
pub mod guests;
pub mod matrix;
pub mod proof;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread;

/// The root of the checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lie in the workspace")
}

/// The checked-in guest of that name.
pub fn guest(name: &str) -> PathBuf {
    root().join("tests/guests").join(format!("{name}.wasm"))
}

/// Where cargo puts a program of the workspace.
fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test is a file");
    // target/debug/deps/TEST
    let directory = test.parent().and_then(Path::parent).expect("cargo puts tests into deps");
    directory.join(name)
}

/// One of the two binaries, as `cargo xtask test` built it.
fn built(name: &str) -> PathBuf {
    let path = binary(name);
    assert!(
        path.is_file(),
        "{} is not built: run `cargo xtask test`, or build it with `cargo build -p`",
        path.display()
    );
    path
}

/// A call of one of the binaries.
pub struct Call {
    command: Command,
    stdin: Vec<u8>,
}

/// `isomer`
pub fn isomer() -> Call {
    Call::new(built("isomer"))
}

/// `isomer-run`
pub fn isomer_run() -> Call {
    Call::new(built("isomer-run"))
}

/// Some other program, in the same environment.
pub fn program(path: impl AsRef<OsStr>) -> Call {
    Call::new(path)
}

impl Call {
    fn new(program: impl AsRef<OsStr>) -> Call {
        let mut command = Command::new(program);
        for name in
            ["NO_COLOR", "CLICOLOR_FORCE", "ISOMER_LOG", "RUST_LOG", "RUST_BACKTRACE", "WASMTIME_BACKTRACE_DETAILS"]
        {
            command.env_remove(name);
        }
        Call { command, stdin: Vec::new() }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Call {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Call {
        self.command.args(args);
        self
    }

    /// Adds the words of `line` as arguments.
    pub fn line(self, line: &str) -> Call {
        self.args(line.split_whitespace())
    }

    /// Sets a variable of the environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Call {
        self.command.env(name, value);
        self
    }

    /// Runs in this directory.
    pub fn dir(mut self, directory: &Path) -> Call {
        self.command.current_dir(directory);
        self
    }

    /// Gives it this standard input.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Call {
        self.stdin = bytes.into();
        self
    }

    /// Runs it to its end.
    pub fn run(mut self) -> Ran {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", self.command));
        let mut stdin = child.stdin.take().expect("it was piped");
        let bytes = self.stdin;
        // A program may end without reading: that is its business.
        let writer = thread::spawn(move || drop(stdin.write_all(&bytes)));
        let output = child.wait_with_output().expect("the program can be waited for");
        writer.join().expect("writing does not panic");
        Ran { command: format!("{:?}", self.command), output }
    }

    /// Runs it and takes its success for granted.
    #[track_caller]
    pub fn ok(self) -> Ran {
        let ran = self.run();
        assert!(ran.output.status.success(), "{ran}");
        ran
    }

    /// Runs it and takes for granted that it fails with an exit code, not a signal.
    #[track_caller]
    pub fn fails(self) -> Ran {
        let ran = self.run();
        assert!(ran.output.status.code().is_some_and(|code| code != 0), "{ran}");
        ran
    }
}

/// A call that has ended.
pub struct Ran {
    command: String,
    /// What it left behind.
    pub output: Output,
}

impl Ran {
    /// Its standard output as text.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    /// Its standard error as text.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// Its exit code as a shell would show it.
    pub fn code(&self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        let status = self.output.status;
        status.code().or_else(|| status.signal().map(|signal| 128 + signal)).expect("it has ended")
    }

    /// Its standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.output.stdout).unwrap_or_else(|error| panic!("{error}\n{self}"))
    }

    /// Exit code and output as a snapshot holds them, with `directory` shown as `[DIR]`.
    pub fn shown(&self, directory: &Path) -> String {
        let mut text = format!("exit: {}\n", self.code());
        for (name, stream) in [("stdout", self.stdout()), ("stderr", self.stderr())] {
            if !stream.is_empty() {
                text += &format!("----- {name}\n{stream}");
            }
        }
        text.replace(&directory.display().to_string(), "[DIR]")
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.command, self.shown(Path::new("/nowhere")))
    }
}

/// Says that a test cannot run here, where `cargo xtask test` counts it.
pub fn skip(test: &str, reason: &str) {
    println!("skipped: {reason}");
    let Some(log) = std::env::var_os("ISOMER_SKIP_LOG") else { return };
    let file = fs::OpenOptions::new().append(true).create(true).open(log);
    // One short write, so that lines of tests that run at once do not mix.
    file.and_then(|mut file| file.write_all(format!("{test}: {reason}\n").as_bytes())).expect("the log can be written");
}

/// Whether a program is on PATH.
pub fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(name).is_file())
}

/// Upstream's `wasmtime`, where it could be installed.
pub fn upstream() -> Option<PathBuf> {
    std::env::var_os("ISOMER_UPSTREAM_WASMTIME").map(PathBuf::from)
}

/// A directory for one test, removed with it.
pub fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("isomer-test-").tempdir().expect("there is room for a directory")
}

/// The example release for all targets: made once for all tests of a binary.
pub fn examples() -> &'static Path {
    static EXAMPLES: OnceLock<tempfile::TempDir> = OnceLock::new();
    EXAMPLES
        .get_or_init(|| {
            let directory = scratch();
            release_examples(directory.path());
            directory
        })
        .path()
}

/// Makes the example release in `directory`.
#[track_caller]
pub fn release_examples(directory: &Path) -> Ran {
    isomer().arg("release").arg("-f").arg(root().join("isomer.toml")).arg("-o").arg(directory).ok()
}

/// This machine's own host file.
pub fn host() -> serde_json::Value {
    isomer_run().line("host --json").ok().json()
}

/// The content of every file below `directory`, by its path there.
pub fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut left = vec![directory.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                found.insert(path.strip_prefix(directory).unwrap().to_owned(), fs::read(path).unwrap());
            }
        }
    }
    found
}

/// How snapshots of what a person sees are stored; tests add what else differs from run to run.
pub fn snapshot_settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.add_filter(r"sha256:[0-9a-f]{64}", "[DIGEST]");
    settings
}
