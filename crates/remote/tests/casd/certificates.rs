//! In: nothing. Out: an authority of its own for each test, with a server and a client that it knows. Also part of the
//! end-to-end tests.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tempfile::TempDir;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

/// An authority with a server and a client, made by openssl.
pub(crate) struct Certificates(TempDir);

impl Certificates {
    pub(crate) fn new() -> Certificates {
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

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn server(&self) -> ServerTlsConfig {
        let read = |name: &str| fs::read(self.path(name)).unwrap();
        ServerTlsConfig::new().identity(Identity::from_pem(read("server.pem"), read("server.key")))
    }

    pub(crate) fn asking_clients(&self) -> ServerTlsConfig {
        self.server().client_ca_root(Certificate::from_pem(fs::read(self.path("ca.pem")).unwrap()))
    }
}
