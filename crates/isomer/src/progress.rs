//! Progress while jobs run: on a terminal a bar for all of them and a line for each that runs; in a log, a line now and then
//! once the build takes long.

use crate::timings::Timings;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often a line is written to a log.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// More lines than this would push the bar off the screen.
const LINES_MAX: usize = 16;

/// The progress of one round of jobs.
pub(crate) struct Progress<'a> {
    verb: &'static str,
    bars: MultiProgress,
    all: ProgressBar,
    running: BTreeMap<usize, (String, Option<ProgressBar>)>,
    begun: Instant,
    logged: Instant,
    timings: Option<&'a Timings>,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(jobs: usize, verb: &'static str, timings: Option<&'a Timings>) -> Progress<'a> {
        // indicatif draws on standard error, and nothing when that is not a terminal.
        let bars = MultiProgress::new();
        let all = bars.add(ProgressBar::new(jobs as u64));
        let template = format!("{verb:>12} [{{bar:24}}] {{pos}}/{{len}} {{elapsed}}");
        all.set_style(ProgressStyle::with_template(&template).expect("a constant").progress_chars("=> "));
        all.enable_steady_tick(Duration::from_millis(200));
        let now = Instant::now();
        Progress { verb, bars, all, running: BTreeMap::new(), begun: now, logged: now, timings }
    }

    pub(crate) fn started(&mut self, job: usize, name: String) {
        self.timings.iter().for_each(|timings| timings.started(job, &name));
        let line = (self.running.len() < LINES_MAX).then(|| {
            let line = self.bars.add(ProgressBar::new_spinner());
            let style = ProgressStyle::with_template("             {elapsed:>4} {wide_msg}").expect("a constant");
            line.set_style(style);
            line.set_message(name.clone());
            line.enable_steady_tick(Duration::from_millis(500));
            line
        });
        self.running.insert(job, (name, line));
        self.log();
    }

    pub(crate) fn finished(&mut self, job: usize, failed: bool) {
        self.timings.iter().for_each(|timings| timings.finished(job, failed));
        if let Some((_, Some(line))) = self.running.remove(&job) {
            line.finish_and_clear();
        }
        self.all.inc(1);
        self.log();
    }

    fn log(&mut self) {
        if !self.all.is_hidden() || self.logged.elapsed() < LOG_INTERVAL {
            return;
        }
        self.logged = Instant::now();
        let running: Vec<_> = self.running.values().map(|(name, _)| name.as_str()).collect();
        let (done, all) = (self.all.position(), self.all.length().unwrap_or_default());
        let seconds = self.begun.elapsed().as_secs();
        let now = if running.is_empty() { String::new() } else { format!("; now {}", running.join(", ")) };
        anstream::eprintln!("{} {done}/{all} after {seconds} s{now}", self.verb);
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        for (_, line) in self.running.values() {
            line.iter().for_each(ProgressBar::finish_and_clear);
        }
        self.all.finish_and_clear();
    }
}
