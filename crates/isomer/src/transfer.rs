//! The progress bar of an upload to a registry, on a terminal; nothing where standard error is not one.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// The progress bar of one module.
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
