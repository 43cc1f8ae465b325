//! A bar for many jobs, or for many bytes, on a terminal, and nothing where standard error is none.

use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::time::Duration;

/// The bar, with the jobs that run now behind it.
pub(crate) struct Progress {
    bar: ProgressBar,
    running: BTreeMap<usize, String>,
}

impl Progress {
    pub(crate) fn new(jobs: usize, verb: &str) -> Progress {
        // indicatif draws on standard error, and draws nothing when that is no terminal.
        let bar = ProgressBar::new(jobs as u64);
        let template = format!("{verb:>12} [{{bar:24}}] {{pos}}/{{len}} {{elapsed}} {{wide_msg}}");
        bar.set_style(ProgressStyle::with_template(&template).expect("a constant").progress_chars("=> "));
        bar.enable_steady_tick(Duration::from_millis(200));
        Progress { bar, running: BTreeMap::new() }
    }

    pub(crate) fn started(&mut self, job: usize, name: String) {
        self.running.insert(job, name);
        self.show();
    }

    pub(crate) fn finished(&mut self, job: usize) {
        self.running.remove(&job);
        self.bar.inc(1);
        self.show();
    }

    fn show(&self) {
        self.bar.set_message(self.running.values().cloned().collect::<Vec<_>>().join(", "));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The bar of a module on its way to a registry.
pub(crate) struct Transfer {
    bar: ProgressBar,
}

impl Transfer {
    pub(crate) fn new(module: &str) -> Transfer {
        let bar = ProgressBar::new(0);
        let template = "     pushing [{bar:24}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {wide_msg}";
        bar.set_style(ProgressStyle::with_template(template).expect("a constant").progress_chars("=> "));
        bar.set_message(module.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        Transfer { bar }
    }

    pub(crate) fn planned(&self, size_bytes: u64) {
        self.bar.set_length(size_bytes);
    }

    pub(crate) fn done(&self, size_bytes: u64) {
        self.bar.inc(size_bytes);
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
