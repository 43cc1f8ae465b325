//! From artifacts to what answers requests. In: each route's artifact. Out: a version for each route, of which one instance
//! was made to see that it can be, and which has answered its health request. Never here: a request of a client.

use super::admission::Admission;
use super::bounded::bounded;
use super::clock::Clock;
use super::engines::{self, Served};
use super::error::ServeError;
use super::guest_log::Rate;
use super::handler::{Instances, Reuse, TookTooLong};
use super::health;
use super::instance::Lifetimes;
use super::limits::{RouteLimits, instance_limits};
use super::metrics::Metrics;
use super::pool::Allocation;
use super::settings::{Choice, Identity, Opened, RouteSettings, Settings, StepDown};
use super::version::{Linked, Version};
use crate::warnings::Warnings;
use crate::{Grants, Limits, Outgoing, OutgoingLimits, Prepare, Prepared};
use isomer_runtime::{Loaded, VerifiedArtifact};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use wasmtime::Trap;
use wasmtime_wasi_http::handler::HandlerState;

/// How long an instance of WASI 0.3 waits for its next request.
const IDLE_TIME: Duration = Duration::from_secs(1);

/// What a route was set up with, for people.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explanation {
    /// The route.
    pub route: String,
    /// The module, with its version.
    pub module: String,
    /// The form of it that runs here.
    pub form: String,
    /// How its bytes were read.
    pub load_path: String,
    /// The variants that would be better and do not run here.
    pub steps_down: Vec<StepDown>,
    /// The interface by which it answers.
    pub interface: String,
    /// Whether its code can be interrupted.
    pub interruptible: bool,
    /// Where instances get their memory.
    pub memory: String,
    /// Its limits.
    pub limits: RouteLimits,
    /// What each instance may use up.
    pub instance: Limits,
    /// What it is granted.
    pub grants: Grants,
    /// The names of its guests' environment variables.
    pub environment: Vec<String>,
    /// What its guests' own HTTP requests may take.
    pub outgoing: OutgoingLimits,
    /// The path of its health request.
    pub health: Option<String>,
    /// How long a new version is on probation.
    pub probation: Duration,
}

/// A route's artifact, before it has an engine.
struct Candidate<'a> {
    route: &'a RouteSettings,
    artifact: VerifiedArtifact,
    label: Arc<str>,
    load_path: String,
    choice: Choice,
    identity: Identity,
    prepared: Arc<Prepared>,
    outgoing: Option<Outgoing>,
    metrics: Arc<Metrics>,
}

/// What a route is served with.
pub(super) struct Ready {
    pub(super) version: Version,
    pub(super) explanation: Explanation,
}

/// How long loading may take, beside what an instance may take to begin and to answer its health request: reading and hashing
/// a large artifact from a slow disk.
const LOAD_TIME: Duration = Duration::from_secs(60);

/// How long an instance may take to begin and to answer its health request: as long as a request for each.
fn of_instance(route: &RouteSettings) -> Duration {
    route.limits.request_time.saturating_mul(2)
}

/// Loads all routes' modules.
pub(super) fn load(
    settings: &Settings,
    clock: &Arc<Clock>,
    metrics: &Arc<Metrics>,
    executor: &Handle,
) -> Result<Vec<Ready>, ServeError> {
    let loaded = load_within_time(&settings.routes, clock, metrics, executor)?;
    loaded.map_err(|(index, error)| of_route(&settings.routes[index], error))
}

/// Loads one route's module, with an engine of its own.
pub(super) fn load_one(
    route: &RouteSettings,
    clock: &Arc<Clock>,
    metrics: &Arc<Metrics>,
    executor: &Handle,
) -> Result<Ready, ServeError> {
    let loaded = load_within_time(std::slice::from_ref(route), clock, metrics, executor)?;
    // As many as routes.
    loaded.map(|mut ready| ready.remove(0)).map_err(|(_, error)| error)
}

/// What is loaded, or the index of the route whose module is not, and why.
type Loading = Result<Vec<Ready>, (usize, ServeError)>;

/// Loads these routes' modules, on another thread and within a time.
fn load_within_time(
    routes: &[RouteSettings],
    clock: &Arc<Clock>,
    metrics: &Arc<Metrics>,
    executor: &Handle,
) -> Result<Loading, ServeError> {
    let time = routes.iter().fold(LOAD_TIME, |time, route| time.saturating_add(of_instance(route)));
    let (routes, clock, metrics, executor) =
        (routes.to_vec(), Arc::clone(clock), Arc::clone(metrics), executor.clone());
    Ok(bounded(time, move || executor.block_on(load_routes(&routes, &clock, &metrics)))?)
}

async fn load_routes(routes: &[RouteSettings], clock: &Arc<Clock>, metrics: &Arc<Metrics>) -> Loading {
    let open = |(index, route)| open(route, metrics).map_err(|error| (index, error));
    let candidates = routes.iter().enumerate().map(open).collect::<Result<Vec<_>, _>>()?;
    let served: Vec<_> = candidates.iter().map(Candidate::served).collect();
    let loaded = engines::load(&served).map_err(|(index, error)| (index, error.into()))?;
    let mut ready = Vec::new();
    for (index, (candidate, (allocation, loaded))) in candidates.into_iter().zip(loaded).enumerate() {
        ready.push(candidate.ready(&allocation, &loaded, clock).await.map_err(|error| (index, error))?);
    }
    Ok(ready)
}

fn of_route(route: &RouteSettings, error: ServeError) -> ServeError {
    ServeError::Route { module: route.module.clone(), route: route.pattern.clone(), source: Box::new(error) }
}

