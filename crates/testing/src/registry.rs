//! A real registry, Debian's `docker-registry`, on a free port of this machine. In: how it is to be reached. Out: its
//! address, until it is dropped. Never here: a process left behind.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The user of a registry that requires one.
pub const USER: &str = "farm";
/// That user's password.
pub const PASSWORD: &str = "secret";
/// Both, as docker's `config.json` has them.
pub const AUTH: &str = "ZmFybTpzZWNyZXQ=";
/// Both, as the registry has them: `htpasswd -Bbn -C 5 farm secret`.
const HTPASSWD: &str = "farm:$2y$05$cePmVrYD1eX.dZSuXDv0PO0A0floBbPGxGyzORmXGKrFS3CTUzT7a\n";

/// How a registry is reached.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Over TLS, with a certificate of its own CA.
    pub tls: bool,
    /// With [`USER`] and [`PASSWORD`].
    pub password: bool,
    /// With a token from this URL, signed by `token.key`, which lies beside the CA with its certificate.
    pub token_realm: Option<String>,
}

/// A registry that runs.
pub struct Registry {
    child: Child,
    directory: TempDir,
    host: String,
}

impl Registry {
    /// Starts one without TLS that requires no credentials; none where `docker-registry` is not installed.
    pub fn start() -> Option<Registry> {
        Registry::start_with(&Setup::default())
    }

    /// Starts one; none where `docker-registry` is not installed.
    pub fn start_with(setup: &Setup) -> Option<Registry> {
        let directory = tempfile::Builder::new().prefix("isomer-registry-").tempdir().expect("there is room for it");
        if setup.tls || setup.token_realm.is_some() {
            make_certificates(directory.path());
        }
        Registry::start_in(directory, setup)
    }

    /// Starts one with the certificates and the content that are in `directory`.
    pub fn start_in(directory: TempDir, setup: &Setup) -> Option<Registry> {
        // A free port may be taken before the registry has it.
        let (child, host) = (0..5).find_map(|_| spawn(directory.path(), setup)).expect("a port is free")?;
        Some(Registry { child, directory, host })
    }

    /// Its address and port, as in a reference.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The CA that its certificate is from.
    pub fn ca(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Writes a docker `config.json` with the credentials for `host` into `directory`.
    pub fn log_in(host: &str, directory: &Path) {
        let config = format!(r#"{{"auths": {{"{host}": {{"auth": "{AUTH}"}}}}}}"#);
        fs::write(directory.join("config.json"), config).unwrap();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// None when the port was taken meanwhile; none inside when there is no such program.
fn spawn(directory: &Path, setup: &Setup) -> Option<Option<(Child, String)>> {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let host = format!("127.0.0.1:{port}");
    let shown = directory.display();
    let mut config = format!(
        "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    \
         rootdirectory: {shown}/data\n  delete:\n    enabled: true\nhttp:\n  addr: {host}\n"
    );
    if setup.tls {
        config += &format!("  tls:\n    certificate: {shown}/server.pem\n    key: {shown}/server.key\n");
    }
    if setup.password {
        fs::write(directory.join("htpasswd"), HTPASSWD).unwrap();
        config += &format!("auth:\n  htpasswd:\n    realm: test\n    path: {shown}/htpasswd\n");
    }
    if let Some(realm) = &setup.token_realm {
        config += &format!(
            "auth:\n  token:\n    realm: {realm}\n    service: test\n    issuer: test\n    \
             rootcertbundle: {shown}/token.pem\n"
        );
    }
    let file = directory.join("config.yml");
    fs::write(&file, config).unwrap();
    let log = fs::File::create(directory.join("log")).unwrap();
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(&file).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let Ok(mut child) = command.spawn() else { return Some(None) };
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(30) {
        if child.try_wait().unwrap().is_some() {
            return None;
        }
        if TcpStream::connect(&host).is_ok() {
            return Some(Some((child, host)));
        }
        sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
    panic!("docker-registry does not answer: {}", fs::read_to_string(directory.join("log")).unwrap_or_default());
}

/// `ca.pem`, `ca.key`, then `server.pem`, `server.key` for 127.0.0.1, and `token.pem`, `token.key`.
pub fn make_certificates(directory: &Path) {
    let openssl = |line: &str| {
        let mut command = Command::new("openssl");
        let output = command.args(line.split_whitespace()).current_dir(directory).output().expect("openssl is there");
        assert!(output.status.success(), "openssl {line}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=isomer-test-ca"));
    openssl(&format!("req {key} -keyout server.key -out server.csr -subj /CN=isomer-test"));
    openssl("req -x509 -newkey rsa:2048 -nodes -keyout token.key -out token.pem -days 2 -subj /CN=isomer-test-token");
    fs::write(directory.join("server.ext"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    openssl(
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile server.ext -out server.pem",
    );
}
