//! A version of a guest that can be served. In: an artifact in an engine. Out: a handler with which requests are answered.
//! Never here: which version is live.

use super::body::text;
use super::error::ServeError;
use super::exchange::{Exchange, Waiter};
use super::handler::{Instances, Reuse};
use super::settings::{Choice, Identity};
use crate::warnings::Warnings;
use crate::{Host, component_linker};
use http::StatusCode;
use http_body_util::BodyExt;
use isomer_contract::wasi::Interface;
use isomer_runtime::{Code, Loaded};
use prometheus_client::metrics::histogram::Histogram;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime_wasi_http::handler::{ProxyHandler, ProxyPre, Request, Response};
use wasmtime_wasi_http::{p2, p3};

/// A version that can be served.
pub(super) struct Version {
    /// As reports name it.
    pub(super) label: Arc<str>,
    /// What its source calls it.
    pub(super) identity: Identity,
    /// What was chosen of it for this machine.
    pub(super) choice: Choice,
    handler: ProxyHandler<Instances>,
    durations: OnceLock<Histogram>,
    answered: AtomicU64,
    failed: AtomicU64,
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Version").field("label", &self.label).finish_non_exhaustive()
    }
}

/// A component, linked: its imports are looked up and its types compared.
pub(super) struct Linked {
    pub(super) pre: ProxyPre<Host>,
    pub(super) reuse: Reuse,
    /// The interface by which it answers: `wasi:http/handler@0.3.0`.
    pub(super) interface: String,
}

impl Linked {
    /// Links the component that was loaded.
    pub(super) fn new(loaded: &Loaded) -> Result<Linked, ServeError> {
        let Code::Component(component) = &loaded.code else { return Err(ServeError::CoreModule) };
        let interface = handler_of(component)?;
        let failed = |error: wasmtime::Error| ServeError::Link(error.into());
        let linker = component_linker(component)?;
        let pre = linker.instantiate_pre(component).map_err(failed)?;
        let is_0_3 = Interface::parse(&interface).is_some_and(|it| it.name == "handler");
        let pre = if is_0_3 {
            ProxyPre::P3(p3::bindings::ServicePre::new(pre).map_err(failed)?)
        } else {
            ProxyPre::P2(p2::bindings::ProxyPre::new(pre).map_err(failed)?)
        };
        component.initialize_copy_on_write_image().map_err(failed)?;
        Ok(Linked { reuse: Reuse::of(&pre), pre, interface })
    }
}

/// The interface by which a component answers requests; the newest, where it has several.
fn handler_of(component: &Component) -> Result<String, ServeError> {
    let ty = component.component_type();
    let exports: Vec<_> = ty.exports(component.engine()).map(|(name, _)| name.to_owned()).collect();
    let of = |wanted: &str, version: &str| {
        exports.iter().find(|name| {
            Interface::parse(name)
                .is_some_and(|it| it.package == "wasi:http" && it.name == wanted && it.version.starts_with(version))
        })
    };
    let found = of("handler", "0.3.").or_else(|| of("incoming-handler", "0.2."));
    found.cloned().ok_or(ServeError::NotHttp { exports })
}

impl Version {
    pub(super) fn new(instances: Instances, identity: Identity, choice: Choice) -> Version {
        let label = Arc::clone(&instances.label);
        let (answered, failed) = (AtomicU64::new(0), AtomicU64::new(0));
        let handler = ProxyHandler::new(instances);
        Version { label, identity, choice, handler, durations: OnceLock::new(), answered, failed }
    }

    /// A guest has given the head of a response, so long after that of its request.
    pub(super) fn responded_after(&self, time: Duration) {
        let Instances { metrics, route, label, .. } = self.handler.state();
        self.durations.get_or_init(|| metrics.durations(route, label)).observe(time.as_secs_f64());
    }

    /// A request has ended with success, or not.
    pub(super) fn count(&self, success: bool) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        if !success {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many requests have ended, and how many of them in failure.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.answered.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    /// Sends it `GET path`, and tells the status once all of the response is there: a guest whose body is not read fails, and one
    /// that fails within its body is not well. All of it is to arrive in the time that a response has to begin.
    pub(super) async fn ask(
        &self,
        exchange: Arc<Exchange>,
        path: &str,
    ) -> Result<StatusCode, Box<dyn std::error::Error + Send + Sync>> {
        let uri = format!("http://localhost{path}");
        let request = http::Request::get(uri).header(http::header::HOST, "localhost").body(text(String::new()))?;
        let whole = async {
            let response = self.handle(Arc::clone(&exchange), request).await?;
            let (status, mut body) = (response.status(), response.into_body());
            while let Some(frame) = body.frame().await {
                frame?;
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(status)
        };
        tokio::select! {
            // What has ended its instance cuts its body off, too, and says more.
            biased;
            cause = exchange.cancelled(Waiter::Connection) => Err(cause.to_string().into()),
            status = whole => status,
        }
    }

    /// Warnings of requests for which it has no instance.
    pub(super) fn no_room(&self) -> &Warnings {
        &self.handler.state().no_room
    }

    /// The engine of its instances.
    pub(super) fn engine(&self) -> &Engine {
        &self.handler.state().engine
    }

    /// Answers a request.
    pub(super) async fn handle(&self, exchange: Arc<Exchange>, request: Request) -> wasmtime::Result<Response> {
        self.handler.handle(exchange, request).await
    }
}