/// Opens a route's artifact.
fn open<'a>(route: &'a RouteSettings, metrics: &Arc<Metrics>) -> Result<Candidate<'a>, ServeError> {
    let opened = route.source.open().map_err(ServeError::Source)?;
    let Opened { artifact, version, identity, load_path, mapped, steps_down } = opened;
    let choice = Choice { target: artifact.target().map(str::to_owned), mapped, steps_down };
    let form = artifact.target().map(|target| format!(" ({target})")).unwrap_or_default();
    let version = version.map(|version| format!(":{version}")).unwrap_or_default();
    let label = format!("{}{version}{form}", route.module).into();
    let limits = route.instance.clone().or(instance_limits());
    limits.check_compiled(artifact.requirements())?;
    if route.deadline && !Limits::is_interruptible(artifact.requirements()) {
        return Err(ServeError::NotInterruptible);
    }
    let environment = route.environment.clone();
    let name = route.pattern.to_string();
    let prepare = Prepare { grants: &route.grants, environment, limits, allow_blocking: false, route: Some(&name) };
    let prepared = prepare.open()?;
    let outgoing = prepared.outgoing(route.outgoing);
    Ok(Candidate {
        route,
        artifact,
        label,
        load_path,
        choice,
        identity,
        prepared: Arc::new(prepared),
        outgoing,
        metrics: Arc::clone(metrics),
    })
}

/// As many instances as requests, and some for those that are still at work after their response.
fn instances(limits: &RouteLimits) -> usize {
    limits.requests.saturating_add(limits.requests / 8 + 2)
}

impl Candidate<'_> {
    fn served(&self) -> Served<'_> {
        let limits = &self.route.limits;
        let max_stack = self.prepared.limits().max_stack;
        Served::new(&self.artifact, instances(limits), limits.requests, max_stack)
    }

    async fn ready(self, allocation: &Allocation, loaded: &Loaded, clock: &Arc<Clock>) -> Result<Ready, ServeError> {
        let limits = &self.route.limits;
        let mut memory = describe(allocation);
        let mut version = self.version(loaded, clock)?;
        let tried = try_instance(&version.0).await;
        // A trap, or code that does not return, has nothing to do with where the memory comes from.
        let is_memory = |error: &wasmtime::Error| !error.is::<Trap>() && !error.is::<TookTooLong>();
        if let (Err(error), Allocation::Pool(_)) = (&tried, allocation)
            && is_memory(error)
        {
            let allocation = Allocation::on_demand(format!("a pool does not hold it: {error:#}"));
            memory = describe(&allocation);
            let loader = engines::loader(&allocation, self.prepared.limits().max_stack);
            version = self.version(&loader.load(self.artifact.clone())?, clock)?;
            try_instance(&version.0).await.map_err(|error| ServeError::Instantiate(error.into()))?;
        } else {
            tried.map_err(|error| ServeError::Instantiate(error.into()))?;
        }
        let (instances, interface) = version;
        let explanation = Explanation {
            route: self.route.pattern.to_string(),
            module: self.label.to_string(),
            form: self.artifact.target().unwrap_or("of one artifact").to_owned(),
            load_path: self.load_path.clone(),
            steps_down: self.choice.steps_down.clone(),
            interface,
            interruptible: instances.interruptible,
            memory,
            limits: limits.clone(),
            instance: self.prepared.limits().clone(),
            grants: self.route.grants.clone(),
            environment: self.route.environment.keys().cloned().collect(),
            outgoing: self.route.outgoing,
            health: self.route.health.clone(),
            probation: self.route.probation,
        };
        let version = Version::new(instances, self.identity, self.choice);
        health::check(&version, self.route, clock).await?;
        Ok(Ready { version, explanation })
    }

    fn version(&self, loaded: &Loaded, clock: &Arc<Clock>) -> Result<(Instances, String), ServeError> {
        let Linked { pre, reuse, interface } = Linked::new(loaded)?;
        let interruptible = Limits::is_interruptible(&loaded.requirements);
        if interruptible {
            clock.tick_engine(&loaded.engine);
        }
        let limits = &self.route.limits;
        let route: Arc<str> = self.route.pattern.to_string().into();
        let no_room = Arc::new(Warnings::new(Some(Arc::clone(&route)), "requests without an instance"));
        clock.watch_warnings(self.prepared.denials().warnings());
        clock.watch_warnings(&no_room);
        let instances = Instances {
            engine: loaded.engine.clone(),
            pre,
            prepared: Arc::clone(&self.prepared),
            outgoing: self.outgoing.clone(),
            rate: Arc::new(Rate::new(limits.log_rate)),
            reuse: Reuse { at_once: reuse.at_once.max(1), ..reuse },
            lifetimes: Lifetimes { idle: IDLE_TIME, at_work: limits.request_time },
            room: Admission::new(instances(limits), limits.requests, limits.request_time),
            no_room,
            route,
            clock: Arc::clone(clock),
            metrics: Arc::clone(&self.metrics),
            interruptible,
            label: Arc::clone(&self.label),
        };
        Ok((instances, interface))
    }
}

/// Makes an instance and drops it.
async fn try_instance(instances: &Instances) -> wasmtime::Result<()> {
    instances.instantiate().await.map(drop)
}

fn describe(allocation: &Allocation) -> String {
    match allocation {
        Allocation::Pool(sizes) => format!(
            "a pool of {} memories, {} tables and {} stacks for {} instances; {} GiB of address space reserved; {}",
            sizes.memories,
            sizes.tables,
            sizes.stacks,
            sizes.instances,
            sizes.reserved_bytes >> 30,
            if sizes.keeps_pages { "pages are kept for the next instance" } else { "pages are given back" }
        ),
        Allocation::OnDemand { reason } => format!("on demand: {reason}"),
    }
}
