//! The server as a whole. In: [`Settings`]. Out: connections accepted until it is told to end, then the end of each, within
//! its time. Never here: what happens on a connection.

use super::accept::Acceptor;
use super::clock::Clock;
use super::connections::{Connections, connections_max};
use super::control::{Control, Phase};
use super::drain::{drained, wait_within};
use super::error::ServeError;
use super::hand_over::hand_over;
use super::http::Http;
use super::limits::ServerLimits;
use super::listener::{Address, Listener, bind_tcp};
use super::metrics::{Metrics, RouteSample, Sample};
use super::modules::{self, Explanation};
use super::notices::Wake;
use super::service::{Live, Service};
use super::settings::Settings;
use super::status::{self, Status};
use super::switch::{Reread, Switch};
use super::tls::Tls;
use super::watchdog;
use std::error::Error;
use std::fmt;
use std::net::TcpListener as StatusListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

/// How often idle connections are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_millis(200);

/// How long the server waits until no connection is accepted any more. Tasks that cannot run for that long accept none either.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// How many connections a thread of the executor learns of at once that can be read or written; the kernel keeps the others in
/// their order. Guests that have begun live until their responses leave, together: more of them would hold more memory, and would
/// exceed a thread's queue of 256 tasks, which delays those that had waited for longest.
const EVENTS_MAX: usize = 16;

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
            control: Control::new(wake),
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
            .start(wakes, control.waker())
            .map_err(ServeError::System)?;
        let (closing, _) = watch::channel(false);
        let acceptor = Acceptor {
            http: Http::new(&limits),
            live: Arc::clone(&live),
            connections: Arc::clone(&connections),
            permits: Arc::new(Semaphore::new(connections_limit)),
            header_time: limits.header_time,
            tls: tls.clone(),
        };
        let executor = &runtime.handle;
        let listeners: Vec<_> = listeners.into_iter().map(Arc::new).collect();
        let accept = |listener: &Arc<Listener>| {
            executor.spawn(acceptor.clone().accept(Arc::clone(listener), closing.subscribe()))
        };
        let accepting: Vec<_> = listeners.iter().map(accept).collect();
        let sweeping = executor.spawn(sweep(Arc::clone(&connections), limits.clone()));
        if let Some(tls) = tls {
            executor.spawn(tls.follow());
        }
        executor.block_on(control.reached(Phase::Draining));
        // From here on this thread measures the time itself: guests may hold every thread of the executor, and its timers.
        if reuse_port {
            hand_over(&listeners, || control.has_reached(Phase::Ended));
        }
        // Each task has the last handle of its listener, which it closes as soon as the queue is empty: a client that comes later is
        // refused, and not reset. That is before idle connections are closed, so that their clients do not come back.
        drop(listeners);
        closing.send_replace(true);
        let is_ended = || control.has_reached(Phase::Ended);
        wait_within(CLOSE_TIME, || is_ended() || accepting.iter().all(JoinHandle::is_finished));
        connections.retire_all();
        let complete = drained(&connections, &clock, &limits, &stuck, is_ended);
        sweeping.abort();
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
    match settings.routes.iter().find(|route| !seen.insert(route.pattern.reach())) {
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
