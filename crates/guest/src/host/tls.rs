//! The client's side of TLS for `wasi:tls` of WASI 0.2 and 0.3. In: a server's name, and the guest's own streams to it. Out: a
//! stream of what they carry. Never here: a connection, which the guest makes by what it is granted of the network; a server
//! that is trusted without a certificate.

use crate::denials::Denials;
use crate::outgoing::Roots;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;
use wasmtime_wasi_tls::{Error, TlsProvider, TlsStream, TlsTransport};

/// What guests connect with, if it is granted.
#[derive(Clone)]
pub(super) struct Tls {
    client: Option<Arc<ClientConfig>>,
    denials: Denials,
}

impl Tls {
    /// With these CAs, or none where it is not granted.
    pub(super) fn new(roots: Option<&Roots>, denials: Denials) -> Tls {
        Tls { client: roots.map(Roots::tls_client), denials }
    }
}

impl TlsProvider for Tls {
    fn connect(
        &self,
        server_name: String,
        transport: Box<dyn TlsTransport>,
    ) -> Pin<Box<dyn Future<Output = Result<Box<dyn TlsStream>, Error>> + Send>> {
        let (client, denials) = (self.client.clone(), self.denials.clone());
        Box::pin(async move {
            let Some(client) = client else {
                denials.report_name("a TLS connection to", &server_name, "no TLS is granted");
                return Err(Error::msg("access denied"));
            };
            let name = ServerName::try_from(server_name).map_err(|_| Error::msg("invalid server name"))?;
            let stream = TlsConnector::from(client).connect(name, transport).await?;
            Ok(Box::new(Stream(stream)) as Box<dyn TlsStream>)
        })
    }
}

/// Rust lets a crate give a trait to a type only if it has one of them.
struct Stream(tokio_rustls::client::TlsStream<Box<dyn TlsTransport>>);

impl TlsStream for Stream {}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, to)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
