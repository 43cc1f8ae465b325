//! The server as a whole. In: [`Settings`]. Out: connections accepted until it is told to end, then the end of each, within
//! its time. Never here: what happens on a connection.

use super::clock::Clock;
use super::connections::{Connections, connections_max};
use super::drain::drained;
use super::error::ServeError;
use super::hand_over::hand_over;
use super::http::Http;
use super::limits::ServerLimits;
use super::listener::{Address, Listener, Stream, bind_tcp};
use super::metrics::{Metrics, RouteSample, Sample};
use super::modules::{self, Explanation};
use super::notices::Wake;
use super::service::{Live, Service};
use super::settings::Settings;
use super::status::{self, Status};
use super::switch::{Reread, Switch};
use super::time::now_ms;
use super::tls::Tls;
use super::watchdog;
use ::http::uri::Scheme;
use std::error::Error;
use std::fmt;
use std::io;
use std::net::TcpListener as StatusListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// How often idle connections are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_millis(200);
/// How long the server waits before it accepts again after the system had no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Within it, a connection that is told to close has closed.
const CLOSE_TIME: Duration = Duration::from_secs(1);
/// How many connections a thread of the executor learns of at once that can be read or written; the kernel keeps the others in
/// their order. Guests that have begun live until their responses leave, together: more of them would hold more memory, and would
/// exceed a thread's queue of 256 tasks, which delays those that had waited for longest.
const EVENTS_MAX: usize = 16;
/// How many idle connections are closed when the system has no room for another.
const MADE_ROOM: usize = 32;

/// A server that listens, and has everything loaded.
pub struct Server {
    runtime: Executor,
    live: Arc<Live>,
    listeners: Vec<Listener>,
    clock: Arc<Clock>,
    metrics: Arc<Metrics>,
    settings: Settings,
    reread: Option<Reread>,
    wakes: Receiver<Wake>,
    tls: Option<Tls>,
    status: Option<StatusListener>,
    explanations: Vec<Explanation>,
    control: Control,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Tells a server to end, or to read its settings again, from any thread.
#[derive(Clone, Debug)]
pub struct Control {
    phase: Arc<watch::Sender<Phase>>,
    wake: Sender<Wake>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    Draining,
    Ended,
}

impl Control {
    /// Accepts no more connections, answers the requests that there are, and ends.
    pub fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Reads the settings again, and serves what they say if all of it can be.
    pub fn reload(&self) {
        // A server that has ended reads nothing.
        let _ = self.wake.send(Wake::Reload);
    }

    /// Ends at once.
    pub fn end(&self) {
        self.advance(Phase::Ended);
    }

    /// Whether it was told to end.
    pub fn is_ending(&self) -> bool {
        *self.phase.borrow() != Phase::Serving
    }

    fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|phase| std::mem::replace(phase, to.max(*phase)) != *phase);
    }

    async fn reached(&self, wanted: Phase) {
        // The sender is this value's own.
        let _ = self.phase.subscribe().wait_for(|phase| *phase >= wanted).await;
    }
}

impl Server {
    /// Loads everything that is served, then listens: nothing is accepted until all of it is known to work.
    ///
    /// # Errors
    /// When a route's module cannot be served, or an address not be listened on.
    ///
    /// # Panics
    /// Inside a tokio runtime, as it starts its own.
    pub fn start(settings: &Settings) -> Result<Server, ServeError> {
        check(settings)?;
        let runtime = Executor::start()?;
        let (wake, wakes) = channel();
        let tls = settings.tls.as_ref().map(Tls::load).transpose()?;
        let clock = Clock::start().map_err(ServeError::System)?;
        let metrics = Arc::new(Metrics::new());
        let ready = modules::load(settings, &clock, &metrics, &runtime.handle)?;
        let explanations = ready.iter().map(|ready| ready.explanation.clone()).collect();
        let live = Arc::new(Live::new(Service::new(settings, ready, &clock, &metrics)));
        let listeners = runtime.handle.block_on(async {
            let bind = |address: &Address| {
                Listener::bind(address, settings.reuse_port)
                    .map_err(|source| ServeError::Listen { address: address.clone(), source })
            };
            let inherited =
                settings.sockets.iter().map(|socket| Listener::inherit(socket).map_err(ServeError::Inherit));
            inherited.chain(settings.addresses.iter().map(bind)).collect::<Result<Vec<_>, _>>()
        })?;
        let status = settings.status_address.map(|address| {
            let failed = |source| ServeError::Listen { address: Address::Tcp(address), source };
            runtime.handle.block_on(async { bind_tcp(address, settings.reuse_port)?.into_std() }).map_err(failed)
        });
        Ok(Server {
            runtime,
            live,
            clock,
            metrics,
            settings: settings.clone(),
            reread: None,
            wakes,
            tls,
            status: status.transpose()?,
            listeners,
            explanations,
            control: Control { phase: Arc::new(watch::channel(Phase::Serving).0), wake },
        })
    }

