//! This process in metrics: its memory, its file descriptors, and the system's limits on both. In: `/proc`, control groups,
//! resource limits, each time the metrics are read. Out: gauges. Never here: a value that the system does not tell.

use isomer_file::memory;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use rustix::process::{Resource, getrlimit};
use std::fmt;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// Reads the process's state whenever the metrics are read.
#[derive(Debug)]
pub(super) struct Process {
    /// When it was started, in seconds since 1970, by the system's clock.
    started_s: f64,
}

impl Process {
    pub(super) fn new() -> Process {
        Process { started_s: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let machine = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let least = |of_groups: Option<u64>, key: &str| of_groups.into_iter().chain(meminfo_bytes(&machine, key)).min();
        let gauges = [
            ("resident_memory_bytes", "Memory of the process.", resident_bytes()),
            (
                "memory_limit_bytes",
                "The strictest limit of its control groups, or the machine's memory.",
                least(memory::limit_bytes(), "MemTotal:"),
            ),
            (
                "memory_available_bytes",
                "Memory that its control groups and the machine leave it.",
                least(memory::available_bytes(), "MemAvailable:"),
            ),
            ("open_files", "File descriptors of the process.", open_files()),
            ("open_files_limit", "The limit on file descriptors.", getrlimit(Resource::Nofile).current),
        ];
        for (name, help, value) in gauges {
            if let Some(value) = value {
                gauge(&mut encoder, name, help, value)?;
            }
        }
        gauge(&mut encoder, "start_time_seconds", "When the server was started, in seconds since 1970.", self.started_s)
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: impl EncodeGaugeValue + Clone,
) -> fmt::Result {
    let gauge = ConstGauge::new(value);
    gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
}

/// A row of `/proc/meminfo`.
fn meminfo_bytes(text: &str, key: &str) -> Option<u64> {
    let kibibytes = text.lines().find_map(|line| line.strip_prefix(key))?.trim().strip_suffix(" kB")?;
    kibibytes.parse::<u64>().ok()?.checked_mul(1024)
}

/// The memory that the process holds.
fn resident_bytes() -> Option<u64> {
    let pages = fs::read_to_string("/proc/self/statm").ok()?.split_whitespace().nth(1)?.parse::<u64>().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// How many descriptors the process has open.
fn open_files() -> Option<u64> {
    // The directory itself is one while it is read.
    Some((fs::read_dir("/proc/self/fd").ok()?.count() as u64).saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_meminfo_is_in_kibibytes() {
        let text = "MemTotal:       24576 kB\nMemFree:  1 kB\nMemAvailable:    12 kB\nHugePages_Total:       3\n";
        assert_eq!(meminfo_bytes(text, "MemTotal:"), Some(24 << 20));
        assert_eq!(meminfo_bytes(text, "MemAvailable:"), Some(12 << 10));
        assert_eq!(meminfo_bytes(text, "HugePages_Total:"), None);
        assert_eq!(meminfo_bytes("", "MemTotal:"), None);
    }
}
