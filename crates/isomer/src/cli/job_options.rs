//! The options that `compile` and `release` share: how many jobs run at once, what each may use, what happens when one
//! fails, and where finished work is kept. Out: a session, ready to work.

use super::cache::CacheDir;
use super::remote::RemoteOptions;
use super::session::{Session, Signals};
use super::state;
use super::values::{duration, size};
use crate::timings::Timings;
use crate::warning::warn;
use isomer_compile::cache::{Cache, Functions};
use isomer_compile::executor::{Limits, WorkerProgram};
use isomer_compile::records::Records;
use isomer_compile::schedule;
use isomer_contract::Size;
use isomer_layout::check_writable;
use isomer_terminal::Failure;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How jobs run.
#[derive(clap::Args)]
#[command(next_help_heading = "Jobs")]
pub(super) struct JobOptions {
    /// How many jobs run at once, up to 1024 [default: one for each core]
    // Each takes a process and its stack: many more jobs than cores only cost memory.
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// The memory that one job may use, for example 4GiB [default: unlimited]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    job_memory: Option<Size>,
    /// The time that one job may take: 90s, 5m, 1h
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1h")]
    job_timeout: Duration,
    /// Go on with the other jobs when one has failed (the default)
    #[arg(long, overrides_with = "fail_fast")]
    keep_going: bool,
    /// Start no more jobs when one has failed
    #[arg(long, overrides_with = "keep_going")]
    fail_fast: bool,
    /// Write an HTML page that shows which job ran when
    #[arg(long, value_name = "FILE")]
    timings: Option<PathBuf>,
    #[command(flatten)]
    cache: CacheOptions,
    /// Cache single functions too, and compile only the edited functions of an edited module: the same bytes, with a cache
    /// three times as large
    #[arg(long, conflicts_with_all = ["no_cache", "remote_exec"])]
    incremental: bool,
    #[command(flatten)]
    remote: RemoteOptions,
}

/// The cache of finished work.
#[derive(clap::Args)]
pub(super) struct CacheOptions {
    #[command(flatten)]
    dir: CacheDir,
    /// Neither use nor fill the cache
    #[arg(long, conflicts_with = "cache")]
    no_cache: bool,
}

impl CacheOptions {
    /// The cache, if it is wanted and can be used; a warning, if it cannot. What it holds is sealed with the key of
    /// `records`.
    pub(super) fn open(&self, records: Option<&Records>) -> Option<Cache> {
        if self.no_cache { None } else { self.dir.open_or_warn(records?) }
    }
}

impl JobOptions {
    /// Sets this process up to have jobs run. For what is to be signed, artifacts of remotes are compared, but for those
    /// of the remotes that `signing` names.
    pub(super) fn prepare(&self, signing: Option<&[String]>) -> Result<Session, Failure> {
        let program = WorkerProgram::current("isomer", vec!["worker".into()]);
        let parallelism =
            self.jobs.map(usize::from).and_then(NonZeroUsize::new).unwrap_or_else(schedule::default_parallelism);
        schedule::prepare(parallelism).map_err(|error| {
            let failure = Failure::because(format!("cannot start {parallelism} threads"), &error);
            failure.hint("check the system's limits on threads and memory, or use fewer --jobs".to_owned())
        })?;
        let signals = Signals::catch()?;
        let limits = Limits { memory: self.job_memory, time: self.job_timeout };
        if let Some(path) = &self.timings {
            check_writable([path.as_path()])?;
        }
        let records = state::open_or_warn();
        let cache = self.cache.open(records.as_ref());
        let distrust = self.remote.distrust(signing);
        let functions = cache
            .as_ref()
            .filter(|_| self.incremental)
            .map(|cache| Arc::new(Functions::of(cache, |what, consequence| warn(&what, consequence))));
        let executor = self.remote.connect(&program, limits, &signals.stop, functions.as_ref(), &distrust)?;
        let timings = self.timings.as_ref().map(|path| (path.clone(), Timings::begin(parallelism.get())));
        // clap keeps the later of the two.
        let fail_fast = self.fail_fast && !self.keep_going;
        Ok(Session {
            program,
            executor,
            limits,
            parallelism,
            fail_fast,
            signals,
            records,
            cache,
            distrust,
            functions,
            timings,
        })
    }
}
