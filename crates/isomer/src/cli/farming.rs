//! The options that `compile` and `release` share: how many jobs run at once, what each may take, what happens when one
//! fails or somebody asks to stop, and where finished work is kept.

use super::cache::CacheDir;
use super::remote::RemoteOptions;
use crate::timings::{Timings, Totals};
use anstyle::{AnsiColor, Effects, Style};
use isomer_compile::cache::{Cache, CacheError, Functions, SIZE_MAX_DEFAULT};
use isomer_compile::farm::{Executor, Farm, Limits, Pool};
use isomer_compile::schedule;
use isomer_contract::Size;
use isomer_layout::{check_writable, write_atomically};
use isomer_terminal::Failure;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

/// How jobs are done.
#[derive(clap::Args)]
#[command(next_help_heading = "Jobs")]
pub(super) struct Farming {
    /// How many jobs run at once, up to 1024 [default: one a core]
    // Each takes a process and its stack: a number far beyond the cores would only keep the system busy.
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// The memory that one job may take, 4GiB for example [default: what the system has]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    job_memory: Option<Size>,
    /// The time that one job may take: 90s, 5m, 1h
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1h")]
    job_timeout: Duration,
    /// Go on with the other jobs when one has failed, as is the default
    #[arg(long, overrides_with = "fail_fast")]
    keep_going: bool,
    /// Begin no more jobs when one has failed
    #[arg(long, overrides_with = "keep_going")]
    fail_fast: bool,
    /// Write a page that shows which job ran when, for a browser
    #[arg(long, value_name = "FILE")]
    timings: Option<PathBuf>,
    #[command(flatten)]
    cache: CacheOptions,
    /// Keep what is compiled in the cache by function too, and compile of an edited module only what was edited: the
    /// same bytes, for three times the cache
    #[arg(long, conflicts_with_all = ["no_cache", "remote_exec"])]
    incremental: bool,
    #[command(flatten)]
    remote: RemoteOptions,
}

/// Where finished work is kept.
#[derive(clap::Args)]
pub(super) struct CacheOptions {
    #[command(flatten)]
    dir: CacheDir,
    /// Neither use nor fill the cache
    #[arg(long, conflicts_with = "cache")]
    no_cache: bool,
}

impl CacheOptions {
    /// The cache, if it is to be used and can be. That it can't be stops nobody.
    pub(super) fn open(&self) -> Option<Cache> {
        if self.no_cache { None } else { self.dir.open_or_warn() }
    }
}

/// The signal for which work was given up, or 0.
static INTERRUPTED: AtomicU8 = AtomicU8::new(0);

/// The signal for which work was given up, if it was.
pub(crate) fn interruption() -> Option<u8> {
    Some(INTERRUPTED.load(Ordering::Relaxed)).filter(|signal| *signal != 0)
}

/// A farm that is set up.
pub(super) struct Prepared {
    executor: Box<dyn Executor>,
    limits: Limits,
    parallelism: NonZeroUsize,
    fail_fast: bool,
    stop: Arc<AtomicBool>,
    /// The signal that asked to stop.
    signal: Arc<AtomicUsize>,
    cache: Option<Cache>,
    functions: Option<Arc<Functions>>,
    timings: Option<(PathBuf, Timings)>,
}

impl Farming {
    /// Sets this process up to have jobs done.
    pub(super) fn prepare(&self) -> Result<Prepared, Failure> {
        let parallelism =
            self.jobs.map(usize::from).and_then(NonZeroUsize::new).unwrap_or_else(schedule::default_parallelism);
        schedule::prepare(parallelism).map_err(|error| {
            let failure = Failure::because(format!("cannot start {parallelism} threads"), &error);
            failure.hint("the system's limits on threads or memory are in the way: fewer --jobs need less".to_owned())
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let number = usize::try_from(signal).expect("signals are positive");
            // The first asks to stop; the second, for whoever has no patience, ends the process as it stands.
            flag::register_conditional_shutdown(signal, 128 + signal, stop.clone())
                .and_then(|_| flag::register_usize(signal, asked.clone(), number))
                .and_then(|_| flag::register(signal, stop.clone()))
                .map_err(|error| Failure::because("cannot prepare for interruptions", &error))?;
        }
        let limits = Limits { memory: self.job_memory, time: self.job_timeout };
        if let Some(path) = &self.timings {
            check_writable([path.as_path()])?;
        }
        let cache = self.cache.open();
        let functions = cache
            .as_ref()
            .filter(|_| self.incremental)
            .map(|cache| Arc::new(Functions::of(cache, |what, consequence| warn(&what, consequence))));
        let executor = self.remote.connect(limits, &stop, functions.as_ref())?;
        let timings = self.timings.as_ref().map(|path| (path.clone(), Timings::begin(parallelism.get())));
        // clap has let the later of the two win.
        let fail_fast = self.fail_fast && !self.keep_going;
        Ok(Prepared { executor, limits, parallelism, fail_fast, stop, signal: asked, cache, functions, timings })
    }
}

impl Prepared {
    pub(super) fn farm(&self) -> Farm<'_> {
        Farm { executor: &*self.executor, parallelism: self.parallelism, fail_fast: self.fail_fast }
    }

