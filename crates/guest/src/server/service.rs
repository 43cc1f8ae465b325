//! One request. In: its head and body, and the routes. Out: the guest's response, or the server's own. Never here: a
//! connection.

use super::access::Access;
use super::admission::{Admission, Permit};
use super::body::{RequestBody, ResponseBody, empty};
use super::clock::{Clock, Watched};
use super::connections::{Busy, Connection};
use super::exchange::{Cause, Exchange, Waiter};
use super::gather::Gather;
use super::handler::NoRoom;
use super::limits::RouteLimits;
use super::metrics::{Metrics, Responses};
use super::modules::Ready;
use super::respond::{self, Reason};
use super::route::{Found, Routes};
use super::settings::{LiveMark, Settings};
use super::target::{Target, has_plain_framing};
use super::time::now_us;
use super::version::Version;
use http::header::CONTENT_LENGTH;
use http::uri::Scheme;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use wasmtime::{Engine, PoolingAllocatorMetrics, Trap};
use wasmtime_wasi_http::WasiBody;
use wasmtime_wasi_http::handler::InstantiationError;

/// A route in service.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) name: Arc<str>,
    pub(super) limits: Arc<RouteLimits>,
    pub(super) admission: Admission,
    gather: Gather,
    responses: Responses,
    live: RwLock<Arc<Version>>,
    /// Shows other programs which version that is.
    mark: Mutex<Option<LiveMark>>,
}

impl Route {
    pub(super) fn new(
        name: Arc<str>,
        limits: Arc<RouteLimits>,
        live: Version,
        mark: Option<LiveMark>,
        metrics: &Arc<Metrics>,
    ) -> Route {
        let admission = Admission::new(limits.requests, limits.waiting, limits.waiting_time);
        let (live, mark) = (RwLock::new(Arc::new(live)), Mutex::new(mark));
        let responses = Responses::new(Arc::clone(metrics), Arc::clone(&name));
        Route { name, limits, admission, gather: Gather::default(), responses, live, mark }
    }

    /// The version that answers the next request.
    pub(super) fn live(&self) -> Arc<Version> {
        Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets `next` answer from now on. The version before, which ends with its last request.
    pub(super) fn switch(&self, next: Arc<Version>, mark: Option<LiveMark>) -> Arc<Version> {
        let before = std::mem::replace(&mut *self.live.write().unwrap_or_else(PoisonError::into_inner), next);
        *self.mark.lock().unwrap_or_else(PoisonError::into_inner) = mark;
        before
    }
}

/// All that requests are answered with.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) patterns: Routes,
    pub(super) routes: Vec<Route>,
    pub(super) clock: Arc<Clock>,
    pub(super) metrics: Arc<Metrics>,
}

/// The service that answers now.
#[derive(Debug)]
pub(super) struct Live(RwLock<Arc<Service>>);

impl Live {
    pub(super) fn new(service: Service) -> Live {
        Live(RwLock::new(Arc::new(service)))
    }

    /// The one that answers the next request.
    pub(super) fn get(&self) -> Arc<Service> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets another answer from now on.
    pub(super) fn replace(&self, next: Service) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }
}

/// What a request holds until its response has been sent.
struct Held {
    _permit: Permit,
    _watched: Watched,
    _busy: Busy,
    exchange: Arc<Exchange>,
    version: Arc<Version>,
    success: bool,
    route: Arc<str>,
    metrics: Arc<Metrics>,
    access: Option<Access>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let cause = self.exchange.cause();
        // What a client does says nothing about the guest.
        if !matches!(cause, Some(Cause::ClientGone | Cause::ClientNotReading | Cause::RequestBodyIdle)) {
            self.version.count(self.success && cause.is_none());
        }
        if let Some(cause) = cause {
            self.metrics.refused(&self.route, cause.name());
        }
        if let Some(access) = &self.access {
            access.log(&self.exchange, &self.route);
        }
    }
}

/// Cancels an exchange whose client went away before its response began.
struct Unanswered<'a>(Option<&'a Exchange>);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(exchange) = self.0 {
            exchange.cancel(Cause::ClientGone);
        }
    }
}

