//! The harness of the end-to-end tests: finds the two binaries, runs them as a person would, and shows their output
//! with everything that changes between runs replaced by a word.

pub mod confined;
pub mod farm;
pub mod foreign;
pub mod forge;
pub mod frames;
pub mod guests;
pub mod idmap;
pub mod inherited;
pub mod matrix;
pub mod native;
pub mod proof;
pub mod served;
pub mod users;

pub use isomer_testing::{has_program, root, skip, wait_until};

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread;

/// The checked-in guest of that name.
pub fn guest(name: &str) -> PathBuf {
    root().join("tests/guests").join(format!("{name}.wasm"))
}

/// The directory with the two binaries, as `cargo xtask test` built them.
pub fn binaries() -> PathBuf {
    let test = std::env::current_exe().expect("a test is a file");
    // target/debug/deps/TEST
    test.parent().and_then(Path::parent).expect("cargo puts tests into deps").to_owned()
}

/// Where cargo puts a program of the workspace.
fn binary(name: &str) -> PathBuf {
    binaries().join(name)
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
    /// Empty, unless the test names another: what one test has compiled is nothing to the next.
    _cache: tempfile::TempDir,
}

/// `isomer`
pub fn isomer() -> Call {
    Call::new(built("isomer"))
}

/// `isomer-run`
pub fn isomer_run() -> Call {
    Call::new(built("isomer-run"))
}

/// An example of `isomer-runtime`.
pub fn example(name: &str) -> Call {
    Call::new(built(&format!("examples/{name}")))
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
        let cache = scratch();
        command.env("ISOMER_CACHE", cache.path());
        command.env("ISOMER_STATE", state());
        Call { command, stdin: Vec::new(), _cache: cache }
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
    pub fn run(self) -> Ran {
        self.start().wait()
    }

    /// Starts it.
    pub fn start(mut self) -> Running {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", self.command));
        let mut stdin = child.stdin.take().expect("it was piped");
        let bytes = self.stdin;
        // A program may end without reading: that is its business.
        let writer = thread::spawn(move || drop(stdin.write_all(&bytes)));
        Running { command: format!("{:?}", self.command), child, writer, _cache: self._cache }
    }

    /// Starts it, without input, its output discarded.
    pub fn start_unheard(mut self) -> Child {
        self.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", self.command))
    }

    /// Runs it and requires that it succeeds.
    #[track_caller]
    pub fn ok(self) -> Ran {
        let ran = self.run();
        assert!(ran.output.status.success(), "{ran}");
        ran
    }

    /// Runs it and requires that it fails with the exit code 1. A usage error has another, and so has a signal.
    #[track_caller]
    pub fn fails(self) -> Ran {
        let ran = self.run();
        assert_eq!(ran.code(), 1, "{ran}");
        ran
    }

    /// Runs it and requires that its command line is refused: the exit code 2.
    #[track_caller]
    pub fn misused(self) -> Ran {
        let ran = self.run();
        assert_eq!(ran.code(), 2, "{ran}");
        ran
    }
}

/// A call that runs.
pub struct Running {
    command: String,
    child: Child,
    writer: thread::JoinHandle<()>,
    _cache: tempfile::TempDir,
}

impl Running {
    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its processes' children, which may be none yet or any more.
    pub fn children(&self) -> Vec<u32> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.id())).into_iter().flatten().flatten();
        let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        lists.flat_map(|list| list.split_whitespace().map(|id| id.parse().unwrap()).collect::<Vec<u32>>()).collect()
    }

    /// Its standard error, which is not part of [`Running::wait`]'s output then.
    pub fn take_stderr(&mut self) -> ChildStderr {
        self.child.stderr.take().expect("it is taken once")
    }

    /// Sends it a signal, as `kill -NAME` does.
    pub fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// Waits for its end.
    pub fn wait(self) -> Ran {
        let output = self.child.wait_with_output().expect("the program can be waited for");
        self.writer.join().expect("writing does not panic");
        Ran { command: self.command, output }
    }
}

/// Sends a process a signal, as `kill -NAME` does.
pub fn signal(process: u32, name: &str) {
    let sent = Command::new("kill").args([format!("-{name}"), process.to_string()]).stderr(Stdio::null()).status();
    assert!(sent.is_ok(), "{sent:?}");
}

/// Whether a process is there and not only its entry, for which its parent has not waited yet.
pub fn is_alive(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
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

/// Upstream's `wasmtime`, where it could be installed.
pub fn upstream() -> Option<PathBuf> {
    std::env::var_os("ISOMER_UPSTREAM_WASMTIME").map(PathBuf::from)
}

/// The state directory of all calls, which are one user on one machine: what a test releases, it may sign.
pub fn state() -> PathBuf {
    binaries().join("isomer-tests-state")
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

/// A copy of `isomer` that another user may call, where this one may become another.
pub struct OtherUser {
    isomer: tempfile::TempDir,
}

impl OtherUser {
    /// The user 65534, who owns nothing. None where this user is not root.
    pub fn new() -> Option<OtherUser> {
        let isomer = scratch();
        copy_program(&built("isomer"), &isomer.path().join("isomer"));
        let other = OtherUser { isomer };
        other.own(other.isomer.path())?;
        let works = has_program("setpriv") && other.isomer("--version").run().code() == 0;
        works.then_some(other)
    }

    /// A call of `isomer` by that user, whose state directory is another one.
    pub fn isomer(&self, line: &str) -> Call {
        let become_other = "--reuid 65534 --regid 65534 --clear-groups";
        let call = program("setpriv").line(become_other).arg(self.isomer.path().join("isomer")).line(line);
        call.env("ISOMER_STATE", self.isomer.path().join("state")).env("ISOMER_CACHE", self.isomer.path().join("cache"))
    }

    /// Gives that user all that is in a directory.
    pub fn own(&self, path: &Path) -> Option<()> {
        let given = program("chown").args(["-R", "65534:65534"]).arg(path).run();
        (given.code() == 0).then_some(())
    }
}

/// Copies a program that is started next. Another process does: a file that this one has open for writing, a child that another
/// test starts meanwhile has too, and the kernel starts no program from a file that is open for writing.
pub fn copy_program(from: &Path, to: &Path) {
    program("cp").arg(from).arg(to).ok();
}

/// Copies all that is in the directory `from` into `to`, which may be there.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() { copy(&entry.path(), &to) } else { fs::copy(entry.path(), to).map(drop).unwrap() }
    }
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
    // One directory for all files of tests, however deep they lie.
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots"));
    settings.add_filter(r"sha256:[0-9a-f]{64}", "[DIGEST]");
    settings
}

/// The same with more filters: a pattern, and its replacement.
pub fn snapshot_settings_with(filters: &[(&str, &str)]) -> insta::Settings {
    let mut settings = snapshot_settings();
    filters.iter().for_each(|(pattern, replacement)| settings.add_filter(pattern, *replacement));
    settings
}

/// The target that a machine without any extension runs, by its architecture.
pub const NATIVE_TARGET: (&str, &str) = (r"(x86-64-v1|aarch64|riscv64gc|z14)\b", "[NATIVE]");

/// The time in an error about a key's validity.
pub const NOW: (&str, &str) = (r"it is \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "it is [NOW]");

/// A duration.
pub const SECONDS: (&str, &str) = (r"\b\d+\.\d\d s\b", "[TIME]");
