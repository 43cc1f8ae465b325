//! A bar for many jobs on a terminal, and nothing where standard error is none.

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
