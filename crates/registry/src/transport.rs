//! In: a request to a registry. Out: its successful answer, after as many attempts as may help. Never here: what a request
//! is about; credentials shown to another host.

use crate::backoff::Backoff;
use crate::credentials::credential;
use crate::exchange::{Exchange, Pace, authority, header, is_safe};
use crate::token::{Authorization, Authorizer};
use crate::{Options, Problem, Reference, RegistryError, Retry};
use isomer_contract::shorten;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::header::{HeaderName, RETRY_AFTER};
use reqwest::{Body, Method, Response, StatusCode, Url};
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::time::sleep;

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
    /// How many of its bytes were handed to the connection. While that grows, the exchange is not idle.
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
        let host = reference.host();
        if options.plain_http && !reference.is_loopback() {
            return Err(RegistryError::PlainHttp(host.to_owned()));
        }
        // Docker's own registry answers under another name than the one in its references.
        let address = if host == "docker.io" { "registry-1.docker.io" } else { host };
        let scheme = if options.plain_http { "http" } else { "https" };
        let base = format!("{scheme}://{address}/v2/{}/", reference.repository());
        let base = Url::parse(&base).map_err(|error| RegistryError::Setup(format!("`{base}`: {error}")))?;
        let authorizer = Authorizer::new(credential(host, options)?, &base, &options.token_hosts);
        let exchange = Exchange::new(host, options)?;
        Ok(Transport { exchange, authorizer, base, retry: options.retry })
    }

    /// The URL of `path` below the repository.
    pub(crate) fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        // Digests and tags hold nothing that would need escaping, and no dots alone.
        url.set_path(&format!("{}{path}", self.base.path()));
        url
    }

    /// The URL that `location`, the answer to a request, points to.
    pub(crate) fn location(&self, from: &Url, location: &str) -> Result<Url, Problem> {
        let url = from.join(location).ok().filter(|url| is_safe(url, self.exchange.plain_http));
        url.ok_or_else(|| Problem::Redirect(format!("to `{}`, expected an https:// URL", shorten(location))))
    }

    /// Sends `request` once, or twice when the registry requires credentials. Any answer but success is a [`Problem`].
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

    /// Whether `url` is the registry itself: uploads and downloads may be at another host, which must not see the
    /// registry's credentials.
    fn is_ours(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }

    /// `response` when it is a success.
    async fn checked(&self, response: Response, authorized: bool) -> Result<Response, Problem> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let (host, redirected_by) = match self.is_ours(response.url()) {
            true => (self.exchange.host.clone(), None),
            false => (authority(response.url()), Some(self.exchange.host.clone())),
        };
        let retry_after = header(response.headers(), RETRY_AFTER.as_str());
        let retry_after = retry_after.and_then(|value| pause_of(value, Timestamp::now()));
        let (_, refusal) = self.exchange.message(response).await.unwrap_or_default();
        Err(Problem::Status { host, redirected_by, status, refusal, retry_after, authorized })
    }

    /// The body of `response`, a document of at most `limit_bytes`.
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

/// The pause that `Retry-After` requests: a number of seconds, or an HTTP date, as RFC 9110 has them.
fn pause_of(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = rfc2822::parse(value).ok()?.timestamp();
    Some(date.duration_since(now).try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_asks_for_a_pause_in_seconds_or_by_a_date() {
        let now: Timestamp = "2026-11-30T12:00:00Z".parse().expect("a time");
        for (value, expected) in [
            ("7", Some(7)),
            (" 120 ", Some(120)),
            ("Mon, 30 Nov 2026 12:00:30 GMT", Some(30)),
            ("Mon, 30 Nov 2026 11:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(pause_of(value, now), expected.map(Duration::from_secs), "{value}");
        }
    }
}
