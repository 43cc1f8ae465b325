//! Runs a loaded module or component as a command: WASI, `_start` or `wasi:cli/run`, or a call of one of its exports.
//!
//! ```no_run
//! use isomer_guest::{Guest, Outcome};
//! # fn loaded() -> isomer_runtime::Loaded { unimplemented!() }
//!
//! let loaded: isomer_runtime::Loaded = loaded();
//! let guest = Guest { arguments: vec!["sort".to_owned(), "-r".to_owned()], ..Guest::default() };
//! match isomer_guest::run(&loaded, &guest)? {
//!     Outcome::Returned(_) => println!("it ran to its end"),
//!     Outcome::Exited(code) => println!("it exited with {code}"),
//!     Outcome::Trapped(error) => println!("{error:?}"),
//! }
//! # Ok::<(), isomer_guest::GuestError>(())
//! ```
//!
//! In: a [`Loaded`] and what the guest is granted. Out: how it ended. Never here: anything of this machine that was not
//! granted.
//!
//! WASI previews 0 and 1 for core modules, preview 2 for components, as `wasmtime run` offers them: inherited standard
//! streams, and no environment, files or network but what is granted. A guest runs on the calling thread, and no other is
//! started for it.

#![cfg_attr(
    not(test),
    deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::print_stderr, clippy::print_stdout)
)]

mod component;
mod invoke;
mod module;
mod stdin;

pub use invoke::Call;

use isomer_contract::settings::Value;
use isomer_contract::{Hinted, Requirements, wasi};
use isomer_runtime::{Code, Loaded};
use rustix::io::Errno;
use std::path::PathBuf;
use stdin::Stdin;
use wasmtime::{Store, Trap};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtxBuilder};

/// What a guest is granted, and what it is to do.
#[derive(Clone, Debug, Default)]
pub struct Guest {
    /// Its `argv`; the first is its name.
    pub arguments: Vec<String>,
    /// Its environment.
    pub environment: Vec<(String, String)>,
    /// The directories that it may use.
    pub directories: Vec<Directory>,
    /// The export to call instead of running it as a command.
    pub invoke: Option<Call>,
}

/// A directory of this machine that a guest may read and write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Its path on this machine.
    pub host: PathBuf,
    /// Its name in the guest.
    pub guest: String,
}

/// How a guest ended.
#[derive(Debug)]
pub enum Outcome {
    /// Its function returned these results, each as text; a command returns none.
    Returned(Vec<String>),
    /// It exited with this code.
    Exited(i32),
    /// It trapped; the error's chain holds the WebAssembly backtrace.
    Trapped(wasmtime::Error),
}

