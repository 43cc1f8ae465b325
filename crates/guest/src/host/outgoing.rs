//! HTTP requests that a guest may not send. In: a request. Out: the error that it is denied.

use http::{Request, Response};
use wasmtime_wasi_http::{Error, RequestOptions, Result, WasiBody, WasiHttpHooks};

/// Denies every request.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoOutgoing;

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for NoOutgoing {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        _options: Option<RequestOptions>,
        _processed: Io,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Io)>> + Send> {
        let host = request.uri().host().unwrap_or("no host").to_owned();
        Box::new(async move {
            tracing::warn!("an HTTP request to `{host}` was denied: no outgoing HTTP is granted");
            Err(Error::HttpRequestDenied)
        })
    }
}
