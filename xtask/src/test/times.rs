//! Where the time goes. In: what was done, and how long it took. Out: a table, the longest first. Never here: a limit.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// Rows of the table; the rest is one row.
const ROWS: usize = 15;

#[derive(Default)]
pub(super) struct Times(BTreeMap<String, Duration>);

impl Times {
    /// Does something and adds how long it took.
    pub(super) fn measure<T>(&mut self, what: &str, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let result = work();
        self.add(what, begun.elapsed());
        result
    }

    pub(super) fn add(&mut self, what: &str, took: Duration) {
        *self.0.entry(what.to_owned()).or_default() += took;
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows: Vec<_> = self.0.iter().collect();
        rows.sort_by_key(|(_, took)| std::cmp::Reverse(**took));
        let (shown, rest) = rows.split_at(rows.len().min(ROWS));
        let mut row = |name: &str, took: Duration| writeln!(f, "{:7.1} s  {name}", took.as_secs_f64());
        for (name, took) in shown {
            row(name, **took)?;
        }
        if !rest.is_empty() {
            row(&format!("{} more", rest.len()), rest.iter().map(|(_, took)| **took).sum())?;
        }
        row("in all", self.0.values().sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_comes_first_and_nothing_is_lost() {
        let mut times = Times::default();
        for index in 0..20 {
            times.add(&format!("step {index}"), Duration::from_secs(index));
        }
        times.add("step 3", Duration::from_secs(100));
        let shown = times.to_string();
        assert!(shown.starts_with("  103.0 s  step 3\n   19.0 s  step 19\n"), "{shown}");
        assert!(shown.contains("   12.0 s  5 more\n") && shown.ends_with("  290.0 s  in all\n"), "{shown}");
    }
}
