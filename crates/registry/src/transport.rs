//! In: a request to a registry. Out: its answer, of a bounded size, within a bounded time, asked for again where that
//! may help. Never here: what a request is about; credentials for another host; a redirect to where TLS is not.

use crate::backoff::Backoff;
use crate::credentials::credential;
use crate::reference::is_loopback;
use crate::token::{Authorization, Authorizer};
use crate::{Options, Problem, Reference, RegistryError, Retry};
use isomer_contract::shorten;
use reqwest::header::{HeaderMap, HeaderName, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Body, Certificate, Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// More redirects than this are a circle.
const REDIRECTS_MAX: usize = 5;
/// The largest refusal or token that is read.
const MESSAGE_SIZE_BYTES_MAX: u64 = 64 << 10;
/// Slower than this, in bytes a second over the idle time, and a blob is asked for again.
const RATE_MIN: u128 = 1 << 10;

/// One request, which may be sent several times.
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(HeaderName, String)>,
    pub(crate) body: Option<Outgoing<'a>>,
}

/// A body that is made anew each time it is sent.
pub(crate) struct Outgoing<'a> {
    pub(crate) make: &'a (dyn Fn() -> Body + Sync),
    /// How many of its bytes are on their way: while that grows, nobody is idle.
    pub(crate) sent_bytes: &'a AtomicU64,
}

impl Request<'_> {
    pub(crate) fn new(method: Method, url: Url) -> Self {
        Request { method, url, headers: Vec::new(), body: None }
    }

    pub(crate) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// A connection to one registry, without what it is told of us.
pub(crate) struct Exchange {
    pub(crate) client: Client,
    pub(crate) host: String,
    pub(crate) plain_http: bool,
    idle: Duration,
    document: Duration,
}

/// How much of a body came, and since when.
pub(crate) struct Pace {
    since: Instant,
    received_bytes: u64,
}

impl Pace {
    pub(crate) fn new() -> Pace {
        Pace { since: Instant::now(), received_bytes: 0 }
    }
}

/// One repository of a registry.
pub(crate) struct Transport {
    exchange: Exchange,
    authorizer: Authorizer,
    /// `https://HOST/v2/REPOSITORY/`
    base: Url,
    retry: Retry,
}

impl Transport {
    /// Prepares connections; none is opened yet.
    pub(crate) fn new(reference: &Reference, options: &Options) -> Result<Transport, RegistryError> {
        let host = reference.host().to_owned();
        if options.plain_http && !reference.is_loopback() {
            return Err(RegistryError::PlainHttp(host));
        }
        // Docker's own registry answers under another name than the one in its references.
        let address = if host == "docker.io" { "registry-1.docker.io" } else { &host };
        let scheme = if options.plain_http { "http" } else { "https" };
        let base = format!("{scheme}://{address}/v2/{}/", reference.repository());
        let base = Url::parse(&base).map_err(|error| RegistryError::Setup(format!("`{base}`: {error}")))?;
        let authorizer = Authorizer::new(credential(&host, options)?);
        let client = client(options)?;
        let Options { plain_http, idle_timeout: idle, document_timeout: document, .. } = *options;
        let exchange = Exchange { client, host, plain_http, idle, document };
        Ok(Transport { exchange, authorizer, base, retry: options.retry })
    }

