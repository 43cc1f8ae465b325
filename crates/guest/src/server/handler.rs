//! Instances of one version of a guest, for wasmtime's `ProxyHandler`. In: a pre-instantiated component and its route's
//! limits. Out: stores with an instance each, which end when [`Instance::should_end`] says so. Never here: more instances
//! at once than the route may have.

use super::admission::{Admission, Permit};
use super::clock::Clock;
use super::exchange::{Cause, Exchange, Waiter};
use super::guest_log::{GuestLog, Rate};
use super::instance::{Instance, Lifetimes};
use super::metrics::Metrics;
use super::time::now_ms;
use crate::warnings::Warnings;
use crate::{Host, Outgoing, Prepared, Process};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use wasmtime::component::GuestTaskId;
use wasmtime::{Engine, Store, StoreContextMut, Trap, UpdateDeadline};
use wasmtime_wasi_http::handler::{
    HandlerState, Instance as Started, ProxyPre, ShouldAccept, WorkerExpiration, WorkerState, WorkerStatus,
};
use wasmtime_wasi_http::{WasiHttpHooks, WasiHttpView};

/// How often one instance is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reuse {
    /// Requests that one instance answers in its life.
    pub(super) requests: usize,
    /// Requests that it answers at once.
    pub(super) at_once: usize,
}

impl Reuse {
    /// A guest of WASI 0.2 is made for one request; one of 0.3 for several, and as many as wasmtime's own server gives it.
    pub(super) fn of(pre: &ProxyPre<Host>) -> Reuse {
        match pre {
            ProxyPre::P2(_) => Reuse { requests: 1, at_once: 1 },
            ProxyPre::P3(_) => Reuse { requests: 128, at_once: 16 },
        }
    }
}

/// What instances of one version are made of.
pub(super) struct Instances {
    pub(super) engine: Engine,
    pub(super) pre: ProxyPre<Host>,
    /// What each is granted and limited to.
    pub(super) prepared: Arc<Prepared>,
    /// What sends its requests, where it may send any.
    pub(super) outgoing: Option<Outgoing>,
    pub(super) rate: Arc<Rate>,
    pub(super) reuse: Reuse,
    pub(super) lifetimes: Lifetimes,
    /// As many as the route may have at once. Only so many more are waited for: where guests are at work after their responses,
    /// one is begun for each request, and stays so when its client has gone and another one has come.
    pub(super) room: Admission,
    /// Warnings about requests that got no instance. Clients decide how many there are, so the log has a limit for them.
    pub(super) no_room: Arc<Warnings>,
    pub(super) route: Arc<str>,
    pub(super) clock: Arc<Clock>,
    pub(super) metrics: Arc<Metrics>,
    /// Whether the guest's code stops at epochs.
    pub(super) interruptible: bool,
    /// What reports name: the module, its version and its form.
    pub(super) label: Arc<str>,
}

impl Instances {
    fn store(&self, instance: &Arc<Instance>) -> wasmtime::Result<Store<Host>> {
        let log = |stream| Box::new(GuestLog::new(stream, Arc::clone(instance), Arc::clone(&self.rate)));
        let process = Process { stdout: log("stdout"), stderr: log("stderr"), ..Process::default() };
        let outgoing: Box<dyn WasiHttpHooks> = match &self.outgoing {
            Some(outgoing) => Box::new(outgoing.clone()),
            None => Box::new(self.prepared.no_outgoing()),
        };
        let mut store = self.prepared.store(&self.engine, self.prepared.host(process, outgoing))?;
        if self.interruptible {
            store.set_epoch_deadline(1);
            let instance = Arc::clone(instance);
            store.epoch_deadline_callback(move |_| {
                Ok(if instance.should_end(now_ms()) { UpdateDeadline::Interrupt } else { UpdateDeadline::Yield(1) })
            });
        }
        Ok(store)
    }
}

impl HandlerState for Instances {
    type StoreData = Host;
    type WorkerExpiration = Expiration;
    type WorkerState = Worker;

