//! What the server counts. In: what happened to each request, and how things are now. Out: the text that Prometheus reads.
//! Never here: a path or another text of a client's, of which there is no end.

use super::settings::Choice;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::fmt;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

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

/// How things are when the metrics are read.
#[derive(Debug, Default)]
pub(super) struct Sample {
    pub(super) connections: usize,
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
    /// Requests that wait.
    pub(super) waiting: usize,
    /// The live version.
    pub(super) version: Arc<str>,
    pub(super) choice: Choice,
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
    stuck: Gauge,
    instances: Gauge,
    running: Family<OfRoute, Gauge>,
    waiting: Family<OfRoute, Gauge>,
    live: Family<OfVersion, Gauge>,
    variants: Family<OfVariant, Gauge>,
    steps_down: Family<OfBetter, Gauge>,
    resident: Gauge,
    open_files: Gauge,
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
            stuck: Gauge::default(),
            instances: Gauge::default(),
            running: Family::default(),
            waiting: Family::default(),
            live: Family::default(),
            variants: Family::default(),
            steps_down: Family::default(),
            resident: Gauge::default(),
            open_files: Gauge::default(),
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
        registry.register(
            "stuck_guests",
            "Guests that go on beyond their limits and cannot be interrupted",
            metrics.stuck.clone(),
        );
        registry.register("instances", "Instances of guests", metrics.instances.clone());
        registry.register("running_requests", "Requests that are answered now", metrics.running.clone());
        registry.register("waiting_requests", "Requests that wait for their turn", metrics.waiting.clone());
        registry.register("live", "1 for the version that answers", metrics.live.clone());
        let help = "1 for the variant that answers, with its target and how it was loaded";
        registry.register("variant", help, metrics.variants.clone());
        let help = "1 for each variant that would be better than the one that answers, and does not run here";
        registry.register("step_down", help, metrics.steps_down.clone());
        registry.register("resident_memory_bytes", "Memory of the process", metrics.resident.clone());
        registry.register("open_files", "File descriptors of the process", metrics.open_files.clone());
        registry.register("pool", "What the pools of instances hold", metrics.pools.clone());
        metrics
    }

    /// A request to `route` has a response.
    pub(super) fn response(&self, route: &Arc<str>, status: u16) {
        self.responses.get_or_create(&OfStatus { route: Arc::clone(route), status }).inc();
    }

    /// A guest's response took so long.
    pub(super) fn duration(&self, route: &Arc<str>, version: &Arc<str>, duration: Duration) {
        let labels = OfVersion { route: Arc::clone(route), version: Arc::clone(version) };
        self.durations.get_or_create(&labels).observe(duration.as_secs_f64());
    }

    /// A request was refused or cancelled.
    pub(super) fn refused(&self, route: &str, reason: &'static str) {
        self.refused.get_or_create(&OfReason { route: route.to_owned(), reason }).inc();
    }

    /// A guest trapped.
    pub(super) fn trap(&self, route: &str, code: &str) {
        self.traps.get_or_create(&OfTrap { route: route.to_owned(), code: code.to_owned() }).inc();
    }

    /// A version became active, and this became of it.
    pub(super) fn switched(&self, route: &str, reason: &'static str) {
        self.switches.get_or_create(&OfReason { route: route.to_owned(), reason }).inc();
    }

    /// The text for Prometheus.
    pub(super) fn render(&self, sample: &Sample) -> String {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.connections.set(number(sample.connections));
        self.stuck.set(number(sample.stuck));
        self.instances.set(number(sample.instances));
        self.resident.set(number(resident_bytes().unwrap_or(0)));
        self.open_files.set(number(open_files().unwrap_or(0)));
        // Of routes that a reload removed, nothing stays.
        self.running.clear();
        self.waiting.clear();
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
        let RouteSample { route, running, waiting, version, choice } = sample;
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let labels = OfRoute { route: route.to_string() };
        self.running.get_or_create(&labels).set(number(*running));
        self.waiting.get_or_create(&labels).set(number(*waiting));
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

/// The memory that the process holds. None without `/proc`.
fn resident_bytes() -> Option<usize> {
    let pages = fs::read_to_string("/proc/self/statm").ok()?.split_whitespace().nth(1)?.parse::<usize>().ok()?;
    Some(pages * rustix::param::page_size())
}

/// How many descriptors the process has open. None without `/proc`.
fn open_files() -> Option<usize> {
    // The directory itself is one while it is read.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::super::settings::StepDown;
    use super::*;

    #[test]
    fn what_is_counted_can_be_read() {
        let metrics = Metrics::new();
        let (route, version): (Arc<str>, Arc<str>) = ("/a".into(), "hello:1".into());
        metrics.response(&route, 200);
        metrics.response(&route, 200);
        metrics.refused("/a", "waiting");
        metrics.trap("/a", "unreachable");
        metrics.duration(&route, &version, Duration::from_millis(3));
        let choice = Choice {
            target: Some("x86-64-v3".to_owned()),
            mapped: true,
            steps_down: vec![StepDown::new("x86-64-v4".to_owned(), vec!["needs `avx512f`".to_owned()])],
        };
        let route = RouteSample { route, running: 1, waiting: 2, version, choice };
        let sample = Sample { connections: 7, routes: vec![route], ..Sample::default() };
        let text = metrics.render(&sample);
        for line in [
            "isomer_responses_total{route=\"/a\",status=\"200\"} 2",
            "isomer_refused_total{route=\"/a\",reason=\"waiting\"} 1",
            "isomer_traps_total{route=\"/a\",code=\"unreachable\"} 1",
            "isomer_response_seconds_count{route=\"/a\",version=\"hello:1\"} 1",
            "isomer_connections 7",
            "isomer_waiting_requests{route=\"/a\"} 2",
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
