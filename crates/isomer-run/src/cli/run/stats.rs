//! `--stats`: what a run took. In: times and what the guest used. Out: text or JSON, on standard error, where it does not mix
//! with the guest's output. Never here: a measurement of the guest's own time that includes this program's.

use super::program::Times;
use isomer_contract::Size;
use isomer_guest::Usage;
use isomer_terminal::{escaped, escaped_json};
use serde::Serialize;
use std::io::Write;
use std::time::Duration;

/// How statistics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum StatsFormat {
    /// A line for each.
    Text,
    /// One JSON object in one line.
    Json,
}

/// What a run took.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Stats<'a> {
    module: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    load_path: &'a str,
    select_microseconds: u64,
    verify_microseconds: u64,
    load_microseconds: u64,
    instantiate_microseconds: u64,
    run_microseconds: u64,
    /// The bytes of the guest's memories; those that are shared are not counted.
    guest_memory_bytes: u64,
    /// The most that this process had in memory.
    process_memory_bytes_peak: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    fuel: Option<u64>,
}

impl<'a> Stats<'a> {
    pub(super) fn new(
        module: &'a str,
        target: Option<&'a str>,
        load_path: &'a str,
        times: Times,
        usage: &Usage,
    ) -> Stats<'a> {
        let microseconds = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Stats {
            module,
            target,
            load_path,
            select_microseconds: microseconds(times.select),
            verify_microseconds: microseconds(times.verify),
            load_microseconds: microseconds(times.load),
            instantiate_microseconds: microseconds(usage.instantiate),
            run_microseconds: microseconds(usage.run),
            guest_memory_bytes: usage.memory_bytes,
            process_memory_bytes_peak: peak_bytes(),
            fuel: usage.fuel,
        }
    }

    pub(super) fn print(&self, format: StatsFormat) {
        let text = match format {
            StatsFormat::Json => escaped_json(&serde_json::to_string(self).unwrap_or_default()).into_owned(),
            StatsFormat::Text => self.text(),
        };
        // A closed standard error cannot be reported.
        let _ = writeln!(anstream::stderr(), "{text}");
    }

    fn text(&self) -> String {
        let milliseconds = |microseconds: u64| format!("{:.3} ms", microseconds as f64 / 1000.0);
        let size = |bytes: u64| Size(bytes / 1024 * 1024).to_string();
        let mut lines = vec![
            ("module", self.module.to_owned()),
            ("target", self.target.unwrap_or("not stated").to_owned()),
            ("load path", self.load_path.to_owned()),
            ("select", milliseconds(self.select_microseconds)),
            ("verify", milliseconds(self.verify_microseconds)),
            ("load", milliseconds(self.load_microseconds)),
            ("instantiate", milliseconds(self.instantiate_microseconds)),
            ("run", milliseconds(self.run_microseconds)),
            ("guest memory", size(self.guest_memory_bytes)),
            ("process memory", format!("{} at most", size(self.process_memory_bytes_peak))),
        ];
        lines.extend(self.fuel.map(|fuel| ("fuel", fuel.to_string())));
        let line = |(name, value): &(&str, String)| format!("{name:<16}{}", escaped(value));
        lines.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

#[allow(unsafe_code, reason = "libc has no safe wrapper")]
fn peak_bytes() -> u64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is as large as the kernel writes, and zeroed where it does not.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    // Linux counts in KiB.
    u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024
}
