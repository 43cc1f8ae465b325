//! In: nothing. Out: a certificate authority of its own for each test, with a server and a client that it signed. Never
//! here: a key that outlives the test.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tempfile::TempDir;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

/// An authority with a server and a client, made by openssl.
pub struct Certificates(TempDir);

impl Certificates {
    /// Makes `ca`, `server` and `client`, each a `.key` and a `.pem`.
    #[allow(clippy::new_without_default, reason = "it calls openssl")]
    pub fn new() -> Certificates {
        let directory = tempfile::Builder::new().prefix("isomer-certificates-").tempdir().unwrap();
        let certificates = Certificates(directory);
        let ca = ["-x509", "-subj", "/CN=authority", "-addext", "basicConstraints=critical,CA:TRUE"];
        certificates.openssl(&["req", "-keyout", "ca.key", "-out", "ca.pem"], &ca);
        for (name, extension) in
            [("server", "subjectAltName=IP:127.0.0.1,DNS:farm.example"), ("client", "keyUsage=digitalSignature")]
        {
            let (key, pem) = (format!("{name}.key"), format!("{name}.pem"));
            let subject = format!("/CN={name}");
            certificates.openssl(
                &["req", "-keyout", &key, "-out", &pem],
                &[
                    "-x509",
                    "-subj",
                    &subject,
                    "-addext",
                    extension,
                    "-addext",
                    "basicConstraints=critical,CA:FALSE",
                    "-CA",
                    "ca.pem",
                    "-CAkey",
                    "ca.key",
                ],
            );
        }
        certificates
    }

    fn openssl(&self, begin: &[&str], rest: &[&str]) {
        let status = Command::new("openssl")
            .args(begin)
            .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "2"])
            .args(rest)
            .current_dir(self.0.path())
            .stderr(Stdio::null())
            .status()
            .expect("openssl is installed");
        assert!(status.success(), "openssl {begin:?} {rest:?}");
    }

    /// The path of a file of it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The settings of a server with the certificate `server`.
    pub fn server(&self) -> ServerTlsConfig {
        let read = |name: &str| fs::read(self.path(name)).unwrap();
        ServerTlsConfig::new().identity(Identity::from_pem(read("server.pem"), read("server.key")))
    }

    /// The same for a server that requires a client certificate.
    pub fn asking_clients(&self) -> ServerTlsConfig {
        self.server().client_ca_root(Certificate::from_pem(fs::read(self.path("ca.pem")).unwrap()))
    }
}