    /// What each route was set up with.
    pub fn explanations(&self) -> &[Explanation] {
        &self.explanations
    }

    /// Within which limits.
    pub fn limits(&self) -> &ServerLimits {
        &self.settings.limits
    }

    /// Where it really listens.
    pub fn addresses(&self) -> Vec<Address> {
        self.listeners.iter().filter_map(|listener| listener.address().ok()).collect()
    }

    /// Whether its TCP addresses speak TLS.
    pub fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Where `/metrics`, `/livez` and `/readyz` really are.
    pub fn status_address(&self) -> Option<std::net::SocketAddr> {
        self.status.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// What [`Control::reload`] reads the settings with.
    pub fn on_reload(
        &mut self,
        reread: impl Fn() -> Result<Settings, Box<dyn Error + Send + Sync>> + Send + Sync + 'static,
    ) {
        self.reread = Some(Arc::new(reread));
    }

    /// Tells it to end.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Serves until it is told to end. Whether every request was answered by then.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn run(self) -> Result<bool, ServeError> {
        let Server { runtime, live, listeners, clock, metrics, settings, reread, wakes, tls, status, control, .. } =
            self;
        let (limits, exit_on_stuck, reuse_port) =
            (settings.limits.clone(), settings.exit_on_stuck, settings.reuse_port);
        let on_stuck = control.clone();
        let stuck = watchdog::start(&clock, move || {
            if exit_on_stuck {
                on_stuck.drain();
            }
        })
        .map_err(ServeError::System)?;
        let connections = Arc::new(Connections::default());
        let connections_limit = connections_max(limits.connections).clamp(1, Semaphore::MAX_PERMITS);
        if let Some(listener) = status {
            let asked = Asked {
                live: Arc::clone(&live),
                connections: Arc::clone(&connections),
                connections_limit,
                stuck: stuck.clone(),
                control: control.clone(),
            };
            status::start(listener, Arc::new(asked)).map_err(ServeError::System)?;
        }
        let (watch, executor) = (settings.watch, runtime.handle.clone());
        let clock_of_switch = Arc::clone(&clock);
        Switch { live: Arc::clone(&live), settings, watch, reread, clock: clock_of_switch, metrics, executor }
            .start(wakes, control.wake.clone())
            .map_err(ServeError::System)?;
        let acceptor = Acceptor {
            http: Http::new(&limits),
            live: Arc::clone(&live),
            connections: Arc::clone(&connections),
            permits: Arc::new(Semaphore::new(connections_limit)),
            header_time: limits.header_time,
            tls: tls.clone(),
        };
        let complete = runtime.handle.block_on(async {
            let listeners: Vec<_> = listeners.into_iter().map(Arc::new).collect();
            let accept = |listener: &Arc<Listener>| tokio::spawn(acceptor.clone().accept(Arc::clone(listener)));
            let accepting: Vec<_> = listeners.iter().map(accept).collect();
            let sweeping = tokio::spawn(sweep(Arc::clone(&connections), limits.clone()));
            if let Some(tls) = tls {
                tokio::spawn(tls.follow());
            }
            control.reached(Phase::Draining).await;
            if reuse_port {
                tokio::select! {
                    () = hand_over(&listeners) => {}
                    () = control.reached(Phase::Ended) => {}
                }
            }
            // Its listener is closed before idle connections are, so that their clients do not come back.
            for accepting in accepting {
                accepting.abort();
                let _ = accepting.await;
            }
            drop(listeners);
            connections.retire_all();
            let complete = tokio::select! {
                complete = drained(&connections, &clock, &limits, &stuck) => complete,
                () = control.reached(Phase::Ended) => connections.count() == 0,
            };
            sweeping.abort();
            complete
        });
        clock.stop();
        Ok(complete)
    }
}

