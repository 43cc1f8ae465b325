//! The server's own answers. In: why a request has no answer of a guest's. Out: a short text with the request's name, by
//! which the log tells more. Never here: what a guest or this machine is like.

use super::admission::Refused;
use super::body::text;
use super::exchange::{Cause, RequestId};
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use wasmtime_wasi_http::WasiBody;

/// After how many seconds a refused client may try again.
const RETRY_AFTER_S: u64 = 1;

/// Why the server answers by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// It has no `Host`, or more than one.
    Host,
    /// It has a target that no guest can be given: `*`, or another host's.
    Target,
    /// A path that servers read in different ways, by which it reaches different routes.
    AmbiguousPath,
    /// A body with another coding than `chunked`.
    TransferCoding,
    /// No route answers it.
    NoRoute,
    /// Its body is declared as larger than its route allows.
    TooLarge,
    /// Its route is at its limit.
    Refused(Refused),
    /// The guest trapped, or gave no valid response.
    Failed,
    /// No instance could be made.
    NoInstance,
    /// It was cancelled.
    Cancelled(Cause),
}

impl Reason {
    /// Those of requests that reach no route.
    pub(super) const BEFORE_ROUTE: [Reason; 5] =
        [Reason::Host, Reason::Target, Reason::AmbiguousPath, Reason::TransferCoding, Reason::NoRoute];

    /// Those of requests that a route is to answer.
    pub(super) const OF_ROUTE: [Reason; 13] = [
        Reason::TooLarge,
        Reason::Refused(Refused::Full),
        Reason::Refused(Refused::Waited),
        Reason::Failed,
        Reason::NoInstance,
        Reason::Cancelled(Cause::ClientGone),
        Reason::Cancelled(Cause::NoResponse),
        Reason::Cancelled(Cause::TooLong),
        Reason::Cancelled(Cause::RequestBodyIdle),
        Reason::Cancelled(Cause::ResponseBodyIdle),
        Reason::Cancelled(Cause::ClientNotReading),
        Reason::Cancelled(Cause::ServerEnds),
        Reason::Cancelled(Cause::InstanceEnded),
    ];

    pub(super) fn status(self) -> StatusCode {
        match self {
            Reason::Host | Reason::Target | Reason::AmbiguousPath => StatusCode::BAD_REQUEST,
            Reason::TransferCoding => StatusCode::NOT_IMPLEMENTED,
            Reason::NoRoute => StatusCode::NOT_FOUND,
            Reason::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Reason::Refused(_) | Reason::NoInstance | Reason::Cancelled(Cause::ServerEnds) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Reason::Cancelled(Cause::RequestBodyIdle) => StatusCode::REQUEST_TIMEOUT,
            Reason::Cancelled(Cause::NoResponse | Cause::TooLong) => StatusCode::GATEWAY_TIMEOUT,
            Reason::Failed | Reason::Cancelled(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Reason::Host => "the request needs one valid Host header",
            Reason::Target => "the request's target is not a path",
            Reason::AmbiguousPath => "the request's path can be read in more than one way",
            Reason::TransferCoding => "the request's body has a transfer coding other than chunked",
            Reason::NoRoute => "nothing is served here",
            Reason::TooLarge => "the request's body is too large",
            Reason::Refused(_) | Reason::NoInstance => "too many requests at once",
            Reason::Cancelled(Cause::ServerEnds) => "the server ends",
            Reason::Cancelled(Cause::RequestBodyIdle) => "the request's body did not arrive in time",
            Reason::Cancelled(Cause::NoResponse | Cause::TooLong) => "no response in time",
            Reason::Failed | Reason::Cancelled(_) => "the guest failed",
        }
    }

    /// Its name in metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Reason::Host => "host",
            Reason::Target => "target",
            Reason::AmbiguousPath => "ambiguous-path",
            Reason::TransferCoding => "transfer-coding",
            Reason::NoRoute => "no-route",
            Reason::TooLarge => "request-size",
            Reason::Refused(refused) => refused.name(),
            Reason::Failed => "failed",
            Reason::NoInstance => "no-instance",
            Reason::Cancelled(cause) => cause.name(),
        }
    }
}

/// The answer.
pub(super) fn response(reason: Reason, id: RequestId) -> Response<WasiBody> {
    let status = reason.status();
    let mut response = Response::new(text(format!("{}: {} (request {id})\n", status.as_u16(), reason.sentence())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
    }
    response
}
