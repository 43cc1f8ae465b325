//! A connection to a server. In: a URL that the rules allow. Out: a stream, with TLS where the scheme has it. Never here: a
//! connection to a private, local or otherwise special address that no rule names, whatever name led there.

use super::OutgoingLimits;
use super::roots::Roots;
use crate::denials::Denials;
use crate::grants::{HttpRule, is_public};
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower_service::Service;
use wasmtime_wasi_http::Error;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("the URL names no server")]
    Uri,
    #[error("cannot resolve the server's name")]
    Resolve(#[source] io::Error),
    #[error("the server's name resolves to nothing")]
    Unknown,
    #[error("the address {0} is not public, and no rule names it")]
    Prohibited(IpAddr),
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    #[error("TLS fails")]
    Tls(#[source] io::Error),
    #[error("connecting takes too long")]
    Timeout,
    #[error("as many connections are open as may be")]
    Full,
}

impl ConnectError {
    /// The error that a guest is told of.
    pub(super) fn reason(&self) -> Error {
        match self {
            ConnectError::Uri => Error::HttpRequestUriInvalid,
            ConnectError::Resolve(_) | ConnectError::Unknown => Error::DnsError { rcode: None, info_code: None },
            ConnectError::Prohibited(_) => Error::DestinationIpProhibited,
            ConnectError::Connect(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                Error::ConnectionRefused
            }
            ConnectError::Connect(_) => Error::DestinationUnavailable,
            ConnectError::Tls(error) => {
                let rustls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
                match rustls {
                    Some(rustls::Error::InvalidCertificate(_)) => Error::TlsCertificateError,
                    _ => Error::TlsProtocolError,
                }
            }
            ConnectError::Timeout => Error::ConnectionTimeout,
            ConnectError::Full => Error::ConnectionLimitReached,
        }
    }
}

/// Connects to servers, as one route's rules allow.
#[derive(Clone)]
pub(super) struct Connector {
    rules: Arc<[HttpRule]>,
    tls: TlsConnector,
    time: Duration,
    denials: Denials,
    /// One permit for each connection that may be open.
    open: Arc<Semaphore>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl Connector {
    pub(super) fn new(rules: Arc<[HttpRule]>, roots: &Roots, limits: &OutgoingLimits, denials: Denials) -> Connector {
        let open = Arc::new(Semaphore::new(limits.connections.clamp(1, Semaphore::MAX_PERMITS)));
        Connector { rules, tls: TlsConnector::from(roots.http_client()), time: limits.connect_time, denials, open }
    }

    async fn connect(self, uri: Uri) -> Result<Io, ConnectError> {
        let secure = uri.scheme_str() == Some("https");
        let scheme = if secure { "https" } else { "http" };
        let host = uri.host().ok_or(ConnectError::Uri)?.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = self.tcp(scheme, &host, port).await?;
        // Small frames are sent at once.
        stream.set_nodelay(true).map_err(ConnectError::Connect)?;
        if !secure {
            return Ok(Io::Plain(TokioIo::new(stream)));
        }
        let name = ServerName::try_from(host).map_err(|_| ConnectError::Uri)?;
        let stream = self.tls.connect(name, stream).await.map_err(ConnectError::Tls)?;
        Ok(Io::Tls(Box::new(TokioIo::new(stream))))
    }

    async fn tcp(&self, scheme: &str, host: &str, port: u16) -> Result<TcpStream, ConnectError> {
        let addresses: Vec<SocketAddr> =
            tokio::net::lookup_host((host, port)).await.map_err(ConnectError::Resolve)?.collect();
        let mut last = ConnectError::Unknown;
        for address in addresses {
            if !self.may_connect(scheme, address) {
                let reason = format!("{} is not public, and no rule names it", address.ip());
                self.denials.report_name("an HTTP request to", host, &reason);
                last = ConnectError::Prohibited(address.ip());
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = ConnectError::Connect(error),
            }
        }
        Err(last)
    }

    fn may_connect(&self, scheme: &str, address: SocketAddr) -> bool {
        let ip = address.ip();
        is_public(ip) || self.rules.iter().any(|rule| rule.allows_address(scheme, ip, address.port()))
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let (time, open) = (connector.time, Arc::clone(&connector.open));
            let permit = tokio::time::timeout(time, open.acquire_owned()).await;
            let Ok(Ok(permit)) = permit else { return Err(ConnectError::Full) };
            let io = tokio::time::timeout(time, connector.connect(uri)).await.unwrap_or(Err(ConnectError::Timeout))?;
            Ok(Stream { io, _permit: permit })
        })
    }
}

/// A connection to a server, one of those that may be open at once.
pub(super) struct Stream {
    io: Io,
    _permit: OwnedSemaphorePermit,
}

enum Io {
    Plain(TokioIo<TcpStream>),
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match &self.io {
            Io::Plain(_) => Connected::new(),
            Io::Tls(stream) if stream.inner().get_ref().1.alpn_protocol() == Some(&b"h2"[..]) => {
                Connected::new().negotiated_h2()
            }
            Io::Tls(_) => Connected::new(),
        }
    }
}

macro_rules! on_stream {
    ($self:ident, $stream:ident => $call:expr) => {
        match &mut $self.get_mut().io {
            Io::Plain(it) => {
                let $stream = Pin::new(it);
                $call
            }
            Io::Tls(it) => {
                let $stream = Pin::new(&mut **it);
                $call
            }
        }
    };
}

impl hyper::rt::Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        on_stream!(self, stream => stream.poll_read(context, to))
    }
}

impl hyper::rt::Write for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        on_stream!(self, stream => stream.poll_write(context, from))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => stream.poll_shutdown(context))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(stream) => stream.is_write_vectored(),
            Io::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self, stream => stream.poll_write_vectored(context, from))
    }
}