    /// Where `path` is below the repository.
    pub(crate) fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        // Digests and tags hold nothing that would need escaping, and no dots alone.
        url.set_path(&format!("{}{path}", self.base.path()));
        url
    }

    /// Where `location`, the answer to a request, points to.
    pub(crate) fn location(&self, from: &Url, location: &str) -> Result<Url, Problem> {
        let url = from.join(location).ok().filter(|url| is_safe(url, self.exchange.plain_http));
        url.ok_or_else(|| Problem::Redirect(format!("to `{}`, expected an https:// URL", shorten(location))))
    }

    /// Sends `request` once, or twice when the registry wants to know first who we are. Any answer but success is a
    /// [`Problem`].
    pub(crate) async fn send(&self, request: &Request<'_>) -> Result<Response, Problem> {
        let shown = self.authorizer.current().await.filter(|_| self.is_ours(&request.url));
        let response = self.send_showing(request, shown.as_ref()).await?;
        if response.status() == StatusCode::UNAUTHORIZED && self.is_ours(response.url()) {
            let next = self.authorizer.answer(&self.exchange, response.headers(), shown.clone()).await?;
            if let Some(next) = next {
                let response = self.send_showing(request, Some(&next)).await?;
                return self.checked(response, true).await;
            }
        }
        self.checked(response, shown.is_some()).await
    }

    async fn send_showing(
        &self,
        request: &Request<'_>,
        authorization: Option<&Authorization>,
    ) -> Result<Response, Problem> {
        let mut builder = self.exchange.client.request(request.method.clone(), request.url.clone());
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        if let Some(authorization) = authorization.filter(|_| self.is_ours(&request.url)) {
            builder = self.authorizer.authorize(builder, authorization);
        }
        if let Some(body) = &request.body {
            builder = builder.body((body.make)());
        }
        self.exchange.send(builder, request.body.as_ref().map(|it| it.sent_bytes)).await
    }

    /// Uploads and downloads may be somewhere else, where nobody should learn who we are here.
    fn is_ours(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }

    /// `response` when it says that all went well.
    async fn checked(&self, response: Response, authorized: bool) -> Result<Response, Problem> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let (host, redirected_by) = match self.is_ours(response.url()) {
            true => (self.exchange.host.clone(), None),
            false => (authority(response.url()), Some(self.exchange.host.clone())),
        };
        let retry_after = header(response.headers(), RETRY_AFTER.as_str()).and_then(|it| it.trim().parse().ok());
        let retry_after = retry_after.map(Duration::from_secs);
        let (_, message) = self.exchange.message(response).await.unwrap_or_default();
        Err(Problem::Status { host, redirected_by, status, message, retry_after, authorized })
    }

    /// The body of `response`, a document of up to `limit_bytes`.
    pub(crate) async fn read(&self, response: Response, limit_bytes: u64) -> Result<Vec<u8>, Problem> {
        self.exchange.read(response, limit_bytes).await
    }

    /// The next part of a blob; none at its end.
    pub(crate) async fn chunk(&self, response: &mut Response, pace: &mut Pace) -> Result<Option<Vec<u8>>, Problem> {
        self.exchange.paced(response, pace).await
    }

    /// Attempts something until it succeeds, fails for good, or was tried often enough.
    pub(crate) async fn retrying<T>(
        &self,
        doing: &str,
        attempt: impl AsyncFn() -> Result<T, Problem>,
    ) -> Result<T, RegistryError> {
        let mut backoff = self.backoff();
        loop {
            match attempt().await {
                Ok(value) => return Ok(value),
                Err(problem) => self.pause(&mut backoff, problem, false, doing).await?,
            }
        }
    }

    pub(crate) fn backoff(&self) -> Backoff {
        Backoff::new(self.retry)
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    /// When there should be none.
    pub(crate) async fn pause(
        &self,
        backoff: &mut Backoff,
        problem: Problem,
        got_further: bool,
        doing: &str,
    ) -> Result<(), RegistryError> {
        if !problem.is_transient() {
            return Err(RegistryError::transfer(doing, problem, backoff.attempts() + 1));
        }
        match backoff.failed(got_further, problem.retry_after()) {
            Some(pause) => {
                tracing::debug!(doing, %problem, ?pause, "trying again");
                sleep(pause).await;
                Ok(())
            }
            None => Err(RegistryError::transfer(doing, problem, backoff.attempts())),
        }
    }
}

impl Exchange {
    /// Sends a request, and waits for the first bytes of its answer as long as something moves.
    pub(crate) async fn send(
        &self,
        request: RequestBuilder,
        sent_bytes: Option<&AtomicU64>,
    ) -> Result<Response, Problem> {
        let mut sending = std::pin::pin!(request.send());
        let mut sent_before = 0;
        loop {
            match timeout(self.idle, &mut sending).await {
                Ok(result) => return result.map_err(|error| self.problem(&error)),
                Err(_) => {
                    let sent = sent_bytes.map_or(0, |it| it.load(Ordering::Relaxed));
                    if sent == sent_before {
                        return Err(self.silent());
                    }
                    sent_before = sent;
                }
            }
        }
    }

    /// A short body, and what it says as registries say it.
    pub(crate) async fn message(&self, response: Response) -> Result<(Vec<u8>, String), Problem> {
        #[derive(Deserialize)]
        struct Refusals {
            errors: Vec<Refusal>,
        }
        #[derive(Deserialize)]
        struct Refusal {
            code: String,
            #[serde(default)]
            message: String,
        }
        let text = self.read(response, MESSAGE_SIZE_BYTES_MAX).await?;
        let refusals = serde_json::from_slice::<Refusals>(&text).map(|it| it.errors).unwrap_or_default();
        let words = refusals.iter().take(3).map(|it| match it.message.as_str() {
            "" => it.code.clone(),
            message => format!("{}: {message}", it.code),
        });
        let mut words = words.collect::<Vec<_>>().join("; ");
        // Go's own server answers in a sentence; what is a page or a document is nothing to show.
        let sentence = String::from_utf8_lossy(&text);
        if words.is_empty() && !sentence.starts_with(['<', '{', '[']) {
            words = sentence.trim().to_owned();
        }
        let message = if words.is_empty() { String::new() } else { format!(" ({})", shorten(&words)) };
        Ok((text, message))
    }

