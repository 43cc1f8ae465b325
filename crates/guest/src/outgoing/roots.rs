//! Which certificates servers of outgoing requests must have. In: the system's CAs, and files of more. Out: a client's side
//! of TLS. Never here: a server that is trusted without a certificate.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// The largest file of certificates or keys, in bytes: more than all public CAs take.
pub(crate) const PEM_SIZE_BYTES_MAX: u64 = 4 << 20;

/// The certificates of trusted CAs.
#[derive(Clone)]
pub struct Roots {
    client: Arc<ClientConfig>,
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roots").finish_non_exhaustive()
    }
}

/// A file of CA certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootsError {
    /// It cannot be read, or is not PEM.
    #[error("cannot read CA certificates from `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It holds no certificate that can be a CA's.
    #[error("`{}` holds no CA certificate", .0.display())]
    Empty(PathBuf),
    /// rustls offers no version of TLS here.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

impl Roots {
    /// The system's CAs, and those of PEM files.
    ///
    /// # Errors
    /// When a file cannot be used. Of the system's CAs, those that can be used are.
    pub fn load(files: &[PathBuf]) -> Result<Roots, RootsError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for path in files {
            let failed = |source| RootsError::Read { path: path.clone(), source };
            let pem = isomer_file::read(path, PEM_SIZE_BYTES_MAX).map_err(|error| failed(error.into()))?;
            let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
            let certificates = certificates.map_err(|error| failed(error.into()))?;
            let (added, _) = roots.add_parsable_certificates(certificates);
            if added == 0 {
                return Err(RootsError::Empty(path.clone()));
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut client = builder.with_root_certificates(roots).with_no_client_auth();
        client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Roots { client: Arc::new(client) })
    }

    pub(super) fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }
}
