//! `isomer-run serve` as a process of its own, on a free port. In: a guest of tests/guests, the text of a `serve.toml`.
//! Out: its address, its log as far as it has come, how it ended. Never here: what a server must do.

mod load;
mod versions;

pub use load::{Exchange, Load};
pub use versions::{FAULTY, ONE, TWO, Versions};

use crate::confined::Confinement;
use crate::native::native;
use crate::{Call, Ran, Running, guest, isomer, isomer_run, scratch, wait_until};
use isomer_testing::http_client::{self, Connection, Response, request};
use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use tempfile::TempDir;

/// A guest of tests/guests, compiled for this machine with epochs, so that it can be interrupted.
pub fn artifact(name: &str) -> PathBuf {
    static COMPILED: OnceLock<TempDir> = OnceLock::new();
    let directory = COMPILED.get_or_init(|| {
        let directory = scratch();
        compile(&[guest("proxy"), guest("service")], directory.path());
        directory
    });
    directory.path().join(format!("{name}.served.cwasm"))
}

/// Compiles components as [`artifact`] does: `NAME.served.cwasm`.
pub fn compile(components: &[PathBuf], directory: &Path) {
    let file = directory.join("served.toml");
    fs::write(&file, profile()).unwrap();
    isomer().arg("compile").args(components).arg("-t").arg(&file).arg("--out-dir").arg(directory).ok();
}

/// A profile for this machine, with epochs.
fn profile() -> String {
    format!("inherits = \"{}\"\n\n[wasm]\nepoch-interruption = true\n", native().baseline)
}

/// A guest of tests/guests in which texts are others of the same length: what it answers, or which path leads to which answer.
///
/// # Panics
/// When a text is not there once, or the other one has another length.
pub fn alter(name: &str, texts: &[(&str, &str)]) -> Vec<u8> {
    let original = fs::read(guest(name)).unwrap();
    let mut altered = original.clone();
    for (text, other) in texts {
        let whole = format!("{text}\0").into_bytes();
        let found: Vec<_> = (0..original.len()).filter(|start| original[*start..].starts_with(&whole)).collect();
        assert!(found.len() == 1 && other.len() == text.len(), "{text:?} is {} times in {name}", found.len());
        altered[found[0]..found[0] + other.len()].copy_from_slice(other.as_bytes());
    }
    altered
}

/// How a server is started.
#[derive(Default)]
pub struct Setup {
    /// The guest.
    pub guest: &'static str,
    /// Keys of `[limits]`, those of the whole server.
    pub limits: String,
    /// Keys of `[route.limits]`, those of the only route.
    pub route: String,
    /// Keys of `[route.instance]`: what one of its instances may use.
    pub instance: String,
    /// What is taken from its process.
    pub confinement: Option<Confinement>,
}

/// A server that runs until it is dropped.
pub struct Served {
    running: Option<Running>,
    log: Arc<Mutex<String>>,
    /// Where it listens.
    pub address: SocketAddr,
    _directory: TempDir,
}

impl Served {
    /// Serves this guest within short limits: a second for what a client or a guest must do.
    pub fn start(guest: &'static str) -> Served {
        let route = "request-time = \"1s\"\nbody-idle-time = \"1s\"\ntotal-time = \"20s\"";
        Setup {
            guest,
            limits: "header-time = \"1s\"\nidle-time = \"1s\"".to_owned(),
            route: route.to_owned(),
            ..Setup::default()
        }
        .start()
    }

