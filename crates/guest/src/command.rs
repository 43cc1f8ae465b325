//! Runs one guest to its end. In: a [`Loaded`], and a [`Guest`]: its arguments, grants and limits. Out: [`Finished`]: how it
//! ended, and what it used. Never here: a process that is ended; a watchdog asks the program to.

mod component;
mod deadline;
mod error;
mod invoke;
mod module;
mod observe;
mod stdin;
mod streams;

pub use error::GuestError;
pub use invoke::Call;
pub use streams::{Stream, Streams};

use crate::grants::Grants;
use crate::host::{Host, Prepare, Prepared, Process};
use crate::limits::{LimitHit, LimitKind, Limits};
use crate::outgoing::OutgoingLimits;
use deadline::{Deadline, OnStuck, Watch};
use error::Ended;
use isomer_runtime::{Code, Loaded};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};
use streams::Written;
use wasmtime::component::ResourceTableError;
use wasmtime::{Store, Trap};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_http::WasiHttpHooks;

/// A guest that is to run.
#[non_exhaustive]
pub struct Guest {
    /// Its `argv`; the first is its name.
    pub arguments: Vec<String>,
    /// The directory that `wasi:cli/environment` names as the current one.
    pub current_dir: Option<String>,
    /// What it may use.
    pub grants: Grants,
    /// Its environment, which [`Grants::environment`] gives.
    pub environment: BTreeMap<String, String>,
    /// What it may use up.
    pub limits: Limits,
    /// Its standard streams.
    pub streams: Streams,
    /// The export to call instead of running it as a command.
    pub invoke: Option<Call>,
    /// Modules that its imports are looked up in, by name. They are loaded by the same loader.
    pub preloads: Vec<(String, Loaded)>,
    /// Called on another thread when its time is over and it can be interrupted by nothing but the end of the process.
    /// Without it, a deadline requires an artifact that was compiled with `epoch-interruption`.
    pub on_stuck: Option<OnStuck>,
    /// Whether its stack is sampled, for which the artifact must have been compiled with `epoch-interruption`.
    pub profile: bool,
    /// Whether a trap gives a core dump, for which the engine must have `Config::coredump_on_trap`.
    pub coredump: bool,
}

impl Guest {
    /// A guest with these arguments, of which the first is its name, and without any grant or limit.
    pub fn new(arguments: Vec<String>) -> Guest {
        Guest {
            arguments,
            current_dir: None,
            grants: Grants::default(),
            environment: BTreeMap::new(),
            limits: Limits::default(),
            streams: Streams::default(),
            invoke: None,
            preloads: Vec::new(),
            on_stuck: None,
            profile: false,
            coredump: false,
        }
    }
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Guest { arguments, grants, limits, invoke, .. } = self;
        let mut text = f.debug_struct("Guest");
        text.field("arguments", arguments).field("grants", grants).field("limits", limits).field("invoke", invoke);
        text.finish_non_exhaustive()
    }
}

/// How a guest ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// Its function returned these results, each as text; a command returns none.
    Returned(Vec<String>),
    /// It exited with this code.
    Exited(i32),
    /// It trapped; the error's chain holds the WebAssembly backtrace.
    Trapped(wasmtime::Error),
    /// It reached a limit and was ended; the error's chain holds the WebAssembly backtrace, where there is one.
    Limited {
        /// Which limit.
        hit: LimitHit,
        /// Where it was.
        trap: Option<wasmtime::Error>,
    },
}

/// What a guest used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Until it was instantiated.
    pub instantiate: Duration,
    /// From then on to its end.
    pub run: Duration,
    /// The bytes of its memories.
    pub memory_bytes: u64,
    /// Its fuel, if the artifact counts it.
    pub fuel: Option<u64>,
}

/// A guest that ran.
#[derive(Debug)]
#[non_exhaustive]
pub struct Finished {
    /// How it ended.
    pub outcome: Outcome,
    /// What it used.
    pub usage: Usage,
    /// A limit that it was refused something by, and went on.
    pub refused: Option<LimitHit>,
    /// Samples of its stack, as JSON that the Firefox profiler reads, if they were requested.
    pub profile: Option<Vec<u8>>,
    /// The core dump, if one was requested and the guest trapped; or why it could not be made.
    pub coredump: Option<Result<Vec<u8>, String>>,
}