/// Why a guest did not run, or not to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuestError {
    /// The operating system provides no event loop.
    #[error("cannot start the event loop that WASI needs")]
    EventLoop(#[source] std::io::Error),
    /// A directory cannot be opened.
    #[error("cannot open the directory `{}`", .directory.host.display())]
    Directory {
        /// Which.
        directory: Directory,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It imports what is not provided; every such import.
    #[error("it imports what is not provided: {}", .0.join(", "))]
    MissingImports(Vec<String>),
    /// It answers HTTP requests, and is no command.
    #[error("it serves HTTP and is not a command: it exports `{0}`")]
    ServesHttp(String),
    /// It is a command of a version of WASI that is not provided.
    #[error("it is a command of another version of WASI: it exports `{0}`, expected `wasi:cli/run@0.2`")]
    OtherCommand(String),
    /// It is a library; its functions.
    #[error("it is a library: it exports no {entry}{}", exported(.exports))]
    NotACommand {
        /// What a command would export.
        entry: &'static str,
        /// What this exports.
        exports: Vec<String>,
    },
    /// It exports no such function.
    #[error("it exports no function `{name}`{}", exported(.exports))]
    NoSuchExport {
        /// The name.
        name: String,
        /// What it exports.
        exports: Vec<String>,
    },
    /// The function takes other arguments.
    #[error("cannot call `{name}`: {reason}")]
    Arguments {
        /// The function.
        name: String,
        /// What is wrong with them.
        reason: String,
    },
    /// It cannot be instantiated here: it has not run.
    #[error("it cannot be instantiated")]
    Instantiate(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Wasmtime refuses, or a host function failed.
    #[error("it did not run to its end")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Follows "cannot reserve address space for its memories".
const ADDRESS_SPACE_HINT: &str = "raise the limit on address space (`ulimit -v`), or compile for a profile with a smaller \
     `memory-reservation`, `memory-reservation-for-growth` and `memory-guard-size`: with 0, a memory takes what it holds";

/// Whether the system gave no memory or address space.
fn is_out_of_memory(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| {
        let code = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
        error.downcast_ref::<Errno>() == Some(&Errno::NOMEM) || code == Some(Errno::NOMEM.raw_os_error())
    })
}

fn exported(exports: &[String]) -> String {
    match exports {
        [] => "; it exports no function".to_owned(),
        some => format!("; it exports {}", some.join(", ")),
    }
}

impl Hinted for GuestError {
    fn hint(&self) -> Option<String> {
        match self {
            GuestError::MissingImports(names) if names.iter().all(|name| name.starts_with("wasi:")) => {
                Some(format!("components are given {}", wasi::provided_to_components()))
            }
            GuestError::MissingImports(names) if names.iter().all(|name| name.starts_with("wasi")) => {
                Some(format!("core modules are given {}", wasi::CORE_MODULES.join(" and ")))
            }
            GuestError::MissingImports(_) => Some(
                "it is made for another host; embed it with `isomer_runtime::Loader` and a `Linker` of yours"
                    .to_owned(),
            ),
            GuestError::EventLoop(_) => {
                Some("allow epoll and eventfd (seccomp profile), or raise the limit on file descriptors".to_owned())
            }
            GuestError::ServesHttp(_) => Some("only commands run: load it in a host that serves HTTP".to_owned()),
            GuestError::OtherCommand(interface) if interface.contains('-') => {
                Some("it was built for a draft of WASI: build it again for WASI 0.2.0 or later".to_owned())
            }
            GuestError::OtherCommand(_) => Some("build it for WASI 0.2".to_owned()),
            GuestError::Instantiate(error) | GuestError::Failed(error) if is_out_of_memory(error.as_ref()) => {
                Some(ADDRESS_SPACE_HINT.to_owned())
            }
            GuestError::NotACommand { exports, .. } => {
                exports.first().map(|name| format!("call one of them, for example `{name}`"))
            }
            GuestError::NoSuchExport { name, exports } => {
                let nearest = isomer_contract::nearest(name, exports.iter().map(String::as_str));
                nearest.map(|nearest| format!("did you mean `{nearest}`?"))
            }
            _ => None,
        }
    }
}

/// Runs a guest to its end, on this thread.
///
/// # Errors
/// When it cannot be started, or a host function fails. A trap or an exit code is an [`Outcome`], not an error.
///
/// # Panics
/// Inside a tokio runtime, as it starts its own.
pub fn run(loaded: &Loaded, guest: &Guest) -> Result<Outcome, GuestError> {
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(GuestError::EventLoop)?;
    let mut store = store(loaded, guest)?;
    let ended = executor.block_on(async {
        match &loaded.code {
            Code::Module(module) => module::run(&mut store, module, guest.invoke.as_ref()).await,
            Code::Component(component) => component::run(&mut store, component, guest.invoke.as_ref()).await,
        }
    });
    match ended {
        Ok(results) => Ok(Outcome::Returned(results)),
        Err(Ended::Refused(error)) => Err(error),
        Err(Ended::Raised(error)) => raised(error),
    }
}

/// How a guest does not return.
enum Ended {
    /// It was never called.
    Refused(GuestError),
    /// It, or a host function that it called, raised an error.
    Raised(wasmtime::Error),
}

impl From<GuestError> for Ended {
    fn from(error: GuestError) -> Ended {
        Ended::Refused(error)
    }
}

/// Why an instance could not be made. What a start function raised is the guest's affair.
fn not_instantiated(error: wasmtime::Error) -> Ended {
    if error.is::<Trap>() || error.is::<I32Exit>() {
        return Ended::Raised(error);
    }
    Ended::Refused(GuestError::Instantiate(error.into()))
}

impl From<wasmtime::Error> for Ended {
    fn from(error: wasmtime::Error) -> Ended {
        Ended::Raised(error)
    }
}

/// Tells the guest's exits and traps from failures of the host, as `wasmtime run` does.
fn raised(error: wasmtime::Error) -> Result<Outcome, GuestError> {
    if let Some(I32Exit(code)) = error.downcast_ref() {
        return Ok(Outcome::Exited(*code));
    }
    if error.is::<Trap>() {
        return Ok(Outcome::Trapped(error));
    }
    Err(GuestError::Failed(error.into()))
}

fn store(loaded: &Loaded, guest: &Guest) -> Result<Store<WasiP1Ctx>, GuestError> {
    let mut wasi = WasiCtxBuilder::new();
    // The guest is all that this thread does.
    wasi.stdin(Stdin::default()).inherit_stdout().inherit_stderr().allow_blocking_current_thread(true);
    wasi.args(&guest.arguments).envs(&guest.environment);
    for directory in &guest.directories {
        wasi.preopened_dir(&directory.host, &directory.guest, FsPerms::ReadWrite)
            .map_err(|error| GuestError::Directory { directory: directory.clone(), source: error.into() })?;
    }
    let mut store = Store::new(&loaded.engine, wasi.build_p1());
    let on = |requirements: &Requirements, key: &str| requirements.tunables.get(key) == Some(&Value::Bool(true));
    if on(&loaded.requirements, "fuel") {
        // No limit was requested: code that counts fuel gets all there is.
        store.set_fuel(u64::MAX).map_err(|error| GuestError::Failed(error.into()))?;
    }
    if on(&loaded.requirements, "epoch-interruption") {
        // No deadline was requested. Wasmtime adds this to the current epoch unchecked: the sum must not wrap.
        store.set_epoch_deadline(u64::MAX / 2);
    }
    Ok(store)
}