    /// Sends `GET path` on a connection of its own.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        http_client::get(self.address, path).unwrap_or_else(|error| panic!("{path}: {error}\n{}", self.log()))
    }

    /// Opens a connection.
    #[track_caller]
    pub fn connect(&self) -> Connection {
        Connection::open(self.address).unwrap_or_else(|error| panic!("{error}\n{}", self.log()))
    }

    /// Sends a request on a connection that stays open.
    #[track_caller]
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Connection {
        let mut connection = self.connect();
        connection.send(request(method, path, headers, body)).unwrap();
        connection
    }

    /// Requires that another client is served, and does not wait for what others do.
    #[track_caller]
    pub fn serves_others(&self) {
        let begun = std::time::Instant::now();
        let response = self.get("/hello");
        assert_eq!((response.status, response.text().as_str()), (200, "hello\n"), "{}", self.log());
        // A hundredth of that, on a machine that does nothing else.
        assert!(begun.elapsed().as_secs() < 15, "{:?}\n{}", begun.elapsed(), self.log());
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until it has printed this.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) {
        wait_until(&format!("the log says {text:?}"), || self.log.lock().unwrap().contains(text));
    }

    /// Where its `/metrics` are, if it was started with an address for them.
    #[track_caller]
    pub fn status_address(&self) -> SocketAddr {
        self.wait_for_log("Status at http://");
        let log = self.log();
        let (_, rest) = log.split_once("Status at http://").expect("it was waited for");
        rest.split_once('/').and_then(|(address, _)| address.parse().ok()).unwrap_or_else(|| panic!("{log}"))
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.running.as_ref().expect("it has not been waited for").id()
    }

    /// The memory that it holds, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    /// The memory that it holds and no file has, in bytes.
    pub fn anonymous_bytes(&self) -> u64 {
        self.status_bytes("RssAnon:") + self.status_bytes("RssShmem:")
    }

    /// The address space that it has, in bytes.
    pub fn address_space_bytes(&self) -> u64 {
        self.status_bytes("VmSize:")
    }

    fn status_bytes(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        crate::signal(self.id(), name);
    }

    /// Waits for its end. Its standard error is in the log.
    pub fn wait(mut self) -> (Ran, String) {
        let ran = self.running.take().expect("it is waited for once").wait();
        (ran, self.log())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.signal("KILL");
            running.wait();
        }
    }
}

impl Setup {
    /// Starts it.
    ///
    /// # Panics
    /// When it does not serve.
    pub fn start(self) -> Served {
        let directory = scratch();
        let settings = directory.path().join("serve.toml");
        let Setup { guest, limits, route, instance, confinement } = self;
        let module = artifact(guest);
        let text = format!(
            "addresses = [\"127.0.0.1:0\"]\n\n[limits]\n{limits}\n\n[[route]]\nmodule = \"{}\"\n\n\
             [route.limits]\n{route}\n\n[route.instance]\n{instance}\n",
            module.display()
        );
        fs::write(&settings, text).unwrap();
        let mut call = isomer_run().args(["serve", "--allow-unsigned", "-f"]).arg(&settings);
        if let Some(confinement) = confinement {
            call = call.confined(confinement);
        }
        serve(call, directory)
    }
}

/// Starts a server by any call, and waits until it has printed where it listens.
///
/// # Panics
/// When it ends instead.
pub fn serve(call: Call, directory: TempDir) -> Served {
    let mut running = call.start();
    let mut stderr = running.take_stderr();
    let log = Arc::new(Mutex::new(String::new()));
    let copy = Arc::clone(&log);
    thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(size @ 1..) = stderr.read(&mut piece) {
            copy.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..size]));
        }
    });
    let mut address = None;
    wait_until("the server listens", || {
        let log = log.lock().unwrap();
        let found = log.lines().find_map(listens_at);
        address = found.and_then(|found| found.parse().ok());
        assert!(address.is_some() || crate::is_alive(running.id()), "{log}");
        address.is_some()
    });
    let address = address.expect("it was waited for");
    Served { running: Some(running), log, address, _directory: directory }
}

/// The address in a line of a server's log that says where it listens.
pub fn listens_at(line: &str) -> Option<&str> {
    let url = line.strip_prefix("Serving HTTP on http")?;
    Some(url.trim_start_matches('s').strip_prefix("://")?.trim_end_matches('/'))
}

/// Makes the kernel end this connection by a reset once it is closed.
#[allow(unsafe_code)]
pub fn reset_on_close(socket: &std::net::TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let size = libc::socklen_t::try_from(size_of::<libc::linger>()).expect("it is small");
    let value: *const libc::linger = &raw const linger;
    // SAFETY: the option's value is a `linger` of that size, which outlives the call.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, value.cast(), size) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}
