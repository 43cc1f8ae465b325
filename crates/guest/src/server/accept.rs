//! How connections come in. In: a listener, and the connections that are open. Out: each new one served, once there is room for it,
//! until the listener is to be closed. Never here: a client that was accepted and is not served.

use super::connections::{Connections, WaitsForRoom};
use super::http::Http;
use super::listener::{BACKLOG, Listener, Stream};
use super::service::Live;
use super::time::now_ms;
use super::tls::Tls;
use futures_util::FutureExt;
use http::uri::Scheme;
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// How long the server waits before it accepts again after the system had no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Within it, a connection that is told to close has closed.
const CLOSE_TIME: Duration = Duration::from_secs(1);
/// How many idle connections are closed when the system has no room for another.
const MADE_ROOM: usize = 32;

/// Accepts connections of one listener.
#[derive(Clone)]
pub(super) struct Acceptor {
    pub(super) http: Http,
    pub(super) live: Arc<Live>,
    pub(super) connections: Arc<Connections>,
    /// One for each connection that may be open.
    pub(super) permits: Arc<Semaphore>,
    pub(super) header_time: Duration,
    pub(super) tls: Option<Tls>,
}

impl Acceptor {
    /// Accepts connections until `closing` is set: what the system has accepted by then is served, too.
    pub(super) async fn accept(self, listener: Arc<Listener>, mut closing: watch::Receiver<bool>) {
        // An error means that the server is gone.
        let mut closing = pin!(closing.wait_for(|closing| *closing).map(drop).fuse());
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut closing => {
                    self.accept_rest(&listener);
                    break;
                }
                accepted = listener.accept() => accepted,
            };
            match accepted {
                // Room is made for a client that is there, never in advance: that would close a connection whose request is
                // still on its way.
                Ok(stream) => {
                    let permit = tokio::select! {
                        biased;
                        permit = self.permit() => permit,
                        // Others end from now on: it is one more for a moment.
                        () = &mut closing => {
                            self.serve(stream, None);
                            break;
                        }
                    };
                    self.serve(stream, permit);
                }
                // The client gave up in the queue.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::error!("cannot accept a connection: {error}");
                    self.connections.close_idlest(MADE_ROOM, now_ms());
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // Those that are idle end now that their clients cannot come back.
        drop(listener);
        self.connections.retire_all();
    }

    /// Serves those in the system's queue, which it would reset with the listener, as far as there is room.
    fn accept_rest(&self, listener: &Listener) {
        if listener.is_inherited() {
            return;
        }
        for _ in 0..BACKLOG {
            let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else { return };
            match listener.accept_now() {
                Ok(Some(stream)) => self.serve(stream, Some(permit)),
                Ok(None) => return,
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
                Err(error) => return tracing::error!("cannot accept a connection: {error}"),
            }
        }
    }

    /// A permit for one more connection. Where there are too many, one that is idle makes room; where none is, the one that has
    /// the next response ends with it, and one more each time that it takes long to end.
    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Some(permit);
        }
        let mut permit = pin!(Arc::clone(&self.permits).acquire_owned());
        let mut waits = None;
        loop {
            // On a busy machine it takes a while until a connection has closed. To close more of them meanwhile would reach
            // those that were just accepted.
            let made_room = self.connections.close_idlest(1, now_ms());
            let pause = if made_room { CLOSE_TIME } else { ACCEPT_PAUSE };
            if made_room {
                waits = None;
            } else {
                waits.get_or_insert_with(|| Waits::new(&self.connections)).look();
            }
            if let Ok(permit) = tokio::time::timeout(pause, permit.as_mut()).await {
                // The semaphore is never closed.
                return permit.ok();
            }
        }
    }

    /// Serves a connection on a task of its own.
    fn serve(&self, stream: Stream, permit: Option<OwnedSemaphorePermit>) {
        let (http, live, open) = (self.http.clone(), Arc::clone(&self.live), self.connections.open());
        tracing::debug!(
            "a connection of {}",
            stream.peer.map_or_else(|| "a local client".to_owned(), |it| it.to_string())
        );
        let acceptor = self.tls.as_ref().filter(|_| stream.is_tcp()).map(Tls::acceptor);
        let header_time = self.header_time;
        tokio::spawn(async move {
            match acceptor {
                None => http.serve(stream, Scheme::HTTP, live, open).await,
                // Apart from the connection's own memory, which would have room for it without TLS, too.
                Some(acceptor) => Box::pin(async move {
                    tokio::select! {
                        accepted = tokio::time::timeout(header_time, acceptor.accept(stream)) => match accepted {
                            Ok(Ok(stream)) => http.serve(stream, Scheme::HTTPS, live, open).await,
                            Ok(Err(error)) => tracing::debug!("a connection has no TLS: {error}"),
                            Err(_) => tracing::debug!("a connection took too long for TLS"),
                        },
                        // Until then nothing else looks at it.
                        () = open.connection.closing() => tracing::debug!("a connection without TLS yet makes room"),
                    }
                })
                .await,
            }
            drop(permit);
        });
    }
}

/// A client that waits until a connection ends with its response.
struct Waits {
    room: WaitsForRoom,
    /// When one was seen to have been chosen.
    chosen: Option<Instant>,
}

impl Waits {
    fn new(connections: &Arc<Connections>) -> Waits {
        Waits { room: connections.wait_for_room(), chosen: None }
    }

    /// The one that was chosen may have a long response, or a slow client.
    fn look(&mut self) {
        if !self.room.is_chosen() {
            return;
        }
        if self.chosen.get_or_insert_with(Instant::now).elapsed() > CLOSE_TIME {
            self.chosen = None;
            self.room.again();
        }
    }
}
