//! In: an address and the options. Out: an [`Endpoint`]: a lazy HTTP/2 connection, and the headers of every call. Never
//! here: what a call means.

use crate::address::Address;
use crate::digest::BlobDigest;
use crate::error::{Deadline, RemoteError};
use crate::options::{Deadlines, Options, Retry, Tls};
use crate::retry::Budget;
use bazel_remote_apis::build::bazel::remote::execution::v2 as reapi;
use isomer_contract::one_line;
use isomer_file::FileError;
use prost::Message;
use std::path::Path;
use std::time::Duration;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};
use tonic::{Request, Response, Status};

/// tonic refuses messages over 4 MiB unless told otherwise, and a batch of blobs just under that is over it with its
/// frame. Servers choose the size of a stream's pieces.
pub(crate) const MESSAGE_SIZE_BYTES_MAX: usize = 64 << 20;

/// What gRPC, HTTP/2 and the connection say of themselves, beside all that begins with `grpc-`.
const PROTOCOL_HEADERS: [&str; 10] = [
    "connection",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

const REQUEST_METADATA: &str = "build.bazel.remote.execution.v2.requestmetadata-bin";

/// One address, ready for calls. Clones share the connection.
#[derive(Clone)]
pub(crate) struct Endpoint {
    /// As the user wrote it.
    pub(crate) url: String,
    pub(crate) tls: bool,
    pub(crate) channel: Channel,
    pub(crate) deadlines: Deadlines,
    pub(crate) retry: Retry,
    headers: MetadataMap,
    metadata: reapi::RequestMetadata,
}

impl Endpoint {
    /// Reads certificates; connects at the first call. Must be called inside a tokio runtime.
    pub(crate) fn new(url: &str, options: &Options) -> Result<Endpoint, RemoteError> {
        let bad = |what: String, reason: String| RemoteError::Options { what, reason, hint: None };
        let Address { tls, authority, .. } = Address::parse(url)?;
        let http = format!("{}://{authority}", if tls { "https" } else { "http" });
        let mut endpoint =
            Channel::from_shared(http).map_err(|error| bad(format!("the address `{url}`"), error.to_string()))?;
        endpoint = endpoint
            .connect_timeout(options.deadlines.connect)
            .tcp_nodelay(true)
            .http2_adaptive_window(true)
            .user_agent(user_agent(options))
            .map_err(|error| bad("the tool's name".to_owned(), error.to_string()))?;
        if let Some(interval) = options.keepalive {
            endpoint = endpoint.http2_keep_alive_interval(interval).keep_alive_timeout(options.deadlines.connect);
        }
        if tls {
            endpoint = endpoint
                .tls_config(tls_config(&options.tls)?)
                .map_err(|error| bad(options.tls.files(), one_line(&error)))?;
        }
        Ok(Endpoint {
            url: url.to_owned(),
            tls,
            channel: endpoint.connect_lazy(),
            deadlines: options.deadlines.clone(),
            retry: options.retry.clone(),
            headers: headers(options)?,
            metadata: reapi::RequestMetadata {
                tool_details: Some(reapi::ToolDetails {
                    tool_name: options.tool.name.clone(),
                    tool_version: options.tool.version.clone(),
                }),
                tool_invocation_id: options.tool.invocation_id.clone(),
                ..reapi::RequestMetadata::default()
            },
        })
    }

    /// A request with everything that goes with each; `action` is what it is for, if for one.
    pub(crate) fn request<T>(&self, message: T, action: Option<BlobDigest>) -> Request<T> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.headers.clone();
        let mut metadata = self.metadata.clone();
        metadata.action_id = action.map(|digest| digest.hash()).unwrap_or_default();
        let value = MetadataValue::from_bytes(&metadata.encode_to_vec());
        request.metadata_mut().insert_bin(REQUEST_METADATA, value);
        request
    }

    /// Calls until there is an answer or the patience is over.
    pub(crate) async fn call<T>(
        &self,
        call: &'static str,
        attempt: impl AsyncFnMut() -> Result<T, Status>,
    ) -> Result<T, RemoteError> {
        self.call_within(self.deadlines.call, call, attempt).await
    }

    pub(crate) async fn call_within<T>(
        &self,
        limit: Duration,
        call: &'static str,
        mut attempt: impl AsyncFnMut() -> Result<T, Status>,
    ) -> Result<T, RemoteError> {
        let mut budget = Budget::new(&self.retry);
        loop {
            match within(limit, attempt()).await {
                Ok(answer) => return Ok(answer),
                Err(status) => budget.after(&self.url, call, &status).await?,
            }
        }
    }

    pub(crate) fn too_late(&self, deadline: Deadline, limit: Duration) -> RemoteError {
        RemoteError::Deadline { url: self.url.clone(), deadline, limit }
    }

    pub(crate) fn invalid_response(&self, call: &'static str, reason: impl Into<String>) -> RemoteError {
        RemoteError::InvalidResponse { url: self.url.clone(), call, reason: reason.into() }
    }
}