    async fn read(&self, mut response: Response, limit_bytes: u64) -> Result<Vec<u8>, Problem> {
        if response.content_length().is_some_and(|length| length > limit_bytes) {
            return Err(Problem::TooLarge { limit_bytes });
        }
        let (begun, mut bytes) = (Instant::now(), Vec::new());
        let slow = |bytes: &Vec<u8>| self.slow(bytes.len() as u64, begun);
        while let Some(chunk) =
            timeout_at(begun + self.document, self.chunk(&mut response)).await.map_err(|_| slow(&bytes))??
        {
            bytes.extend(chunk);
            if bytes.len() as u64 > limit_bytes {
                return Err(Problem::TooLarge { limit_bytes });
            }
        }
        Ok(bytes)
    }

    async fn paced(&self, response: &mut Response, pace: &mut Pace) -> Result<Option<Vec<u8>>, Problem> {
        let after = pace.since.elapsed();
        if after >= self.idle {
            if u128::from(pace.received_bytes) * 1000 < RATE_MIN * after.as_millis() {
                return Err(self.slow(pace.received_bytes, pace.since));
            }
            *pace = Pace::new();
        }
        let chunk = self.chunk(response).await?;
        pace.received_bytes += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        Ok(chunk)
    }

    async fn chunk(&self, response: &mut Response) -> Result<Option<Vec<u8>>, Problem> {
        match timeout(self.idle, response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk.map(Vec::from)),
            Ok(Err(error)) => Err(self.problem(&error)),
            Err(_) => Err(self.silent()),
        }
    }

    fn slow(&self, received_bytes: u64, since: Instant) -> Problem {
        Problem::Slow { host: self.host.clone(), received_bytes, after: since.elapsed() }
    }

    fn silent(&self) -> Problem {
        Problem::Silent { host: self.host.clone(), idle: self.idle }
    }

    fn problem(&self, error: &reqwest::Error) -> Problem {
        let mut tls = false;
        let reason = first_cause(error, |cause| tls |= cause.is::<rustls::Error>());
        let host = self.host.clone();
        match () {
            () if error.is_redirect() => Problem::Redirect(reason),
            () if tls => Problem::Tls { host, reason },
            () => Problem::Connection { host, reason },
        }
    }
}

/// The words of what began it, of which the errors around it say nothing.
fn first_cause(error: &(dyn Error + 'static), mut visit: impl FnMut(&(dyn Error + 'static))) -> String {
    let mut cause = error;
    loop {
        visit(cause);
        // An error inside an `io::Error` is not among its sources.
        let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = match inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| cause.source()) {
            Some(next) => next,
            None => return shorten(&cause.to_string()),
        };
    }
}

pub(crate) fn protocol(url: &Url, reason: impl Into<String>) -> Problem {
    Problem::Protocol { host: authority(url), reason: reason.into() }
}

/// Host and port, as in a reference.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Whether what goes to `url` is encrypted, or stays on this machine where that is allowed.
pub(crate) fn is_safe(url: &Url, plain_http: bool) -> bool {
    url.scheme() == "https" || plain_http && url.scheme() == "http" && url.host_str().is_some_and(is_loopback)
}

/// reqwest takes the credentials off a request that is redirected to another host, port or scheme; here it is decided
/// whether it goes there at all.
fn redirects(plain_http: bool) -> Policy {
    Policy::custom(move |attempt| {
        let was_encrypted = attempt.previous().iter().any(|url| url.scheme() == "https");
        if attempt.previous().len() > REDIRECTS_MAX {
            return attempt.error(format!("more than {REDIRECTS_MAX} times"));
        }
        if !is_safe(attempt.url(), plain_http && !was_encrypted) {
            let to = attempt.url().origin().ascii_serialization();
            return attempt.error(format!("to `{}`, which is not encrypted", shorten(&to)));
        }
        attempt.follow()
    })
}

fn client(options: &Options) -> Result<Client, RegistryError> {
    // Whoever was first has chosen the same: there is one implementation of cryptography in this program.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut certificates = Vec::new();
    for file in &options.ca_certificates {
        let error = |reason: String| RegistryError::CaCertificates { file: file.clone(), reason };
        let pem = std::fs::read(file).map_err(|source| error(source.to_string()))?;
        let found = Certificate::from_pem_bundle(&pem).map_err(|source| error(first_cause(&source, |_| {})))?;
        if found.is_empty() {
            return Err(error("it holds no certificate".to_owned()));
        }
        certificates.extend(found);
    }
    let mut builder = Client::builder()
        .user_agent(concat!("isomer/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(options.connect_timeout)
        .redirect(redirects(options.plain_http))
        .referer(false);
    builder = if options.plain_http {
        // A proxy could not reach this machine, and would see everything. Nor is any CA needed.
        builder.no_proxy().tls_certs_only(certificates)
    } else {
        builder.tls_certs_merge(certificates)
    };
    builder.build().map_err(|error| RegistryError::Setup(first_cause(&error, |_| {})))
}

/// A header as text, if it is there and is text.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
