//! How the server is: `/metrics`, `/livez`, `/readyz`, on an address of its own. In: a request. Out: what the caller knows.
//! Never here: the executor that guests run on: this thread answers while they spin.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// How long a client may take for its request's head.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// How long a connection may take as a whole: one whose client does not read must not keep its descriptor.
const CONNECTION_TIME: Duration = Duration::from_secs(15);
/// Connections at once. Each takes a descriptor that the server's own connections would lack.
const CONNECTIONS_MAX: usize = 32;
/// How long each is left alone when there are more: then the oldest is closed, so that no number of clients that say nothing
/// keeps those out that ask whether the server lives.
const GRACE: Duration = Duration::from_millis(100);

/// What is asked here.
pub(super) trait Status: Send + Sync + 'static {
    /// The text for Prometheus.
    fn metrics(&self) -> String;
    /// Whether guests can still be answered for at all.
    fn is_alive(&self) -> bool;
    /// Whether new requests are welcome.
    fn is_ready(&self) -> bool;
}

/// Answers on a thread of its own, for as long as the process lives.
pub(super) fn start(listener: TcpListener, status: Arc<dyn Status>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("status".to_owned()).spawn(move || {
        runtime.block_on(async {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            let mut open = VecDeque::new();
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        make_room(&mut open).await;
                        let serving = tokio::time::timeout(CONNECTION_TIME, serve(stream, Arc::clone(&status)));
                        // A client that is too slow gets no more.
                        let task = tokio::spawn(async move { drop(serving.await) });
                        open.push_back((Instant::now(), task.abort_handle()));
                    }
                    Err(_) => tokio::time::sleep(HEADER_TIME / 50).await,
                }
            }
        });
    })?;
    Ok(())
}

/// Waits until there is room for one more connection.
async fn make_room(open: &mut VecDeque<(Instant, AbortHandle)>) {
    open.retain(|(_, task)| !task.is_finished());
    if open.len() < CONNECTIONS_MAX {
        return;
    }
    if let Some((since, oldest)) = open.pop_front() {
        tokio::time::sleep_until(since + GRACE).await;
        oldest.abort();
    }
}

async fn serve(stream: tokio::net::TcpStream, status: Arc<dyn Status>) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let response = answer(&*status, request.uri().path());
        async move { Ok::<_, Infallible>(response) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME).keep_alive(false);
    // That a client went away is its own affair.
    let _ = http.serve_connection(TokioIo::new(stream), answer).await;
}

fn answer(status: &dyn Status, path: &str) -> Response<Full<Bytes>> {
    let ok = |is: bool, text: &'static str| match is {
        true => (StatusCode::OK, "ok\n".to_owned()),
        false => (StatusCode::SERVICE_UNAVAILABLE, text.to_owned()),
    };
    let (code, text) = match path {
        "/metrics" => (StatusCode::OK, status.metrics()),
        "/livez" => ok(status.is_alive(), "guests hold every thread\n"),
        "/readyz" => ok(status.is_ready(), "the server ends\n"),
        _ => (StatusCode::NOT_FOUND, "there are /metrics, /livez and /readyz\n".to_owned()),
    };
    let kind = match path {
        "/metrics" => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        _ => "text/plain; charset=utf-8",
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
