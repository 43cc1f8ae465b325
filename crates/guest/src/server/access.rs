//! The access log. In: a request's head, its end and its route. Out: a line of the log. Never here: a cost where there is no such
//! log; a header of the client but `traceparent`.

use super::exchange::{Cause, Exchange};
use super::time::now_us;
use http::{Method, Request, StatusCode};

/// A line of the access log.
pub(super) struct Access {
    method: Method,
    path: String,
    traceparent: String,
    status: u16,
}

impl Access {
    /// None where it is not logged.
    pub(super) fn of<B>(request: &Request<B>) -> Option<Access> {
        tracing::enabled!(target: "access", tracing::Level::INFO).then(|| {
            let traceparent = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
            Access {
                method: request.method().clone(),
                path: request.uri().path().to_owned(),
                traceparent: traceparent.unwrap_or_default().to_owned(),
                status: 0,
            }
        })
    }

    /// Of a response with this status.
    pub(super) fn with_status(self, status: StatusCode) -> Access {
        Access { status: status.as_u16(), ..self }
    }

    /// Logs it, at the end of the exchange.
    pub(super) fn log(&self, exchange: &Exchange, route: &str) {
        let Access { method, path, traceparent, status } = self;
        let (request, ms) = (exchange.id.to_string(), u64::try_from(exchange.age(now_us()).as_millis()).ok());
        let end = exchange.cause().map_or("complete", Cause::name);
        tracing::info!(target: "access", %method, path, status, ms, end, route, request, traceparent, "request");
    }
}