/// A silent remote is an unavailable one.
pub(crate) async fn within<T>(limit: Duration, answer: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let silence = || Status::unavailable(format!("no answer within {} s", limit.as_secs_f32()));
    tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| Err(silence()))
}

pub(crate) fn inner<T>(response: Response<T>) -> T {
    response.into_inner()
}

fn user_agent(options: &Options) -> String {
    let name = if options.tool.name.is_empty() { env!("CARGO_PKG_NAME") } else { &options.tool.name };
    let version = if options.tool.version.is_empty() { env!("CARGO_PKG_VERSION") } else { &options.tool.version };
    format!("{name}/{version}")
}

fn headers(options: &Options) -> Result<MetadataMap, RemoteError> {
    let mut headers = MetadataMap::new();
    for header in &options.headers {
        // The value stays out of the message: it may be a secret.
        let bad = |reason: &str| RemoteError::Options {
            what: format!("the header `{}`", header.name),
            reason: reason.to_owned(),
            hint: None,
        };
        let name = AsciiMetadataKey::from_bytes(header.name.to_ascii_lowercase().as_bytes())
            .map_err(|_| bad("invalid name of a header"))?;
        if name.as_str().starts_with("grpc-") || PROTOCOL_HEADERS.contains(&name.as_str()) {
            return Err(bad("it is reserved by the protocol"));
        }
        let value = AsciiMetadataValue::try_from(&header.value)
            .map_err(|_| bad("the value has characters that a header cannot have"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// The largest PEM file that is read: the CA certificates of a whole system have less than 1 MiB.
const PEM_SIZE_BYTES_MAX: u64 = 16 << 20;

/// What PEM says it holds.
const CERTIFICATE: &str = "CERTIFICATE";
const KEY: &str = "PRIVATE KEY";

fn tls_config(tls: &Tls) -> Result<ClientTlsConfig, RemoteError> {
    let mut config = ClientTlsConfig::new();
    if tls.ca_files.is_empty() {
        config = config.with_native_roots();
    }
    for path in &tls.ca_files {
        config = config.ca_certificate(Certificate::from_pem(read_pem(path, CERTIFICATE)?));
    }
    if let Some(client) = &tls.client {
        config = config
            .identity(Identity::from_pem(read_pem(&client.certificate, CERTIFICATE)?, read_pem(&client.key, KEY)?));
    }
    if let Some(name) = &tls.server_name {
        config = config.domain_name(name);
    }
    Ok(config)
}

/// The TLS library silently accepts files without a certificate, and then trusts no peer.
fn read_pem(path: &Path, label: &str) -> Result<Vec<u8>, RemoteError> {
    let bad = |reason: String| RemoteError::Options { what: path.display().to_string(), reason, hint: None };
    let bytes = isomer_file::read_or_pipe(path, PEM_SIZE_BYTES_MAX).map_err(|error| match error {
        FileError::Io { source, .. } => bad(source.to_string()),
        other => bad(other.to_string()),
    })?;
    let is_wanted = |line: &[u8]| {
        let words = line.trim_ascii().strip_prefix(b"-----BEGIN ").and_then(|rest| rest.strip_suffix(b"-----"));
        // Keys may have a word before it that says of what kind they are.
        words.is_some_and(|words| words == label.as_bytes() || label == KEY && words.ends_with(b" PRIVATE KEY"))
    };
    if !bytes.split(|byte| *byte == b'\n').any(is_wanted) {
        return Err(bad(format!("expected PEM, found no `-----BEGIN {label}-----`")));
    }
    Ok(bytes)
}
