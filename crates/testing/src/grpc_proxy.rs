//! In: the real server, and a test's rule. Out: the same server, except where the rule answers instead or changes its
//! answer. Calls pass undecoded, headers and trailers as they are.

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use futures_util::future::{AbortHandle, abortable};
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, BodyStream, StreamBody};
use prost::Message;
use prost::bytes::Bytes;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{self, HeaderMap, HeaderValue};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server, ServerTlsConfig};

/// A call as a rule sees it.
pub struct Call {
    /// `Execute`, `BatchReadBlobs` …
    pub method: String,
    /// How many calls of this method there were before.
    pub before: usize,
    /// Its metadata.
    pub headers: HeaderMap,
}

/// What the proxy does with a call.
pub enum Verdict {
    /// Hand it on.
    Forward,
    /// Answer with this status.
    Refuse(Status),
    /// Answer with these messages.
    Say(Vec<Vec<u8>>),
    /// Answer with these messages, then never end.
    SayAndHang(Vec<Vec<u8>>),
    /// Forward, with these messages before the server's.
    SayFirst(Vec<Vec<u8>>),
    /// Read the call to its end, keep its bytes, and answer with this message.
    Keep(Arc<Mutex<Vec<u8>>>, Vec<u8>),
    /// Never answer.
    Hang,
    /// Forward, and change the last byte of every piece of the answer.
    Lie,
    /// Answer with these headers.
    Headers(Vec<(&'static str, &'static str)>),
}

/// A rule that lets in who has the bearer token `s3cret`.
pub fn with_token(call: &Call) -> Verdict {
    match call.headers.get("authorization").map(|value| value.as_bytes()) {
        Some(b"Bearer s3cret") => Verdict::Forward,
        Some(_) => Verdict::Refuse(Status::permission_denied("this token is for others")),
        None => Verdict::Refuse(Status::unauthenticated("no token")),
    }
}

type Rule = dyn Fn(&Call) -> Verdict + Send + Sync;

/// A proxy that runs.
pub struct GrpcProxy {
    /// Where it listens.
    pub address: SocketAddr,
    counts: Arc<Mutex<BTreeMap<String, usize>>>,
    stop: AbortHandle,
    thread: Option<JoinHandle<()>>,
}

/// With what the rule holds on to, the server itself perhaps.
impl Drop for GrpcProxy {
    fn drop(&mut self) {
        self.stop.abort();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl GrpcProxy {
    /// Starts one in front of `server`, that does with each call what `rule` returns.
    pub fn start(server: SocketAddr, rule: impl Fn(&Call) -> Verdict + Send + Sync + 'static) -> GrpcProxy {
        GrpcProxy::with_tls(server, None, rule)
    }

    /// The same, which speaks TLS.
    pub fn with_tls(
        server: SocketAddr,
        tls: Option<ServerTlsConfig>,
        rule: impl Fn(&Call) -> Verdict + Send + Sync + 'static,
    ) -> GrpcProxy {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let entered = runtime.enter();
        let channel = Channel::from_shared(format!("http://{server}")).unwrap().connect_lazy();
        let counts: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
        let (counting, rule): (_, Arc<Rule>) = (Arc::clone(&counts), Arc::new(rule));
        let answer = move |request: Request| {
            let (channel, counts, rule) = (channel.clone(), Arc::clone(&counting), Arc::clone(&rule));
            async move { answer(request, channel, &counts, &*rule).await }
        };
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let mut builder = Server::builder();
        if let Some(tls) = tls {
            builder = builder.tls_config(tls).unwrap();
        }
        let routes = Router::new().fallback(answer);
        let serving = builder.add_routes(routes.into()).serve_with_incoming(TcpIncoming::from(listener));
        drop(entered);
        let (serving, stop) = abortable(serving);
        let thread = thread::spawn(move || drop(runtime.block_on(serving)));
        GrpcProxy { address, counts, stop, thread: Some(thread) }
    }

    /// How often a method was called.
    pub fn calls(&self, method: &str) -> usize {
        self.counts.lock().unwrap().get(method).copied().unwrap_or(0)
    }
}

async fn answer(
    request: Request,
    mut channel: Channel,
    counts: &Mutex<BTreeMap<String, usize>>,
    rule: &Rule,
) -> Response {
    let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    let before = {
        let mut counts = counts.lock().unwrap();
        let count = counts.entry(method.clone()).or_default();
        *count += 1;
        *count - 1
    };
    let verdict = rule(&Call { method, before, headers: request.headers().clone() });
    match verdict {
        Verdict::Refuse(status) => return status.into_http::<Body>().map(axum::body::Body::new),
        Verdict::Hang => return std::future::pending().await,
        Verdict::Say(messages) => return spoken(messages, false),
        Verdict::SayAndHang(messages) => return spoken(messages, true),
        Verdict::Keep(kept, message) => {
            let bytes = request.into_body().collect().await.unwrap().to_bytes();
            kept.lock().unwrap().extend_from_slice(&bytes);
            return spoken(vec![message], false);
        }
        Verdict::Headers(headers) => {
            let mut response = http::Response::new(axum::body::Body::empty());
            response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
            for (name, value) in headers {
                response.headers_mut().insert(name, HeaderValue::from_static(value));
            }
            return response;
        }
        Verdict::Forward | Verdict::Lie | Verdict::SayFirst(_) => {}
    }
    std::future::poll_fn(|context| channel.poll_ready(context)).await.unwrap();
    let forwarded = channel.call(request.map(Body::new)).await;
    let response = forwarded.unwrap_or_else(|error| Status::unavailable(error.to_string()).into_http());
    match verdict {
        Verdict::Lie => response.map(|body| {
            axum::body::Body::new(body.map_frame(|frame| {
                frame.map_data(|data| {
                    let mut data = data.to_vec();
                    if let Some(last) = data.last_mut() {
                        *last ^= 1;
                    }
                    Bytes::from(data)
                })
            }))
        }),
        Verdict::SayFirst(messages) => response.map(|body| {
            let first = stream::iter(messages.into_iter().map(|message| Ok(framed(message))));
            axum::body::Body::new(StreamBody::new(first.chain(BodyStream::new(body))))
        }),
        _ => response.map(axum::body::Body::new),
    }
}

/// A message on the wire: no compression, its length, itself.
fn framed(message: Vec<u8>) -> http_body::Frame<Bytes> {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(&message);
    http_body::Frame::data(Bytes::from(bytes))
}

fn spoken(messages: Vec<Vec<u8>>, hang: bool) -> Response {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let mut frames: Vec<_> = messages.into_iter().map(framed).collect();
    if !hang {
        frames.push(http_body::Frame::trailers(trailers));
    }
    let frames = stream::iter(frames.into_iter().map(Ok::<_, Infallible>));
    let body = if hang {
        axum::body::Body::new(StreamBody::new(frames.chain(stream::pending())))
    } else {
        axum::body::Body::new(StreamBody::new(frames))
    };
    let mut response = http::Response::new(body);
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

/// The message as bytes for a verdict.
pub fn say(message: &impl Message) -> Vec<u8> {
    message.encode_to_vec()
}

/// The messages in the bytes of a call.
pub fn messages<T: Message + Default>(mut bytes: &[u8]) -> Vec<T> {
    let mut found = Vec::new();
    while let [_compressed, a, b, c, d, rest @ ..] = bytes {
        let (message, rest) = rest.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
        found.push(T::decode(message).unwrap());
        bytes = rest;
    }
    found
}