/// What guests run on. Guests that cannot be interrupted end with the process: dropping it waits for none.
#[derive(Debug)]
struct Executor {
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Executor {
    fn start() -> Result<Executor, ServeError> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.max_io_events_per_tick(EVENTS_MAX);
        let runtime = builder.enable_all().build().map_err(ServeError::System)?;
        let handle = runtime.handle().clone();
        Ok(Executor { runtime: Some(runtime), handle })
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Everything that can be told without opening an artifact.
fn check(settings: &Settings) -> Result<(), ServeError> {
    if settings.addresses.is_empty() && settings.sockets.is_empty() {
        return Err(ServeError::NoAddresses);
    }
    if settings.routes.is_empty() {
        return Err(ServeError::NoRoutes);
    }
    let mut seen = std::collections::HashSet::new();
    match settings.routes.iter().find(|route| !seen.insert(&route.pattern)) {
        Some(twice) => Err(ServeError::Duplicate(twice.pattern.clone())),
        None => Ok(()),
    }
}

async fn sweep(connections: Arc<Connections>, limits: ServerLimits) {
    loop {
        tokio::time::sleep(SWEEP_INTERVAL).await;
        connections.close_overdue(limits.header_time, limits.idle_time);
    }
}

/// How the server is.
struct Asked {
    live: Arc<Live>,
    connections: Arc<Connections>,
    connections_limit: usize,
    stuck: watchdog::Stuck,
    control: Control,
}

impl Status for Asked {
    fn metrics(&self) -> String {
        let service = self.live.get();
        let routes = service.routes.iter().map(|route| {
            let live = route.live();
            RouteSample {
                route: Arc::clone(&route.name),
                running: route.admission.running(),
                running_limit: route.admission.running_limit(),
                waiting: route.admission.waiting(),
                waiting_limit: route.admission.waiting_limit(),
                version: Arc::clone(&live.label),
                choice: live.choice.clone(),
            }
        });
        let sample = Sample {
            connections: self.connections.count(),
            connections_limit: self.connections_limit,
            stuck: self.stuck.count(),
            instances: service.clock.instances().len(),
            routes: routes.collect(),
            pools: service.pools(),
        };
        service.metrics.render(&sample)
    }

    fn is_alive(&self) -> bool {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.stuck.count() < threads
    }

    fn is_ready(&self) -> bool {
        !self.control.is_ending()
    }
}

/// Accepts connections of one listener.
#[derive(Clone)]
struct Acceptor {
    http: Http,
    live: Arc<Live>,
    connections: Arc<Connections>,
    permits: Arc<Semaphore>,
    header_time: Duration,
    tls: Option<Tls>,
}

impl Acceptor {
    async fn accept(self, listener: Arc<Listener>) {
        loop {
            match listener.accept().await {
                // Room is made for a client that is there, never in advance: that would close a connection whose request is
                // still on its way.
                Ok(stream) => {
                    let permit = self.permit().await;
                    self.serve(stream, permit);
                }
                // The client gave up in the queue.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::error!("cannot accept a connection: {error}");
                    self.connections.close_idlest(MADE_ROOM, now_ms());
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// A permit for one more connection. Where there are too many, one that is idle makes room; where none is, the oldest ends
    /// with its next response, and one more each time that this takes longer than the pause.
    async fn permit(&self) -> OwnedSemaphorePermit {
        loop {
            if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
                return permit;
            }
            // On a busy machine it takes a while until a connection has closed. To close more of them meanwhile would reach
            // those that were just accepted.
            let made_room = self.connections.close_idlest(1, now_ms());
            let wait = if made_room { CLOSE_TIME } else { ACCEPT_PAUSE };
            if !made_room {
                self.connections.retire_oldest();
            }
            let acquired = tokio::time::timeout(wait, Arc::clone(&self.permits).acquire_owned()).await;
            if let Ok(Ok(permit)) = acquired {
                return permit;
            }
        }
    }

    fn serve(&self, stream: Stream, permit: OwnedSemaphorePermit) {
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
