//! Load on a server by the generators that people use. In: a URL, a protocol, a number of connections. Out: requests a
//! second, percentiles of their time, how many failed. Never here: which server it is.

use anyhow::{Context, Result, ensure};
use isomer_testing::shell::read;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// What a percentile of the latency is printed for.
const PERCENTILES: [f64; 3] = [50.0, 99.0, 99.9];

/// What wrk prints at its end: its own summary has no p99.9.
const REPORT: &str = "done = function(summary, latency, requests)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  print(string.format('measured %f %f %f %f %d', summary.requests / summary.duration * 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency:percentile(99.9) / 1e3, failed))
end
";

/// A version of HTTP.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// By wrk.
    Http1,
    /// By h2load, 4 streams on each connection: with 256 of these, no more than a route lets wait.
    Http2,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Http1 => "h1",
            Protocol::Http2 => "h2",
        })
    }
}

/// What is sent.
pub(super) struct Load {
    pub(super) url: String,
    pub(super) protocol: Protocol,
    pub(super) connections: usize,
    pub(super) seconds: u64,
    /// Of the generator.
    pub(super) cores: String,
    /// For its files.
    pub(super) directory: PathBuf,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) requests_per_s: f64,
    /// p50, p99, p99.9.
    pub(super) latency_ms: [f64; 3],
    pub(super) failed: u64,
}

impl Measured {
    /// The median of each number; every failure counts.
    pub(super) fn median(of: &[Measured]) -> Measured {
        let middle = |number: &dyn Fn(&Measured) -> f64| {
            let mut all: Vec<_> = of.iter().map(number).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        Measured {
            requests_per_s: middle(&|it| it.requests_per_s),
            latency_ms: [0, 1, 2].map(|index| middle(&|it| it.latency_ms[index])),
            failed: of.iter().map(|it| it.failed).sum(),
        }
    }
}

impl Load {
    /// Begins, for one who watches the server meanwhile.
    pub(super) fn start(&self) -> Result<Child> {
        let mut command = self.command()?;
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().with_context(|| format!("could not start {command:?}"))
    }

    /// Runs to its end.
    pub(super) fn run(&self) -> Result<Measured> {
        let printed = read(&mut self.command()?)?;
        match self.protocol {
            Protocol::Http1 => parse_wrk(&printed),
            Protocol::Http2 => parse_h2load(&fs::read_to_string(self.log())?, self.seconds),
        }
        .with_context(|| format!("not understood:\n{printed}"))
    }

    fn log(&self) -> PathBuf {
        self.directory.join("h2load.log")
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", &self.cores]);
        let connections = self.connections.to_string();
        match self.protocol {
            Protocol::Http1 => {
                let script = self.directory.join("report.lua");
                fs::write(&script, REPORT)?;
                command.args(["wrk", "-t", "1", "-c", &connections, "-d", &format!("{}s", self.seconds), "-s"]);
                command.arg(script);
            }
            Protocol::Http2 => {
                let _ = fs::remove_file(self.log());
                command.args(["h2load", "-t", "1", "-c", &connections, "-m", "4", "-D", &self.seconds.to_string()]);
                command.arg(format!("--log-file={}", self.log().display()));
            }
        }
        command.arg(&self.url);
        Ok(command)
    }
}

fn parse_wrk(printed: &str) -> Result<Measured> {
    let line = printed.lines().find_map(|line| line.strip_prefix("measured ")).context("wrk measured nothing")?;
    let numbers = line.split(' ').map(str::parse).collect::<Result<Vec<f64>, _>>()?;
    ensure!(numbers.len() == 5, "wrk printed {line:?}");
    Ok(Measured {
        requests_per_s: numbers[0],
        latency_ms: [numbers[1], numbers[2], numbers[3]],
        failed: numbers[4] as u64,
    })
}

/// Lines of when a request began, its status, and how long it took, in microseconds.
fn parse_h2load(log: &str, seconds: u64) -> Result<Measured> {
    let (mut took, mut failed) = (Vec::new(), 0);
    for line in log.lines() {
        let mut fields = line.split('\t').skip(1);
        let status = fields.next().context("a status")?;
        took.push(fields.next().context("a time")?.parse::<f64>()? / 1e3);
        failed += u64::from(status != "200");
    }
    ensure!(!took.is_empty(), "no request was answered");
    took.sort_by(f64::total_cmp);
    let percentile = |percent: f64| took[((took.len() - 1) as f64 * percent / 100.0).round() as usize];
    Ok(Measured { requests_per_s: took.len() as f64 / seconds as f64, latency_ms: PERCENTILES.map(percentile), failed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_generators_print_is_understood() {
        let measured = parse_wrk("Running\nmeasured 1000.500000 0.5 2.25 9 3\n").unwrap();
        assert_eq!((measured.requests_per_s, measured.latency_ms, measured.failed), (1000.5, [0.5, 2.25, 9.0], 3));
        let log: String = (1..=1001).map(|number| format!("1700000000\t200\t{}\n", number * 1000)).collect();
        let measured = parse_h2load(&(log + "1700000000\t500\t1000\n"), 2).unwrap();
        assert_eq!((measured.requests_per_s, measured.failed), (501.0, 1));
        assert_eq!(measured.latency_ms.map(f64::round), [501.0, 991.0, 1000.0]);
        assert!(parse_wrk("").is_err() && parse_h2load("", 1).is_err());
    }

    #[test]
    fn the_median_counts_and_each_failure() {
        let of = |requests_per_s, failed| Measured { requests_per_s, latency_ms: [requests_per_s; 3], failed };
        let median = Measured::median(&[of(3.0, 1), of(1.0, 0), of(2.0, 1)]);
        assert_eq!((median.requests_per_s, median.latency_ms, median.failed), (2.0, [2.0; 3], 2));
    }
}