/// Runs a guest to its end, on this thread.
///
/// # Errors
/// When it cannot be started, or a host function fails. A trap, an exit code or a limit is an [`Outcome`], not an error.
///
/// # Panics
/// Inside a tokio runtime, as it starts its own.
pub fn run(loaded: &Loaded, guest: Guest) -> Result<Finished, GuestError> {
    let limits = guest.limits.clone();
    limits.check_compiled(&loaded.requirements)?;
    if limits.timeout.is_some() && guest.on_stuck.is_none() && !Limits::is_interruptible(&loaded.requirements) {
        return Err(GuestError::LimitNotCompiled(crate::LimitNotCompiled { limit: LimitKind::Timeout }));
    }
    module::check_shared_memories(&loaded.code, &limits)?;
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(GuestError::EventLoop)?;
    let started = Instant::now();
    let prepared = prepare(&guest)?;
    let written = Written::new(limits.max_output);
    let mut store = store(&prepared, loaded, &guest, &written)?;
    let name = guest.arguments.first().map_or("guest", String::as_str);
    if guest.profile {
        observe::profile(&mut store, loaded, name, limits.timeout)?;
    }
    let watch =
        Watch { timeout: limits.timeout, tick: guest.profile.then_some(observe::INTERVAL), on_stuck: guest.on_stuck };
    let is_watched = watch.timeout.is_some() || watch.tick.is_some();
    let deadline = is_watched.then(|| Deadline::start(watch, &mut store)).transpose()?;
    let instantiated = Cell::new(None);
    let ended = executor.block_on(async {
        let run = async {
            let (call, instantiated) = (guest.invoke.as_ref(), &instantiated);
            match &loaded.code {
                Code::Module(module) => module::run(&mut store, module, call, &guest.preloads, instantiated).await,
                Code::Component(component) => component::run(&mut store, component, call, instantiated).await,
            }
        };
        match limits.timeout {
            // The clock began with `started`: what was spent since then is not given again.
            Some(timeout) => match tokio::time::timeout(timeout.saturating_sub(started.elapsed()), run).await {
                Ok(ended) => ended,
                Err(_) => Err(Ended::Raised(LimitHit::timeout(timeout).into())),
            },
            None => run.await,
        }
    });
    drop(deadline);
    let usage = usage(&store, &limits, started, instantiated.get());
    let refused = written.hit().or_else(|| store.data().limiter().hit());
    // A blocking operation that a deadline left behind must not keep this thread.
    executor.shutdown_background();
    let profile = observe::finish_profile(&mut store);
    let outcome = outcome(ended, &limits, refused)?;
    let coredump = match &outcome {
        Outcome::Trapped(error) | Outcome::Limited { trap: Some(error), .. } if guest.coredump => {
            observe::coredump(&mut store, error, name)
        }
        _ => None,
    };
    Ok(Finished { outcome, usage, refused, profile, coredump })
}

fn prepare(guest: &Guest) -> Result<Prepared, GuestError> {
    let Guest { grants, environment, limits, .. } = guest;
    // The guest is all that this thread does.
    let (environment, limits) = (environment.clone(), limits.clone());
    Ok(Prepare { grants, environment, limits, allow_blocking: true, route: None }.open()?)
}

fn store(prepared: &Prepared, loaded: &Loaded, guest: &Guest, written: &Written) -> Result<Store<Host>, GuestError> {
    let (arguments, current_dir) = (guest.arguments.clone(), guest.current_dir.clone());
    let mut process = Process { arguments, current_dir, ..Process::default() };
    guest.streams.open(&mut process, written)?;
    let outgoing: Box<dyn WasiHttpHooks> = match prepared.outgoing(OutgoingLimits::default()) {
        Some(outgoing) => Box::new(outgoing),
        None => Box::new(prepared.no_outgoing()),
    };
    let host = prepared.host(process, outgoing);
    prepared.store(&loaded.engine, host).map_err(|error| GuestError::Failed(error.into()))
}

fn usage(store: &Store<Host>, limits: &Limits, started: Instant, instantiated: Option<Instant>) -> Usage {
    let now = Instant::now();
    let instantiated = instantiated.unwrap_or(now);
    // It fails where code does not count fuel.
    let left = store.get_fuel().ok();
    Usage {
        instantiate: instantiated - started,
        run: now - instantiated,
        memory_bytes: store.data().limiter().memory_bytes(),
        fuel: left.map(|left| limits.fuel.unwrap_or(u64::MAX).saturating_sub(left)),
    }
}

/// Tells the guest's exits, traps and limits from failures of the host, as `wasmtime run` does.
fn outcome(
    ended: Result<Vec<String>, Ended>,
    limits: &Limits,
    refused: Option<LimitHit>,
) -> Result<Outcome, GuestError> {
    let error = match ended {
        Ok(results) => return Ok(Outcome::Returned(results)),
        Err(Ended::Refused(error)) => return Err(error),
        Err(Ended::NotInstantiated(error)) => match refused.or_else(|| instances_hit(&error, limits)) {
            Some(hit) => return Ok(Outcome::Limited { hit, trap: None }),
            None => return Err(GuestError::Instantiate(error.into())),
        },
        Err(Ended::Raised(error)) => error,
    };
    if let Some(I32Exit(code)) = error.downcast_ref() {
        return Ok(Outcome::Exited(*code));
    }
    if let Some(hit) = limit_hit(&error, limits) {
        return Ok(Outcome::Limited { hit, trap: Some(error) });
    }
    if error.is::<Trap>() {
        return Ok(Outcome::Trapped(error));
    }
    Err(GuestError::Failed(error.into()))
}

/// The limit that an error is about.
fn limit_hit(error: &wasmtime::Error, limits: &Limits) -> Option<LimitHit> {
    let of = |limit, allowed: Option<u64>| allowed.map(|allowed| LimitHit { limit, allowed, requested: None });
    if let Some(hit) = error.downcast_ref::<LimitHit>() {
        return Some(*hit);
    }
    if let Some(ResourceTableError::Full) = error.downcast_ref::<ResourceTableError>() {
        return of(LimitKind::Handles, limits.max_handles);
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => of(LimitKind::Fuel, limits.fuel),
        Some(Trap::Interrupt) => limits.timeout.map(LimitHit::timeout),
        Some(Trap::StackOverflow) => of(LimitKind::Stack, limits.max_stack),
        // Wasmtime has no type for these.
        _ if error.root_cause().to_string().contains("store handle limit exceeded") => {
            of(LimitKind::Handles, limits.max_handles)
        }
        _ => None,
    }
}

/// Wasmtime has no type for this either.
fn instances_hit(error: &wasmtime::Error, limits: &Limits) -> Option<LimitHit> {
    let allowed = limits.max_instances?;
    let message = error.root_cause().to_string();
    let requested = message.strip_prefix("resource limit exceeded: instance count too high at ")?;
    Some(LimitHit { limit: LimitKind::Instances, allowed, requested: requested.parse().ok() })
}
