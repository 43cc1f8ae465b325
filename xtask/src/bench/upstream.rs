//! The same work done by upstream's `wasmtime compile`: one call for each module and target, two at a time.

use super::Bench;
use super::watch::watch;
use anyhow::{Context, Result};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What all calls took.
pub(super) struct Took {
    /// From the first one's start to the last one's end.
    pub(super) wall: Duration,
    /// The most memory that one held.
    pub(super) peak_bytes: u64,
    /// How many calls failed. What they took counts.
    pub(super) failed: usize,
}

impl Bench {
    /// Compiles each module with the flags beside it.
    pub(super) fn upstream(&self, calls: &[(&Path, &[String])]) -> Result<Took> {
        let next = AtomicUsize::new(0);
        let failed = AtomicUsize::new(0);
        let caller = |index: usize| -> Result<u64> {
            let output = self.directory.join(format!("upstream-{index}.cwasm"));
            let mut peak_bytes = 0;
            while let Some((input, flags)) = calls.get(next.fetch_add(1, Ordering::Relaxed)) {
                let mut command = Command::new(&self.upstream);
                command.arg("compile").args(*flags).arg(input).arg("-o").arg(&output).stderr(Stdio::null());
                let took = watch(&mut command)?;
                peak_bytes = peak_bytes.max(took.peak_bytes);
                // It aborts where it would need vectors for copies that a CPU without them has to do.
                failed.fetch_add(usize::from(!took.status.success()), Ordering::Relaxed);
            }
            Ok(peak_bytes)
        };
        let begun = Instant::now();
        let peaks = thread::scope(|scope| {
            let callers = [0, 1].map(|index| scope.spawn(move || caller(index)));
            callers.map(|caller| caller.join().expect("no caller panics"))
        });
        let wall = begun.elapsed();
        let peaks: Vec<_> = peaks.into_iter().collect::<Result<_>>()?;
        Ok(Took { wall, peak_bytes: peaks.into_iter().max().unwrap_or_default(), failed: failed.into_inner() })
    }

    /// The triple and the extensions of a target, for upstream's command line.
    pub(super) fn flags(&self, target: &str) -> Result<Vec<String>> {
        let shown = isomer_testing::shell::read(self.isomer().args(["targets", "show", target, "--json"]))?;
        let shown: serde_json::Value = serde_json::from_str(&shown)?;
        let mut flags = vec!["--target".to_owned(), shown["triple"].as_str().context("a triple")?.to_owned()];
        for row in shown["isa"].as_array().context("extensions")? {
            flags.extend(["-C".to_owned(), format!("cranelift-{}", row["flag"].as_str().context("a flag")?)]);
        }
        Ok(flags)
    }
}