    /// A farm with workers of its own, and with another number of them, for work that must come out the same.
    pub(super) fn other_pool(&self) -> (Pool, NonZeroUsize) {
        let parallelism = NonZeroUsize::new(if self.parallelism.get() == 1 { 2 } else { 1 });
        (Pool::new(self.limits, self.stop.clone()), parallelism.expect("one or two"))
    }

    pub(super) fn timings(&self) -> Option<&Timings> {
        self.timings.as_ref().map(|(_, timings)| timings)
    }

    /// Writes the page of timings, if one is wanted. What was made is there by then, and is to be told first.
    pub(super) fn write_timings(&self, title: &str, totals: Totals) -> Result<(), Failure> {
        let Some((path, timings)) = &self.timings else { return Ok(()) };
        let written = write_atomically(path, |file| file.write_all(timings.page(title, totals).as_bytes()));
        written.map_err(|error| {
            let failure = Failure::because("the page of timings is not written; all else is done", &error);
            failure.hint("name another file with --timings".to_owned())
        })
    }

    pub(super) fn cache(&self) -> Option<&Cache> {
        self.cache.as_ref()
    }

    /// Ends the work: the cache is brought below its limit.
    ///
    /// # Errors
    /// When somebody asked to stop.
    pub(super) fn finish(&self) -> Result<(), Failure> {
        if let Some(Err(error)) = self.cache.as_ref().map(|cache| cache.collect_if_grown(SIZE_MAX_DEFAULT)) {
            warn_of_cache(&error);
        }
        if let Some((asked @ 1.., found)) = self.functions.as_ref().map(|functions| functions.counts()) {
            anstream::eprintln!("{found} of {asked} functions were compiled before");
        }
        if !self.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        INTERRUPTED.store(u8::try_from(self.signal.load(Ordering::Relaxed)).unwrap_or_default(), Ordering::Relaxed);
        let failure = Failure::new("interrupted; nothing half-written is left");
        let kept = self.cache.as_ref().map(|_| "what was finished is in the cache: call it again to go on".to_owned());
        Err(failure.hint(kept))
    }
}

const WARNING: Style = AnsiColor::Yellow.on_default().effects(Effects::BOLD);

/// Says what is wrong and what is done about it.
pub(super) fn warn(what: &dyn std::fmt::Display, consequence: &str) {
    anstream::eprintln!("{WARNING}warning:{WARNING:#} {what}");
    anstream::eprintln!("  {consequence}");
}

pub(super) fn warn_of_cache(error: &CacheError) {
    let consequence = match error {
        CacheError::Damaged { .. } => "it is made again",
        CacheError::Io { .. } | CacheError::Foreign { .. } | CacheError::NotACache { .. } => {
            "the cache keeps nothing more this time"
        }
    };
    warn(error, consequence);
}

pub(super) fn size(text: &str) -> Result<Size, String> {
    match Size::parse(text) {
        Ok(Size(0)) => Err("it is 0; expected a size such as `4GiB`".to_owned()),
        Ok(size) => Ok(size),
        Err(found) => Err(format!("it is {found}; expected a size such as `512MiB` or `4GiB`")),
    }
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let milliseconds = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, milliseconds)| *milliseconds);
    match (number.parse::<u64>(), milliseconds) {
        (Ok(number @ 1..=1_000_000), Some(milliseconds)) => Ok(Duration::from_millis(number * milliseconds)),
        _ => Err("expected a duration such as `500ms`, `90s`, `5m` or `1h`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        for (text, milliseconds) in [("1ms", 1), ("90s", 90_000), ("5m", 300_000), ("1h", 3_600_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "5", "m", "0s", "-1s", "1.5s", "1d", "99999999999999999999s", "5 m"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
