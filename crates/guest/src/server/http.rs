//! HTTP/1.1 and HTTP/2 on a connection. In: a stream of bytes. Out: its requests, to the live service, until it is closed,
//! idle for too long, or the server ends. Never here: what a request is answered with.

use super::body::empty;
use super::connections::{GRACE, Open, Order};
use super::date;
use super::head::{HeadTimer, Received};
use super::limits::ServerLimits;
use super::service::Live;
use super::time::now_ms;
use http::header::CONNECTION;
use http::uri::Scheme;
use http::{HeaderValue, Method, Request, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// The least that hyper takes as the size of a head.
const HEADER_SIZE_BYTES_MIN: usize = 8192;
/// Fields of a head.
const HEADERS_MAX: usize = 100;
/// What an HTTP/2 client may send of its bodies before a guest reads it. The server holds it, for each connection.
const WINDOW_SIZE_BYTES: u32 = 256 << 10;
/// What the server holds of a response that an HTTP/2 client does not read, for each stream.
const SEND_BUFFER_SIZE_BYTES: usize = 128 << 10;
/// How often an HTTP/2 client is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// How connections are served.
#[derive(Clone, Debug)]
pub(super) struct Http {
    builder: Builder<TokioExecutor>,
}

impl Http {
    pub(super) fn new(limits: &ServerLimits) -> Http {
        let header_size = limits.header_size.max(HEADER_SIZE_BYTES_MIN);
        let mut builder = Builder::new(TokioExecutor::new());
        // Without a timer hyper has no time limits. That of HTTP/1.1 is each connection's own, and knows no time: hyper starts it
        // only where there is a limit.
        builder
            .http1()
            // Small responses go out in one buffer, which costs the kernel less than a vector of two.
            .writev(false)
            .header_read_timeout(limits.header_time)
            .max_buf_size(header_size)
            .max_headers(HEADERS_MAX)
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(header_size).unwrap_or(u32::MAX))
            .max_concurrent_streams(limits.streams)
            .initial_connection_window_size(WINDOW_SIZE_BYTES)
            .initial_stream_window_size(WINDOW_SIZE_BYTES)
            .max_send_buf_size(SEND_BUFFER_SIZE_BYTES)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_INTERVAL);
        Http { builder }
    }

    /// Serves a connection to its end, which is when it is told to end, too.
    pub(super) async fn serve(
        mut self,
        io: impl AsyncRead + AsyncWrite + Unpin + 'static,
        scheme: Scheme,
        live: Arc<Live>,
        open: Open,
    ) {
        self.builder.http1().timer(HeadTimer::new(Arc::clone(&open.connection)));
        let io = TokioIo::new(Received::new(io, Arc::clone(&open.connection)));
        let (all, connection) = (Arc::clone(&open.all), Arc::clone(&open.connection));
        let answer = service_fn(move |request: Request<Incoming>| {
            connection.complete_head(now_ms());
            let (all, connection) = (Arc::clone(&all), Arc::clone(&connection));
            let (service, scheme) = (live.get(), scheme.clone());
            async move {
                let (is_head, version) = (*request.method() == Method::HEAD, request.version());
                let mut response = service.answer(&connection, scheme, request).await;
                date::add(&mut response);
                if all.makes_room(&connection) {
                    connection.retire();
                }
                // Its task may see the order only after it has sent this, and would close without a word.
                if version < Version::HTTP_2 && connection.is_ending() {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                // hyper leaves it out in HTTP/1.1, and sends it in HTTP/2.
                Ok::<_, Infallible>(if is_head { response.map(|_| empty()) } else { response })
            }
        });
        let mut serving = pin!(self.builder.serve_connection(io, answer));
        let mut grace = None;
        let mut retired = false;
        poll_fn(|context| {
            if let Poll::Ready(result) = serving.as_mut().poll(context) {
                if let Err(error) = result {
                    tracing::debug!("a connection ended: {error}");
                }
                return Poll::Ready(());
            }
            match open.connection.order(context) {
                Order::Close => return Poll::Ready(()),
                Order::Retire if !retired => {}
                Order::Retire | Order::Serve => return Poll::Pending,
            }
            // A request that is on its way is among those that it has: its client does not know yet. After `serving` has read.
            if open.connection.expects_request() {
                let grace = grace.get_or_insert_with(|| Box::pin(tokio::time::sleep(GRACE)));
                if grace.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
            }
            retired = true;
            serving.as_mut().graceful_shutdown();
            // Idle, it ends now.
            serving.as_mut().poll(context).map(drop)
        })
        .await;
    }
}
