//! TLS of the server's own side. In: the files of a certificate and its key. Out: what connections are accepted with, anew
//! when the files change. Never here: a pair of files that do not fit, which leaves the one before in use.

use super::passing::is_passing;
use crate::outgoing::PEM_SIZE_BYTES_MAX;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio_rustls::TlsAcceptor;

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// The files of a certificate, with its chain, and of its key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those between it and a CA.
    pub certificate: PathBuf,
    /// The certificate's key.
    pub key: PathBuf,
}

/// A certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read, or is not PEM.
    #[error("cannot read `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The first file holds no certificate.
    #[error("`{}` holds no certificate; expected PEM with `BEGIN CERTIFICATE`", .0.display())]
    NoCertificate(PathBuf),
    /// The key is not that of the certificate, or of a kind that is not supported.
    #[error("the key of `{}` does not fit the certificate of `{}`", .files.key.display(), .files.certificate.display())]
    Mismatch {
        /// The files.
        files: TlsFiles,
        /// Why.
        source: rustls::Error,
    },
    /// rustls offers no version of TLS here.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

fn load(files: &TlsFiles) -> Result<TlsAcceptor, TlsError> {
    let failed = |path: &Path, source| TlsError::Read { path: path.to_owned(), source };
    let read = |path: &Path| isomer_file::read(path, PEM_SIZE_BYTES_MAX).map_err(|error| failed(path, error.into()));
    let certificates = CertificateDer::pem_slice_iter(&read(&files.certificate)?).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| failed(&files.certificate, error.into()))?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate(files.certificate.clone()));
    }
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?).map_err(|error| failed(&files.key, error.into()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(TlsError::Setup)?.with_no_client_auth();
    let mismatch = |source| TlsError::Mismatch { files: files.clone(), source };
    let mut config = builder.with_single_cert(certificates, key).map_err(mismatch)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config).into())
}

/// What tells one state of the files from another: which files they are, and when they were changed, which no program can set.
type State = [Option<(u64, u64, i64, i64, u64)>; 2];

fn state(files: &TlsFiles) -> State {
    [&files.certificate, &files.key].map(|path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec(), metadata.size()))
    })
}

/// A certificate that is read again when its files change.
#[derive(Clone)]
pub(super) struct Tls {
    files: TlsFiles,
    current: Arc<RwLock<TlsAcceptor>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Tls {
    pub(super) fn load(files: &TlsFiles) -> Result<Tls, TlsError> {
        Ok(Tls { files: files.clone(), current: Arc::new(RwLock::new(load(files)?)) })
    }

    /// What the next connection is accepted with.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the files again whenever they have changed.
    pub(super) async fn follow(self) {
        let (mut seen, mut reported) = (state(&self.files), None);
        loop {
            tokio::time::sleep(INTERVAL).await;
            let found = state(&self.files);
            if found == seen {
                continue;
            }
            let error = match load(&self.files) {
                Ok(acceptor) => {
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = acceptor;
                    tracing::info!("the certificate was read again");
                    seen = found;
                    continue;
                }
                Err(error) => error,
            };
            // With descriptors or memory that are there again, the same files can be used.
            if !is_passing(&error) {
                seen = found;
            }
            if reported.replace(found) != Some(found) {
                let error = isomer_contract::one_line(&error);
                tracing::warn!("the certificate has changed and cannot be used, the one before stays: {error}");
            }
        }
    }
}
