//! Why a guest did not run, or not to its end, with what can be done about it.

use super::streams::StreamError;
use crate::host::{LinkError, PrepareError};
use crate::limits::LimitNotCompiled;
use isomer_contract::Hinted;
use isomer_file::system::{is_out_of_descriptors, is_out_of_memory};
use wasmtime::Trap;
use wasmtime_wasi::I32Exit;

/// Why a guest did not run, or not to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuestError {
    /// The operating system provides no event loop.
    #[error("cannot start the event loop that WASI needs")]
    EventLoop(#[source] std::io::Error),
    /// The operating system provides no thread that watches the deadline.
    #[error("cannot start the thread that watches its deadline")]
    Watchdog(#[source] std::io::Error),
    /// What is granted is not to be had.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// A file for a standard stream cannot be opened.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// What it imports cannot be linked.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A limit that the artifact was not compiled for.
    #[error(transparent)]
    LimitNotCompiled(#[from] LimitNotCompiled),
    /// The guest profiler samples where code looks at the epoch.
    #[error("the artifact was compiled without `epoch-interruption`, at which the guest profiler takes its samples")]
    ProfileNotCompiled,
    /// Its memories cannot be limited: they are shared.
    #[error("its memory is shared, and may grow to {maximum_bytes} bytes; a limit cannot be enforced on it")]
    SharedMemory {
        /// What its memories may grow to.
        maximum_bytes: u64,
    },
    /// It answers HTTP requests, and is no command.
    #[error("it serves HTTP and is not a command: it exports `{0}`")]
    ServesHttp(String),
    /// It is a command of a version of WASI that is not provided.
    #[error("it is a command of another version of WASI: it exports `{0}`, expected `wasi:cli/run` of 0.2 or of 0.3")]
    OtherCommand(String),
    /// It is of WASI 0.3, and was compiled without what that needs.
    #[error("it is asynchronous, and was compiled with `concurrency-support = false`")]
    NoConcurrency,
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
    /// A module that was to be linked with it cannot be.
    #[error("`{name}` cannot be linked with it: {reason}")]
    Preload {
        /// The name under which it would be imported.
        name: String,
        /// Why.
        reason: String,
    },
    /// It can't be instantiated here: it has not run.
    #[error("it cannot be instantiated")]
    Instantiate(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Wasmtime refuses, or a host function failed.
    #[error("it did not run to its end")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Follows "cannot reserve address space for its memories".
const ADDRESS_SPACE_HINT: &str = "raise the limit on address space (`ulimit -v`), or compile for a profile with a smaller \
     `memory-reservation`, `memory-reservation-for-growth` and `memory-guard-size`: with 0, a memory takes what it holds";

fn exported(exports: &[String]) -> String {
    match exports {
        [] => "; it exports no function".to_owned(),
        some => format!("; it exports {}", some.join(", ")),
    }
}

impl Hinted for GuestError {
    fn hint(&self) -> Option<String> {
        match self {
            GuestError::Link(LinkError::Missing(missing)) => missing.hint(),
            GuestError::Prepare(PrepareError::Contradiction(error)) => error.hint(),
            GuestError::LimitNotCompiled(error) => error.hint(),
            // A program says better how that limit is raised.
            GuestError::EventLoop(error) if is_out_of_descriptors(error) => None,
            GuestError::EventLoop(_) => Some("allow epoll and eventfd (seccomp profile)".to_owned()),
            GuestError::Watchdog(_) => Some("raise the limit on processes and threads (`ulimit -u`)".to_owned()),
            GuestError::SharedMemory { maximum_bytes } => {
                Some(format!("allow at least {maximum_bytes} bytes, or build it with a smaller maximum"))
            }
            GuestError::ServesHttp(_) => Some("only commands run: load it in a host that serves HTTP".to_owned()),
            GuestError::OtherCommand(interface) if interface.contains('-') => {
                Some("it was built for a draft of WASI: build it again for a released version".to_owned())
            }
            GuestError::OtherCommand(_) => Some("build it for WASI 0.2 or 0.3".to_owned()),
            GuestError::NoConcurrency => Some("compile it for a profile with `concurrency-support = true`".to_owned()),
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

/// How a guest does not return.
pub(super) enum Ended {
    /// It was never called.
    Refused(GuestError),
    /// It was never called, since wasmtime made no instance of it.
    NotInstantiated(wasmtime::Error),
    /// It, or a host function that it called, raised an error.
    Raised(wasmtime::Error),
}

impl From<GuestError> for Ended {
    fn from(error: GuestError) -> Ended {
        Ended::Refused(error)
    }
}

impl From<LinkError> for Ended {
    fn from(error: LinkError) -> Ended {
        Ended::Refused(error.into())
    }
}

impl From<wasmtime::Error> for Ended {
    fn from(error: wasmtime::Error) -> Ended {
        Ended::Raised(error)
    }
}

/// Why an instance could not be made. An error of a start function is the guest's.
pub(super) fn not_instantiated(error: wasmtime::Error) -> Ended {
    if error.is::<Trap>() || error.is::<I32Exit>() { Ended::Raised(error) } else { Ended::NotInstantiated(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn memory_that_the_system_refuses_is_found_behind_any_number_of_errors() {
        let hint = |errno: Errno| {
            let wrapped = std::io::Error::other(std::io::Error::from(errno));
            GuestError::Instantiate(wasmtime::Error::from(wrapped).context("no memory").into()).hint()
        };
        assert_eq!(hint(Errno::NOMEM).as_deref(), Some(ADDRESS_SPACE_HINT));
        assert_eq!(hint(Errno::PERM), None);
    }
}
