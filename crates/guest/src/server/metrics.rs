//! What the server counts. In: what happened to each request, and how things are now. Out: the text that Prometheus reads.
//! Never here: a path or another text of a client's, of which there is no end.

use super::process::Process;
use super::respond::Reason;
use super::settings::Choice;
use isomer_contract::ENGINE_VERSION;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::{Arc, OnceLock};
use wasmtime::Trap;

/// The upper ends of the histogram's buckets, in seconds.
const BUCKETS_S: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRoute {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfVersion {
    route: Arc<str>,
    version: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfVariant {
    route: String,
    version: String,
    target: String,
    load_path: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfBetter {
    route: String,
    version: String,
    better: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStatus {
    route: Arc<str>,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReason {
    route: String,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfTrap {
    route: String,
    code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: &'static str,
}

/// What can become of a version that becomes active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It answers.
    Switched,
    /// It cannot be served.
    Refused,
    /// It failed too often, and the version before answers again.
    SwitchedBack,
}

impl Outcome {
    const ALL: [Outcome; 3] = [Outcome::Switched, Outcome::Refused, Outcome::SwitchedBack];

    fn name(self) -> &'static str {
        match self {
            Outcome::Switched => "switched",
            Outcome::Refused => "refused",
            Outcome::SwitchedBack => "switched-back",
        }
    }
}

/// The traps that every language's code can meet: those of WebAssembly 1.0, and the deadline's.
const COMMON_TRAPS: [Trap; 10] = [
    Trap::StackOverflow,
    Trap::MemoryOutOfBounds,
    Trap::TableOutOfBounds,
    Trap::IndirectCallToNull,
    Trap::BadSignature,
    Trap::IntegerOverflow,
    Trap::IntegerDivisionByZero,
    Trap::BadConversionToInteger,
    Trap::UnreachableCodeReached,
    Trap::Interrupt,
];

/// How things are when the metrics are read.
#[derive(Debug, Default)]
pub(super) struct Sample {
    pub(super) connections: usize,
    /// How many there may be at once.
    pub(super) connections_limit: usize,
    pub(super) stuck: usize,
    pub(super) instances: usize,
    pub(super) routes: Vec<RouteSample>,
    /// What the pools hold, by its kind.
    pub(super) pools: Vec<(&'static str, u64)>,
}

/// How a route is when the metrics are read.
#[derive(Debug)]
pub(super) struct RouteSample {
    pub(super) route: Arc<str>,
    /// Requests that are answered.
    pub(super) running: usize,
    /// How many may be at once.
    pub(super) running_limit: usize,
    /// Requests that wait.
    pub(super) waiting: usize,
    /// How many may wait.
    pub(super) waiting_limit: usize,
    /// The live version.
    pub(super) version: Arc<str>,
    pub(super) choice: Choice,
}

/// Counts the responses of one route's guests. Most have the status 200, whose counter is looked up once.
#[derive(Debug)]
pub(super) struct Responses {
    metrics: Arc<Metrics>,
    route: Arc<str>,
    ok: OnceLock<Counter>,
}

impl Responses {
    pub(super) fn new(metrics: Arc<Metrics>, route: Arc<str>) -> Responses {
        Responses { metrics, route, ok: OnceLock::new() }
    }

    /// One more, with this status.
    pub(super) fn count(&self, status: u16) {
        if status == 200 {
            self.ok.get_or_init(|| self.metrics.responses(&self.route, status)).inc();
        } else {
            self.metrics.response(&self.route, status);
        }
    }
}

/// All that is counted.
pub(super) struct Metrics {
    registry: Registry,
    responses: Family<OfStatus, Counter>,
    durations: Family<OfVersion, Histogram, fn() -> Histogram>,
    refused: Family<OfReason, Counter>,
    traps: Family<OfTrap, Counter>,
    switches: Family<OfReason, Counter>,
    connections: Gauge,
    connections_limit: Gauge,
    stuck: Gauge,
    instances: Gauge,
    running: Family<OfRoute, Gauge>,
    running_limit: Family<OfRoute, Gauge>,
    waiting: Family<OfRoute, Gauge>,
    waiting_limit: Family<OfRoute, Gauge>,
    live: Family<OfVersion, Gauge>,
    variants: Family<OfVariant, Gauge>,
    steps_down: Family<OfBetter, Gauge>,
    pools: Family<OfKind, Gauge>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS_S)
}

impl Metrics {
    pub(super) fn new() -> Metrics {
        let mut metrics = Metrics {
            registry: Registry::with_prefix("isomer"),
            responses: Family::default(),
            durations: Family::new_with_constructor(histogram as fn() -> Histogram),
            refused: Family::default(),
            traps: Family::default(),
            switches: Family::default(),
            connections: Gauge::default(),
            connections_limit: Gauge::default(),
            stuck: Gauge::default(),
            instances: Gauge::default(),
            running: Family::default(),
            running_limit: Family::default(),
            waiting: Family::default(),
            waiting_limit: Family::default(),
            live: Family::default(),
            variants: Family::default(),
            steps_down: Family::default(),
            pools: Family::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("responses", "Responses by route and status", metrics.responses.clone());
        registry.register(
            "response_seconds",
            "Time from a request's head to its response's",
            metrics.durations.clone(),
        );
        registry.register(
            "refused",
            "Requests that no guest answered, or not to the end, by reason",
            metrics.refused.clone(),
        );
        registry.register("traps", "Guests that trapped, by wasmtime's code", metrics.traps.clone());
        registry.register("switches", "Versions that became active, by what became of them", metrics.switches.clone());
        registry.register("connections", "Open connections", metrics.connections.clone());
        let help = "Connections that may be open at once";
        registry.register("connections_limit", help, metrics.connections_limit.clone());
        registry.register(
            "stuck_guests",
            "Guests that go on beyond their limits and cannot be interrupted",
            metrics.stuck.clone(),
        );
        registry.register("instances", "Instances of guests", metrics.instances.clone());
        registry.register("running_requests", "Requests that are answered now", metrics.running.clone());
        let help = "Requests that may be answered at once";
        registry.register("running_requests_limit", help, metrics.running_limit.clone());
        registry.register("waiting_requests", "Requests that wait for their turn", metrics.waiting.clone());
        registry.register("waiting_requests_limit", "Requests that may wait", metrics.waiting_limit.clone());
        registry.register("live", "1 for the version that answers", metrics.live.clone());
        let help = "1 for the variant that answers, with its target and how it was loaded";
        registry.register("variant", help, metrics.variants.clone());
        let help = "1 for each variant that would be better than the one that answers, and does not run here";
        registry.register("step_down", help, metrics.steps_down.clone());
        registry.register("pool", "What the pools of instances hold", metrics.pools.clone());
        let build = [("version", env!("CARGO_PKG_VERSION")), ("wasmtime", ENGINE_VERSION)];
        registry.register("build", "The program's version and its engine's", Info::new(build));
        registry.register_collector(Box::new(Process::new()));
        // Requests that reach no route.
        let no_route: Arc<str> = "".into();
        for reason in Reason::BEFORE_ROUTE {
            metrics.refused.get_or_create_owned(&of_reason(&no_route, reason.name()));
            metrics.responses.get_or_create_owned(&of_status(&no_route, reason.status().as_u16()));
        }
        metrics
    }

    /// A route is served from now on. What may be counted of it begins with 0: Prometheus takes the first value that it sees
    /// for no increase.
    pub(super) fn begin(&self, route: &Arc<str>) {
        for status in std::iter::once(200).chain(Reason::OF_ROUTE.map(|reason| reason.status().as_u16())) {
            self.responses.get_or_create_owned(&of_status(route, status));
        }
        for reason in Reason::OF_ROUTE {
            self.refused.get_or_create_owned(&of_reason(route, reason.name()));
        }
        for code in COMMON_TRAPS {
            self.traps.get_or_create_owned(&of_trap(route, code));
        }
        for outcome in Outcome::ALL {
            self.switches.get_or_create_owned(&of_reason(route, outcome.name()));
        }
    }

    /// A request to `route` has a response.
    pub(super) fn response(&self, route: &Arc<str>, status: u16) {
        self.responses(route, status).inc();
    }

    fn responses(&self, route: &Arc<str>, status: u16) -> Counter {
        self.responses.get_or_create_owned(&of_status(route, status))
    }

    /// How long the responses of a version's guests take.
    pub(super) fn durations(&self, route: &Arc<str>, version: &Arc<str>) -> Histogram {
        self.durations.get_or_create_owned(&OfVersion { route: Arc::clone(route), version: Arc::clone(version) })
    }

    /// A request was refused or cancelled.
    pub(super) fn refused(&self, route: &str, reason: &'static str) {
        self.refused.get_or_create(&of_reason(route, reason)).inc();
    }

    /// A guest trapped.
    pub(super) fn trap(&self, route: &str, code: Trap) {
        self.traps.get_or_create(&of_trap(route, code)).inc();
    }

    /// A version became active, and this became of it.
    pub(super) fn switched(&self, route: &str, outcome: Outcome) {
        self.switches.get_or_create(&of_reason(route, outcome.name())).inc();
    }

    /// The text for Prometheus.
    pub(super) fn render(&self, sample: &Sample) -> String {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.connections.set(number(sample.connections));
        self.connections_limit.set(number(sample.connections_limit));
        self.stuck.set(number(sample.stuck));
        self.instances.set(number(sample.instances));
        // Of routes that a reload removed, nothing stays.
        for of_route in [&self.running, &self.running_limit, &self.waiting, &self.waiting_limit] {
            of_route.clear();
        }
        self.live.clear();
        self.variants.clear();
        self.steps_down.clear();
        sample.routes.iter().for_each(|route| self.sample_route(route));
        for (kind, count) in &sample.pools {
            self.pools.get_or_create(&OfKind { kind }).set(i64::try_from(*count).unwrap_or(i64::MAX));
        }
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    fn sample_route(&self, sample: &RouteSample) {
        let RouteSample { route, running, running_limit, waiting, waiting_limit, version, choice } = sample;
        let labels = OfRoute { route: route.to_string() };
        for (gauge, count) in [
            (&self.running, running),
            (&self.running_limit, running_limit),
            (&self.waiting, waiting),
            (&self.waiting_limit, waiting_limit),
        ] {
            gauge.get_or_create(&labels).set(i64::try_from(*count).unwrap_or(i64::MAX));
        }
        self.live.get_or_create(&OfVersion { route: Arc::clone(route), version: Arc::clone(version) }).set(1);
        let (route, version) = (|| route.to_string(), || version.to_string());
        let target = choice.target.clone().unwrap_or_default();
        let load_path = if choice.mapped { "mapped" } else { "copied" };
        self.variants.get_or_create(&OfVariant { route: route(), version: version(), target, load_path }).set(1);
        for step_down in &choice.steps_down {
            let labels = OfBetter { route: route(), version: version(), better: step_down.target.clone() };
            self.steps_down.get_or_create(&labels).set(1);
        }
    }
}

fn of_status(route: &Arc<str>, status: u16) -> OfStatus {
    OfStatus { route: Arc::clone(route), status }
}

fn of_reason(route: &str, reason: &'static str) -> OfReason {
    OfReason { route: route.to_owned(), reason }
}

/// By the name of the code in wasmtime's documentation.
fn of_trap(route: &str, code: Trap) -> OfTrap {
    OfTrap { route: route.to_owned(), code: format!("{code:?}") }
}

#[cfg(test)]
mod tests {
    use super::super::settings::StepDown;
    use super::*;

    #[test]
    fn what_is_counted_can_be_read() {
        let metrics = Arc::new(Metrics::new());
        let (route, version): (Arc<str>, Arc<str>) = ("/a".into(), "hello:1".into());
        metrics.begin(&route);
        let responses = Responses::new(Arc::clone(&metrics), Arc::clone(&route));
        [200, 200, 404].iter().for_each(|status| responses.count(*status));
        metrics.response(&route, 200);
        metrics.refused("/a", "waiting");
        metrics.trap("/a", Trap::UnreachableCodeReached);
        metrics.switched("/a", Outcome::SwitchedBack);
        metrics.durations(&route, &version).observe(0.003);
        let choice = Choice {
            target: Some("x86-64-v3".to_owned()),
            mapped: true,
            steps_down: vec![StepDown::new("x86-64-v4".to_owned(), vec!["needs `avx512f`".to_owned()])],
        };
        let route = RouteSample { route, running: 1, running_limit: 3, waiting: 2, waiting_limit: 4, version, choice };
        let sample = Sample { connections: 7, connections_limit: 9, routes: vec![route], ..Sample::default() };
        let text = metrics.render(&sample);
        for line in [
            "isomer_responses_total{route=\"/a\",status=\"200\"} 3",
            "isomer_responses_total{route=\"/a\",status=\"404\"} 1",
            "isomer_refused_total{route=\"/a\",reason=\"waiting\"} 1",
            "isomer_traps_total{route=\"/a\",code=\"UnreachableCodeReached\"} 1",
            "isomer_switches_total{route=\"/a\",reason=\"switched-back\"} 1",
            // What has not happened yet.
            "isomer_responses_total{route=\"/a\",status=\"504\"} 0",
            "isomer_refused_total{route=\"/a\",reason=\"request-time\"} 0",
            "isomer_refused_total{route=\"\",reason=\"no-route\"} 0",
            "isomer_traps_total{route=\"/a\",code=\"StackOverflow\"} 0",
            "isomer_switches_total{route=\"/a\",reason=\"refused\"} 0",
            "isomer_response_seconds_count{route=\"/a\",version=\"hello:1\"} 1",
            "isomer_connections 7",
            "isomer_connections_limit 9",
            "isomer_running_requests_limit{route=\"/a\"} 3",
            "isomer_waiting_requests{route=\"/a\"} 2",
            "isomer_waiting_requests_limit{route=\"/a\"} 4",
            "isomer_live{route=\"/a\",version=\"hello:1\"} 1",
            "isomer_variant{route=\"/a\",version=\"hello:1\",target=\"x86-64-v3\",load_path=\"mapped\"} 1",
            "isomer_step_down{route=\"/a\",version=\"hello:1\",better=\"x86-64-v4\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        let text = metrics.render(&Sample::default());
        assert!(!text.contains("isomer_running_requests{") && !text.contains("isomer_live{"), "{text}");
    }
}
