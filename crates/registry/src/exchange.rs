//! In: a request that is ready to be sent. Out: its answer, of a bounded size, within a bounded time. Never here: a
//! credential, a second attempt, a redirect from TLS to plain HTTP.

use crate::reference::is_loopback;
use crate::{Options, Problem, Refusal, RegistryError};
use isomer_contract::{chain, shorten};
use isomer_file::FileError;
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, RequestBuilder, Response, Url};
use serde::Deserialize;
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// More redirects than this are a loop.
const REDIRECTS_MAX: usize = 5;
/// The largest refusal or token that is read.
const MESSAGE_SIZE_BYTES_MAX: u64 = 64 << 10;
/// The largest file of CA certificates that is read: a system's whole set has less than 1 MiB.
const CERTIFICATES_SIZE_BYTES_MAX: u64 = 16 << 20;
/// The least bytes a second, over the idle timeout. A blob that comes slower is requested again.
const RATE_MIN: u128 = 1 << 10;

/// Connections to one registry.
pub(crate) struct Exchange {
    /// For the registry: follows redirects, and never to a host without TLS.
    pub(crate) client: Client,
    /// For the registry's token service: follows no redirect, since a request holds a password or a refresh
    /// token, in its body too, which reqwest would send again.
    pub(crate) token_client: Client,
    /// As in a reference.
    pub(crate) host: String,
    pub(crate) plain_http: bool,
    idle: Duration,
    document: Duration,
}

/// How many bytes of a body were received, and since when.
pub(crate) struct Pace {
    since: Instant,
    received_bytes: u64,
}

impl Pace {
    pub(crate) fn new() -> Pace {
        Pace { since: Instant::now(), received_bytes: 0 }
    }
}

impl Exchange {
    /// Prepares connections; none is opened yet.
    pub(crate) fn new(host: &str, options: &Options) -> Result<Exchange, RegistryError> {
        let Options { plain_http, idle_timeout: idle, document_timeout: document, .. } = *options;
        let built = |builder: ClientBuilder| builder.build().map_err(|error| RegistryError::Setup(innermost(&error)));
        let client = built(builder(options)?.redirect(redirects(plain_http)))?;
        let token_client = built(builder(options)?.redirect(Policy::none()))?;
        Ok(Exchange { client, token_client, host: host.to_owned(), plain_http, idle, document })
    }

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

    /// A short body, and the refusal that it holds in the form of the OCI distribution specification, if it is one.
    pub(crate) async fn message(&self, response: Response) -> Result<(Vec<u8>, Refusal), Problem> {
        #[derive(Deserialize)]
        struct Answer {
            errors: Vec<Entry>,
        }
        #[derive(Deserialize)]
        struct Entry {
            code: String,
            #[serde(default)]
            message: String,
        }
        let text = self.read(response, MESSAGE_SIZE_BYTES_MAX).await?;
        let entries = serde_json::from_slice::<Answer>(&text).map(|it| it.errors).unwrap_or_default();
        let shown = entries.iter().take(3).map(|it| match it.message.as_str() {
            "" => it.code.clone(),
            message => format!("{}: {message}", it.code),
        });
        let mut words = shown.collect::<Vec<_>>().join("; ");
        // Go's own server answers in a sentence. A page or a document is not shown.
        let sentence = String::from_utf8_lossy(&text);
        if words.is_empty() && !sentence.starts_with(['<', '{', '[']) {
            words = sentence.trim().to_owned();
        }
        let codes = entries.into_iter().take(3).map(|it| shorten(&it.code)).collect();
        Ok((text, Refusal { codes, words: shorten(&words) }))
    }

    /// The body of `response`, a document of at most `limit_bytes`.
    pub(crate) async fn read(&self, mut response: Response, limit_bytes: u64) -> Result<Vec<u8>, Problem> {
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

    /// The next part of a blob; none at its end.
    pub(crate) async fn paced(&self, response: &mut Response, pace: &mut Pace) -> Result<Option<Vec<u8>>, Problem> {
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
        let reason = innermost(error);
        let host = self.host.clone();
        match () {
            () if error.is_redirect() => Problem::Redirect(reason),
            () if chain(error).any(|cause| cause.is::<rustls::Error>()) => Problem::Tls { host, reason },
            () => Problem::Connection { host, reason },
        }
    }
}

/// The text of the innermost error; those around it add nothing.
fn innermost(error: &(dyn Error + 'static)) -> String {
    chain(error).last().map_or_else(String::new, |cause| shorten(&cause.to_string()))
}

pub(crate) fn protocol(url: &Url, reason: impl Into<String>) -> Problem {
    Problem::Protocol { host: authority(url), reason: reason.into() }
}

/// Host and port, as in a reference.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Whether a request to `url` is encrypted, or does not leave this machine where plain HTTP is allowed.
pub(crate) fn is_safe(url: &Url, plain_http: bool) -> bool {
    url.scheme() == "https" || plain_http && url.scheme() == "http" && url.host_str().is_some_and(is_loopback)
}

/// reqwest removes the credentials from a request that is redirected to another host, port or scheme; this decides
/// whether it is sent there at all.
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

/// Why a file cannot be read, for an error that names the file itself.
pub(crate) fn reason_of(error: &FileError) -> String {
    match error {
        FileError::Io { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}

fn builder(options: &Options) -> Result<ClientBuilder, RegistryError> {
    // An error means that one is installed already: every crate of this program installs the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut certificates = Vec::new();
    for file in &options.ca_certificates {
        let error = |reason: String| RegistryError::CaCertificates { file: file.clone(), reason };
        let pem =
            isomer_file::read_or_pipe(file, CERTIFICATES_SIZE_BYTES_MAX).map_err(|source| error(reason_of(&source)))?;
        let found = Certificate::from_pem_bundle(&pem).map_err(|source| error(innermost(&source)))?;
        if found.is_empty() {
            return Err(error("it holds no certificate".to_owned()));
        }
        certificates.extend(found);
    }
    let builder = Client::builder()
        .user_agent(concat!("isomer/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(options.connect_timeout)
        .referer(false);
    Ok(if options.plain_http {
        // A proxy could not reach this machine, and would see everything. No CA is needed.
        builder.no_proxy().tls_certs_only(certificates)
    } else {
        builder.tls_certs_merge(certificates)
    })
}

/// A header's value, if it is present and is text.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
