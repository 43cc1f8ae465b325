//! HTTP requests that a guest may not send. In: a request. Out: the error that it is denied.

use crate::denials::Denials;
use http::{Request, Response};
use wasmtime_wasi_http::{Error, RequestOptions, Result, WasiBody, WasiHttpHooks};

/// Denies every request.
#[derive(Clone, Debug, Default)]
pub struct NoOutgoing {
    denials: Denials,
}

impl NoOutgoing {
    /// One that reports there what it denies.
    pub(crate) fn reporting(denials: Denials) -> NoOutgoing {
        NoOutgoing { denials }
    }
}

/// The pieces in which the host takes a guest's bodies. It holds some of each body that is not read, or that a guest of WASI 0.2
/// has only begun, and none of that counts as the guest's memory: wasmtime's own 1 MiB would be gigabytes.
pub(crate) const BODY_PIECE_SIZE_BYTES: usize = 64 << 10;

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for NoOutgoing {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        _options: Option<RequestOptions>,
        _processed: Io,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Io)>> + Send> {
        let host = request.uri().host().unwrap_or("no host").to_owned();
        let denials = self.denials.clone();
        Box::new(async move {
            denials.report_name("an HTTP request to", &host, "no outgoing HTTP is granted");
            Err(Error::HttpRequestDenied)
        })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_PIECE_SIZE_BYTES
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_PIECE_SIZE_BYTES
    }
}