impl Service {
    /// Routes that are ready, as `settings` have them.
    pub(super) fn new(settings: &Settings, ready: Vec<Ready>, clock: &Arc<Clock>, metrics: &Arc<Metrics>) -> Service {
        let patterns = Routes::new(settings.routes.iter().map(|route| route.pattern.clone()));
        let routes = ready.into_iter().zip(&settings.routes).map(|(ready, route)| {
            let mark = route.source.mark_live(&ready.version.identity);
            let name: Arc<str> = route.pattern.to_string().into();
            metrics.begin(&name);
            Route::new(name, Arc::new(route.limits.clone()), ready.version, mark, metrics)
        });
        Service { patterns, routes: routes.collect(), clock: Arc::clone(clock), metrics: Arc::clone(metrics) }
    }

    /// What the pools of all engines hold.
    pub(super) fn pools(&self) -> Vec<(&'static str, u64)> {
        let mut engines: Vec<Engine> = Vec::new();
        for route in &self.routes {
            let version = route.live();
            if !engines.iter().any(|other| Engine::same(other, version.engine())) {
                engines.push(version.engine().clone());
            }
        }
        let pools: Vec<_> = engines.iter().filter_map(Engine::pooling_allocator_metrics).collect();
        let total = |of: &dyn Fn(&PoolingAllocatorMetrics) -> u64| pools.iter().map(of).sum();
        vec![
            ("core-instances", total(&|pool| pool.core_instances())),
            ("memories", total(&|pool| pool.memories() as u64)),
            ("tables", total(&|pool| pool.tables() as u64)),
            ("stacks", total(&|pool| pool.stacks() as u64)),
            ("unused-memory-bytes", total(&|pool| pool.unused_memory_bytes_resident() as u64)),
        ]
    }

    /// Answers a request that arrived on `connection` by `scheme`.
    pub(super) async fn answer(
        &self,
        connection: &Arc<Connection>,
        scheme: Scheme,
        request: Request<Incoming>,
    ) -> Response<WasiBody> {
        let found = Target::of(&request).and_then(|target| {
            let route = match self.patterns.find(target.authority.host(), target.path.path()) {
                Found::Route(route) => route,
                Found::Ambiguous => return Err(Reason::AmbiguousPath),
                Found::None => return Err(Reason::NoRoute),
            };
            if !has_plain_framing(&request) {
                return Err(Reason::TransferCoding);
            }
            Ok((target, &self.routes[route]))
        });
        let (target, route) = match found {
            Ok(found) => found,
            Err(reason) => {
                let no_route = "".into();
                let exchange = Exchange::new(Arc::clone(&no_route), Arc::default());
                return self.refuse(&exchange, &no_route, reason, Access::of(&request));
            }
        };
        let exchange = Arc::new(Exchange::new(Arc::clone(&route.name), Arc::clone(&route.limits)));
        let busy = connection.begin(Arc::clone(&exchange));
        let access = Access::of(&request);
        let mut unanswered = Unanswered(Some(&exchange));
        let response = self.admitted(route, &exchange, busy, request, target.uri(scheme)).await;
        unanswered.0 = None;
        match response {
            Ok(response) => {
                route.responses.count(response.status().as_u16());
                response
            }
            Err(reason) => {
                exchange.complete();
                self.refuse(&exchange, &route.name, reason, access)
            }
        }
    }

