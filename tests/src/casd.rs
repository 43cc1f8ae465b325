//! A real server of the Remote Execution API, `buildbox-casd`, on a free port of this machine. Out: its address, until it
//! is dropped. Never here: a process left behind.

use super::{has_program, skip, wait_until};
use sha2::{Digest, Sha256};
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A server that keeps blobs and results, and executes.
pub struct Casd {
    child: Child,
    address: SocketAddr,
    directory: TempDir,
}

impl Casd {
    /// Starts one for `test`, which reports itself skipped where there is none.
    pub fn start(test: &str) -> Option<Casd> {
        Casd::start_instance(test, "")
    }

    /// One whose only instance has this name.
    pub fn start_instance(test: &str, instance: &str) -> Option<Casd> {
        let Some(programs) = std::env::var_os("ISOMER_CASD").filter(|_| has_program("bwrap")) else {
            skip(test, "buildbox-casd or bubblewrap is not installed");
            return None;
        };
        let directory = tempfile::Builder::new().prefix("isomer-casd-").tempdir().expect("there is room for it");
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let address = free.expect("a port is free");
        let child = spawn(Path::new(&programs), address, instance, directory.path());
        let casd = Casd { child, address, directory };
        wait_until("buildbox-casd", || TcpStream::connect(address).is_ok());
        Some(casd)
    }

    /// Where it is, as isomer takes it.
    pub fn url(&self) -> String {
        format!("grpc://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Keeps a blob, without asking the server, and says what its name is.
    pub fn put(&self, bytes: &[u8]) -> String {
        let hash = hex::encode(Sha256::digest(bytes));
        let file = self.blob(&hash);
        fs::create_dir_all(file.parent().expect("it lies in a directory")).expect("there is room");
        fs::write(file, bytes).expect("there is room");
        hash
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

fn spawn(programs: &Path, address: SocketAddr, instance: &str, directory: &Path) -> Child {
    let log = fs::File::create(directory.join("log")).expect("the log can be written");
    let mut casd = Command::new(programs.join("buildbox-casd"));
    casd.env_clear()
        .env("PATH", "/usr/bin:/bin")
        .arg(format!("--bind={address}"))
        .arg(format!("--local-server-instance={instance}"))
        .arg(format!("--buildbox-run={}", programs.join("buildbox-run").display()));
    // The program under test is linked to this machine's libraries.
    for mount in ["/usr:/usr", "/usr/bin:/bin", "/usr/lib:/lib", "/usr/lib64:/lib64"] {
        casd.arg(format!("--runner-arg=--ro-bind-mount={mount}"));
    }
    casd.args(["--jobs=2", "--reserved=100M", "--quota-high=1G", "--log-level=info"])
        .arg(directory)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .spawn()
        .expect("buildbox-casd starts")
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