    async fn instantiate(&self) -> wasmtime::Result<Started<Host, Expiration, Worker>> {
        let permit = self.room.admit().await.map_err(|_| NoRoom)?;
        let instance = Arc::new(Instance::new(Arc::clone(&self.route), self.lifetimes));
        self.clock.watch_instance(Arc::clone(&instance));
        let live = Live { instance: Arc::clone(&instance), clock: Arc::clone(&self.clock), _permit: permit };
        let mut store = self.store(&instance)?;
        let proxy = until_end(&instance, self.pre.instantiate_async(&mut store)).await?;
        let (label, metrics) = (Arc::clone(&self.label), Arc::clone(&self.metrics));
        let state = Worker { live, reuse: self.reuse, label, metrics };
        Ok(Started { store, proxy, view: <Host as WasiHttpView>::http, expiration: Expiration(instance), state })
    }
}

/// There are as many instances as there may be.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the route's guests are at work after their responses, and no more may be")]
pub(super) struct NoRoom;

/// An instance has not begun within the time that it may live without a request.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("it took too long to instantiate")]
pub(super) struct TookTooLong;

/// Instantiates, unless that takes longer than the instance may live.
async fn until_end<T>(
    instance: &Instance,
    instantiate: impl Future<Output = wasmtime::Result<T>>,
) -> wasmtime::Result<T> {
    let mut instantiate = std::pin::pin!(instantiate);
    std::future::poll_fn(|context| match instantiate.as_mut().poll(context) {
        Poll::Pending if instance.poll_end(context).is_ready() => Poll::Ready(Err(TookTooLong.into())),
        other => other,
    })
    .await
}

/// An instance and its store, counted until both are gone.
struct Live {
    instance: Arc<Instance>,
    clock: Arc<Clock>,
    _permit: Permit,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.clock.forget(&self.instance);
    }
}

/// Decides when an instance's event loop ends.
pub(super) struct Expiration(Arc<Instance>);

impl WorkerExpiration for Expiration {
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>, status: WorkerStatus, _: Instant) -> Poll<()> {
        self.0.report(status);
        self.0.poll_end(context)
    }
}

/// An error with its causes, the backtrace in WebAssembly among them, in one line.
fn causes(error: &wasmtime::Error) -> String {
    error.chain().map(|cause| in_one_line(&cause.to_string())).collect::<Vec<_>>().join(": ")
}

/// The frames of a backtrace are lines that are indented.
fn in_one_line(text: &str) -> String {
    let mut lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    let first = lines.next().unwrap_or_default();
    let frames = lines.collect::<Vec<_>>().join(", ");
    if frames.is_empty() { first } else { format!("{first} {frames}") }
}

/// An instance, as its event loop knows it.
pub(super) struct Worker {
    live: Live,
    reuse: Reuse,
    label: Arc<str>,
    metrics: Arc<Metrics>,
}

impl WorkerState for Worker {
    type StoreData = Host;
    type RequestData = Arc<Exchange>;

    fn should_accept_request(&self, at_once: usize, total: usize) -> ShouldAccept {
        if total >= self.reuse.requests || !self.live.instance.accepts() {
            ShouldAccept::Never
        } else if at_once >= self.reuse.at_once {
            ShouldAccept::No
        } else {
            ShouldAccept::Yes
        }
    }

    fn on_request_start(
        &self,
        _: StoreContextMut<'_, Host>,
        exchange: Arc<Exchange>,
        _: GuestTaskId,
    ) -> Pin<Box<dyn Future<Output = ()> + 'static + Send + Sync>> {
        self.live.instance.take(Arc::clone(&exchange));
        Box::pin(async move {
            exchange.cancelled(Waiter::Guest).await;
        })
    }

    fn drop(&self, store: Store<Host>, result: wasmtime::Result<()>) {
        // It ended at a limit, which is reported already, or with the server.
        let ended = self.live.instance.overdue(now_ms()).is_some() || self.live.clock.is_stopped();
        let exchanges = self.live.instance.exchanges();
        if result.is_err() {
            // Before the store is gone: wasmtime-wasi-http takes a body that is cut off by that for one that has ended.
            exchanges.iter().for_each(|exchange| exchange.cancel(Cause::InstanceEnded));
        }
        if let Err(error) = result
            && !ended
        {
            let requests: Vec<_> = exchanges.iter().map(|it| it.id.to_string()).collect();
            let requests = requests.join(", ");
            let limit = store.data().limiter().hit().map(|hit| format!(" ({hit})")).unwrap_or_default();
            let (route, guest) = (&*self.live.instance.route, &*self.label);
            if let Some(trap) = error.downcast_ref::<Trap>() {
                self.metrics.trap(route, *trap);
            }
            tracing::warn!(route, guest, requests, "a guest failed{limit}: {}", causes(&error));
        }
        drop(store);
    }
}