    async fn admitted(
        &self,
        route: &Route,
        exchange: &Arc<Exchange>,
        busy: Busy,
        request: Request<Incoming>,
        uri: Uri,
    ) -> Result<Response<WasiBody>, Reason> {
        let declared = request.body().size_hint().lower();
        if declared > route.limits.request_size as u64 {
            return Err(Reason::TooLarge);
        }
        let permit = route.admission.admit().await.map_err(|refused| {
            let (running, waiting) = (route.admission.running(), route.admission.waiting());
            tracing::debug!(route = &*route.name, request = %exchange.id, running, waiting, "at its limit");
            Reason::Refused(refused)
        })?;
        let mut held = Held {
            _permit: permit,
            _watched: self.clock.watch(Arc::clone(exchange)),
            _busy: busy,
            exchange: Arc::clone(exchange),
            version: route.live(),
            success: false,
            route: Arc::clone(&route.name),
            metrics: Arc::clone(&self.metrics),
            access: None,
        };
        // Dropped before `held`, which counts how it ended.
        let mut unanswered = Unanswered(Some(exchange));
        let access = Access::of(&request);
        let method = request.method().clone();
        let (mut parts, body) = request.into_parts();
        parts.uri = uri;
        let body = RequestBody::new(body, route.limits.request_size, Arc::clone(exchange)).boxed_unsync();
        let version = Arc::clone(&held.version);
        let begun_us = now_us();
        let handle = version.handle(Arc::clone(exchange), Request::from_parts(parts, body));
        let response = tokio::select! {
            biased;
            cause = exchange.cancelled(Waiter::Connection) => return Err(Reason::Cancelled(cause)),
            response = handle => response,
        };
        unanswered.0 = None;
        match response {
            // After an interim response a client waits for another one, or takes the connection for another protocol's.
            Ok(response) if response.status().is_informational() => {
                let (request, status) = (exchange.id.to_string(), response.status().as_u16());
                tracing::warn!(
                    route = &*route.name,
                    guest = &*version.label,
                    request,
                    "no response: {status} is the status of an interim one"
                );
                Err(Reason::Failed)
            }
            Ok(mut response) => {
                exchange.respond();
                if matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT) {
                    response.headers_mut().remove(CONTENT_LENGTH);
                }
                held.success = !response.status().is_server_error();
                let ready_us = now_us();
                version.responded_after(exchange.age(ready_us));
                route.gather.with_others(ready_us.saturating_sub(begun_us), ready_us).await;
                held.access = access.map(|access| access.with_status(response.status()));
                let has_content = has_content(&method, response.status());
                Ok(response.map(|body| {
                    let body = if has_content { body } else { empty() };
                    ResponseBody::new(body, Arc::clone(exchange), held).boxed_unsync()
                }))
            }
            Err(error) => Err(failed(exchange, route, &version, &error)),
        }
    }
}

impl Service {
    fn refuse(
        &self,
        exchange: &Exchange,
        route: &Arc<str>,
        reason: Reason,
        access: Option<Access>,
    ) -> Response<WasiBody> {
        let response = respond::response(reason, exchange.id);
        self.metrics.response(route, response.status().as_u16());
        // What was cancelled after it was admitted has been counted with what it held.
        if !matches!(reason, Reason::Cancelled(_)) {
            self.metrics.refused(route, reason.name());
        }
        if let Some(access) = access {
            access.with_status(response.status()).log(exchange, route);
        }
        response
    }
}

/// Whether a response has content: where it has none, hyper leaves a body out in HTTP/1.1, and sends it in HTTP/2.
fn has_content(method: &Method, status: StatusCode) -> bool {
    let without = [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT, StatusCode::NOT_MODIFIED];
    *method != Method::HEAD && !without.contains(&status)
}

/// A guest gave no response. What ended its instance has been reported by the instance.
fn failed(exchange: &Exchange, route: &Route, version: &Version, error: &wasmtime::Error) -> Reason {
    let request = exchange.id.to_string();
    match error.downcast_ref::<InstantiationError<Arc<Exchange>>>() {
        Some(instantiation) => {
            let error = &instantiation.error;
            if error.is::<NoRoom>() {
                version
                    .no_room()
                    .warn(format_args!("no instance of {} for the request {request}: {error}", version.label));
                return Reason::NoInstance;
            }
            tracing::warn!(route = &*route.name, guest = &*version.label, request, "no instance: {error:#}");
            if error.is::<Trap>() { Reason::Failed } else { Reason::NoInstance }
        }
        None => {
            tracing::warn!(route = &*route.name, guest = &*version.label, request, "no response: {error:#}");
            Reason::Failed
        }
    }
}
