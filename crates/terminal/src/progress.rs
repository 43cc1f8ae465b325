//! What a person sees while work is under way. In: names of jobs, numbers of bytes. Out: bars on standard error where
//! that is a terminal; elsewhere, for logs, a line now and then. Never here: a result.

use crate::escape::escaped;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The interval of the lines in a log.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// More lines than this would push the bar off the screen.
const LINES_MAX: usize = 16;

/// A bar for all jobs, and a line for each that runs.
pub struct JobProgress {
    verb: &'static str,
    bars: MultiProgress,
    all: ProgressBar,
    running: BTreeMap<usize, (String, Option<ProgressBar>)>,
    begun: Instant,
    logged: Instant,
}

impl JobProgress {
    /// For so many jobs; `verb` says what is done to them.
    pub fn new(jobs: usize, verb: &'static str) -> JobProgress {
        // indicatif draws on standard error, and draws nothing when that is no terminal.
        let bars = MultiProgress::new();
        let all = bars.add(ProgressBar::new(jobs as u64));
        let template = format!("{verb:>12} [{{bar:24}}] {{pos}}/{{len}} {{elapsed}}");
        all.set_style(ProgressStyle::with_template(&template).expect("a constant").progress_chars("=> "));
        all.enable_steady_tick(Duration::from_millis(200));
        let now = Instant::now();
        JobProgress { verb, bars, all, running: BTreeMap::new(), begun: now, logged: now }
    }

    /// The job of that number has begun.
    pub fn started(&mut self, job: usize, name: &str) {
        let name = escaped(name).into_owned();
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

    /// It has ended.
    pub fn finished(&mut self, job: usize) {
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
        let line = self.line(self.begun.elapsed());
        anstream::eprintln!("{line}");
    }

    fn line(&self, elapsed: Duration) -> String {
        let running: Vec<_> = self.running.values().map(|(name, _)| name.as_str()).collect();
        let now = if running.is_empty() { String::new() } else { format!("; now {}", running.join(", ")) };
        let (done, all) = (self.all.position(), self.all.length().unwrap_or_default());
        format!("{} {done}/{all} after {} s{now}", self.verb, elapsed.as_secs())
    }
}

impl Drop for JobProgress {
    fn drop(&mut self) {
        for (_, line) in self.running.values() {
            line.iter().for_each(ProgressBar::finish_and_clear);
        }
        self.all.finish_and_clear();
    }
}

/// The bar of bytes that are being transferred: on a terminal, and nothing elsewhere. It starts no thread.
pub struct TransferProgress {
    bar: ProgressBar,
}

impl TransferProgress {
    /// For the transfer of `name`; `verb` says which. [`TransferProgress::planned`] sets the number of bytes.
    pub fn new(verb: &'static str, name: &str) -> TransferProgress {
        let bar = ProgressBar::new(0);
        let bytes = "{binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}";
        let template = format!("{verb:>12} [{{bar:24}}] {bytes} {{wide_msg}}");
        bar.set_style(ProgressStyle::with_template(&template).expect("a constant").progress_chars("=> "));
        bar.set_message(escaped(name).into_owned());
        TransferProgress { bar }
    }

    /// So many bytes are to be sent.
    pub fn planned(&self, size_bytes: u64) {
        self.bar.set_length(size_bytes);
    }

    /// So many more have been sent.
    pub fn done(&self, size_bytes: u64) {
        self.bar.inc(size_bytes);
    }
}

impl Drop for TransferProgress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_names_what_runs_and_passes_no_control_character_on() {
        let mut progress = JobProgress::new(3, "compiling");
        let after = Duration::from_secs(10);
        assert_eq!(progress.line(after), "compiling 0/3 after 10 s");
        progress.started(0, "sort\x1b[2J x86-64-v3");
        progress.started(1, "gpj.\u{202e}");
        assert_eq!(progress.line(after), "compiling 0/3 after 10 s; now sort\\u{1b}[2J x86-64-v3, gpj.\\u{202e}");
        progress.finished(0);
        progress.finished(1);
        assert_eq!(progress.line(after), "compiling 2/3 after 10 s");
    }
}
