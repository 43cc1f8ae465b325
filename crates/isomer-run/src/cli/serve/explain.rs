//! `--explain`: what a server was set up with, and where that comes from. In: a [`Server`]. Out: lines on standard output;
//! limits are tables of a settings file, to be copied into one. Never here: the value of an environment variable.

use isomer_contract::Size;
use isomer_guest::server::{Explanation, RouteLimits, Server, ServerLimits, instance_limits};
use isomer_guest::{Access, Grants, Limits, OutgoingLimits};
use isomer_terminal::{Failure, escaped};
use std::fmt::Write;
use std::time::Duration;

pub(super) fn print(server: &Server) -> Result<(), Failure> {
    let addresses: Vec<_> = server.addresses().iter().map(ToString::to_string).collect();
    let mut text = format!("addresses: {}\n", escaped(&addresses.join(", ")));
    let table = Table::new("limits");
    let ServerLimits { connections, header_size, header_time, idle_time, streams, drain_time, .. } =
        ServerLimits::default();
    let limits = server.limits();
    text += &table
        .count("connections", limits.connections, connections)
        .size("header-size", limits.header_size, header_size)
        .time("header-time", limits.header_time, header_time)
        .time("idle-time", limits.idle_time, idle_time)
        .count("streams", limits.streams, streams)
        .time("drain-time", limits.drain_time, drain_time)
        .text;
    for explanation in server.explanations() {
        text += &route(explanation);
    }
    isomer_terminal::print(&text)?;
    Ok(())
}

fn route(explanation: &Explanation) -> String {
    let Explanation { route, module, load_path, interface, interruptible, memory, grants, outgoing, .. } = explanation;
    let mut text = format!("\nroute {route}\n");
    let deadline = if *interruptible {
        "by epochs, which the artifact's code checks"
    } else {
        "only while the guest waits; its code has no epochs (`epoch-interruption = true` in a profile's [wasm])"
    };
    let mut lines = vec![
        ("module", escaped(module).into_owned()),
        ("interface", interface.clone()),
        ("artifact", load_path.replace('\n', "\n    ")),
    ];
    let steps = explanation.steps_down.iter();
    lines.extend(
        steps.map(|step| ("better, but not here", format!("{}: it {}", step.target, step.reasons.join("; it ")))),
    );
    lines.extend([
        ("memory", memory.clone()),
        ("deadlines", deadline.to_owned()),
        ("grants", granted(grants, &explanation.environment)),
        ("health", explanation.health.clone().unwrap_or_else(|| "no health request".to_owned())),
        ("probation", format!("{} for a new version", time(explanation.probation))),
    ]);
    for (name, value) in lines {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {name}: {value}");
    }
    text += &route_limits(&explanation.limits);
    text += &of_instance(&explanation.instance, &instance_limits());
    if !grants.allow_http.is_empty() {
        text += &of_outgoing(outgoing);
    }
    text
}

fn route_limits(limits: &RouteLimits) -> String {
    let default = RouteLimits::default();
    let table = Table::new("route.limits")
        .count("requests", limits.requests, default.requests)
        .count("waiting", limits.waiting, default.waiting)
        .time("waiting-time", limits.waiting_time, default.waiting_time)
        .size("request-size", limits.request_size, default.request_size)
        .time("request-time", limits.request_time, default.request_time)
        .time("body-idle-time", limits.body_idle_time, default.body_idle_time)
        .time("total-time", limits.total_time, default.total_time)
        .size("log-rate", limits.log_rate, default.log_rate);
    table.text
}

/// Without a limit there is no line.
fn of_instance(limits: &Limits, default: &Limits) -> String {
    let mut table = Table::new("route.instance");
    let sizes = [
        ("max-memory", limits.max_memory, default.max_memory),
        ("max-stack", limits.max_stack, default.max_stack),
        ("max-output", limits.max_output, default.max_output),
        ("max-keyvalue", limits.max_keyvalue, default.max_keyvalue),
    ];
    for (key, limit, default) in sizes {
        if let Some(limit) = limit {
            table = table.line(key, format!("\"{}\"", Size(limit)), Some(limit) == default);
        }
    }
    let counts = [
        ("fuel", limits.fuel, default.fuel),
        ("max-table-elements", limits.max_table_elements, default.max_table_elements),
        ("max-instances", limits.max_instances, default.max_instances),
        ("max-handles", limits.max_handles, default.max_handles),
    ];
    for (key, limit, default) in counts {
        if let Some(limit) = limit {
            table = table.line(key, limit.to_string(), Some(limit) == default);
        }
    }
    table.text
}

fn of_outgoing(limits: &OutgoingLimits) -> String {
    let default = OutgoingLimits::default();
    let table = Table::new("route.outgoing")
        .count("requests", limits.requests, default.requests)
        .count("connections", limits.connections, default.connections)
        .time("connect-time", limits.connect_time, default.connect_time)
        .time("response-time", limits.response_time, default.response_time)
        .time("idle-time", limits.idle_time, default.idle_time)
        .line(
            "response-size",
            format!("\"{}\"", Size(limits.response_size)),
            limits.response_size == default.response_size,
        );
    table.text
}

fn granted(grants: &Grants, environment: &[String]) -> String {
    let mut all: Vec<String> = Vec::new();
    for directory in &grants.directories {
        let access = if directory.access == Access::ReadOnly { ", to read" } else { "" };
        all.push(format!("the directory {} as {}{access}", directory.host.display(), directory.guest));
    }
    all.extend(environment.iter().map(|name| format!("the variable {name}")));
    all.extend(grants.allow_net.iter().map(|rule| format!("the network {rule}")));
    all.extend(grants.allow_http.iter().map(|rule| format!("requests to {rule}")));
    all.extend(grants.ca_certificates.iter().map(|file| format!("servers of the CAs in {}", file.display())));
    if grants.allow_tls {
        all.push("TLS over its connections".to_owned());
    }
    if grants.keyvalue.is_some() {
        all.push("a key-value store".to_owned());
    }
    if all.is_empty() { "nothing of this machine".to_owned() } else { all.join(", ") }
}

/// A table of a settings file, in which each value says where it comes from.
struct Table {
    text: String,
}

impl Table {
    fn new(name: &str) -> Table {
        Table { text: format!("\n  [{name}]\n") }
    }

    fn line(mut self, key: &str, value: String, is_default: bool) -> Table {
        let origin = if is_default { "default" } else { "stated" };
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "  {:<32} # {origin}", format!("{key} = {value}"));
        self
    }

    fn count<T: ToString + PartialEq>(self, key: &str, value: T, default: T) -> Table {
        self.line(key, value.to_string(), value == default)
    }

    fn size(self, key: &str, value: usize, default: usize) -> Table {
        self.line(key, format!("\"{}\"", Size(value as u64)), value == default)
    }

    fn time(self, key: &str, value: Duration, default: Duration) -> Table {
        self.line(key, format!("\"{}\"", time(value)), value == default)
    }
}

/// As settings files have it.
fn time(duration: Duration) -> String {
    match duration.subsec_millis() {
        0 => format!("{}s", duration.as_secs()),
        _ => format!("{}ms", duration.as_millis()),
    }
}
