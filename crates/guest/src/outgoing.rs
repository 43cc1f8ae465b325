//! HTTP requests that guests send. In: the rules of a route, and a request. Out: the server's response, through connections
//! that are kept for the next request. Never here: a redirect that is followed; a connection to an address that the rules do
//! not allow, whatever a name resolves to.

mod body;
mod connect;
mod roots;

pub(crate) use roots::PEM_SIZE_BYTES_MAX;
pub use roots::{Roots, RootsError};

use crate::denials::Denials;
use crate::grants::HttpRule;
use crate::host::BODY_PIECE_SIZE_BYTES;
use crate::limits::units;
use body::{Counted, SentBody};
use connect::{ConnectError, Connector};
use http::{Request, Response, Uri};
use http_body_util::BodyExt;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use isomer_contract::chain;
use serde::Deserialize;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use wasmtime_wasi_http::{Error, RequestOptions, Result, WasiBody, WasiHttpHooks};

/// Idle connections that are kept to one server.
const IDLE_CONNECTIONS_MAX: usize = 32;
/// How long they are kept.
const IDLE_TIME: Duration = Duration::from_secs(30);

/// What the outgoing requests of a route's guests may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct OutgoingLimits {
    /// Requests at once; more wait for up to `connect_time`.
    #[serde(deserialize_with = "units::count")]
    pub requests: usize,
    /// Connections that are open at once, those included that are kept for the next request.
    #[serde(deserialize_with = "units::count")]
    pub connections: usize,
    /// How long a connection may take, its name's resolution and TLS included.
    #[serde(deserialize_with = "units::time")]
    pub connect_time: Duration,
    /// How long the head of a response may take.
    #[serde(deserialize_with = "units::time")]
    pub response_time: Duration,
    /// How long a response's body may stand still.
    #[serde(deserialize_with = "units::time")]
    pub idle_time: Duration,
    /// The largest body of a response, in bytes.
    #[serde(deserialize_with = "units::size")]
    pub response_size: u64,
}

impl Default for OutgoingLimits {
    fn default() -> OutgoingLimits {
        OutgoingLimits {
            requests: 64,
            connections: 256,
            connect_time: Duration::from_secs(10),
            response_time: Duration::from_secs(30),
            idle_time: Duration::from_secs(30),
            response_size: 64 << 20,
        }
    }
}

/// Sends requests as the rules of one route allow. Clones share their connections, which only that route's rules opened.
#[derive(Clone)]
pub struct Outgoing {
    shared: Arc<Shared>,
}

struct Shared {
    rules: Arc<[HttpRule]>,
    limits: OutgoingLimits,
    client: Client<Connector, SentBody>,
    denials: Denials,
    running: Arc<Semaphore>,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").field("rules", &self.shared.rules).finish_non_exhaustive()
    }
}

impl Outgoing {
    /// Allows what `rules` cover, and trusts servers that `roots` attest.
    pub fn new(rules: &[HttpRule], roots: &Roots, limits: OutgoingLimits) -> Outgoing {
        Outgoing::reporting(rules, roots, limits, Denials::default())
    }

    /// The same, which reports there what it denies.
    pub(crate) fn reporting(rules: &[HttpRule], roots: &Roots, limits: OutgoingLimits, denials: Denials) -> Outgoing {
        let rules: Arc<[HttpRule]> = rules.into();
        let connector = Connector::new(Arc::clone(&rules), roots, &limits, denials.clone());
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(connector);
        let running = Arc::new(Semaphore::new(limits.requests.clamp(1, Semaphore::MAX_PERMITS)));
        Outgoing { shared: Arc::new(Shared { rules, limits, client, denials, running }) }
    }
}

/// The scheme, host and port that a request goes to.
struct Destination<'a> {
    scheme: &'a str,
    host: &'a str,
    port: u16,
}

impl Destination<'_> {
    fn of(uri: &Uri) -> Option<Destination<'_>> {
        let scheme = uri.scheme_str()?;
        let default_port = if scheme == "https" { 443 } else { 80 };
        Some(Destination { scheme, host: uri.host()?, port: uri.port_u16().unwrap_or(default_port) })
    }
}

impl Shared {
    async fn send(self: Arc<Self>, request: Request<WasiBody>, options: RequestOptions) -> Result<Response<WasiBody>> {
        let Some(Destination { scheme, host, port }) = Destination::of(request.uri()) else {
            return Err(Error::HttpRequestUriInvalid);
        };
        if !self.rules.iter().any(|rule| rule.allows(scheme, host, port)) {
            let server = format!("{scheme}://{host}:{port}");
            self.denials.report_name("an HTTP request to", &server, "no rule allows it");
            return Err(Error::HttpRequestDenied);
        }
        let limits = self.limits;
        // A guest may ask for less time, not for more.
        let at_most = |own: Duration, wanted: Option<Duration>| wanted.map_or(own, |wanted| wanted.min(own));
        let connect_time = at_most(limits.connect_time, options.connect_timeout);
        let response_time = at_most(limits.response_time, options.first_byte_timeout);
        let idle_time = at_most(limits.idle_time, options.between_bytes_timeout);
        let permit = tokio::time::timeout(connect_time, Arc::clone(&self.running).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else { return Err(Error::ConnectionLimitReached) };
        let sending = self.client.request(request.map(SentBody::new));
        let response = tokio::time::timeout(connect_time + response_time, sending).await;
        let response = response.map_err(|_| Error::HttpResponseTimeout)?.map_err(|error| reason(&error))?;
        Ok(response.map(|body| Counted::new(body, limits.response_size, idle_time, permit).boxed_unsync()))
    }
}

/// The error that a guest is told of.
fn reason(error: &ClientError) -> Error {
    for cause in chain(error).skip(1) {
        if let Some(connect) = cause.downcast_ref::<ConnectError>() {
            return connect.reason();
        }
        if let Some(error) = cause.downcast_ref::<Error>() {
            return body::copy_of(error);
        }
        if let Some(hyper) = cause.downcast_ref::<hyper::Error>() {
            if hyper.is_incomplete_message() || hyper.is_closed() {
                return Error::ConnectionTerminated;
            }
            if hyper.is_parse() {
                return Error::HttpProtocolError;
            }
        }
    }
    if error.is_connect() { Error::ConnectionRefused } else { Error::HttpProtocolError }
}

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for Outgoing {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _processed: Io,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Io)>> + Send> {
        let shared = Arc::clone(&self.shared);
        Box::new(async move {
            let response = shared.send(request, options.unwrap_or_default()).await?;
            // The connection is driven by its own task.
            Ok((response, Box::new(std::future::ready(Ok(()))) as Io))
        })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_PIECE_SIZE_BYTES
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_PIECE_SIZE_BYTES
    }
}
