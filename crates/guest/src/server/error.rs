//! Why a server does not start, or a version is not served.

use super::bounded::{GivenUp, NotDone};
use super::listener::Address;
use super::route::{Pattern, PatternError};
use super::tls::TlsError;
use crate::{LimitNotCompiled, LinkError, PrepareError};
use isomer_contract::Hinted;
use isomer_runtime::LoadError;
use std::io;

/// Why a server does not start, or a version is not served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// There is nothing to serve.
    #[error("no route: there is nothing to serve")]
    NoRoutes,
    /// There is no address to serve at.
    #[error("no address to listen on")]
    NoAddresses,
    /// A pattern is not valid.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// Two routes have one pattern.
    #[error("two routes answer `{0}`")]
    Duplicate(Pattern),
    /// A route's module cannot be served.
    #[error("cannot serve `{module}` at `{route}`")]
    Route {
        /// The module.
        module: String,
        /// The route.
        route: Pattern,
        /// Why.
        source: Box<ServeError>,
    },
    /// Its artifact cannot be opened.
    #[error("cannot open its artifact")]
    Source(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Its artifact does not load.
    #[error("its artifact does not load")]
    Load(#[from] LoadError),
    /// It is a core module.
    #[error("it is a core module; expected a component that answers HTTP requests")]
    CoreModule,
    /// It is a component of another world.
    #[error("it answers no HTTP requests: expected the export `wasi:http/incoming-handler@0.2` or `wasi:http/handler@0.3`{}", exported(.exports))]
    NotHttp {
        /// What it exports.
        exports: Vec<String>,
    },
    /// It imports what is not provided.
    #[error(transparent)]
    Imports(#[from] LinkError),
    /// What its route grants cannot be given.
    #[error("cannot open what its route grants")]
    Grants(#[from] PrepareError),
    /// A limit of its route cannot be kept.
    #[error(transparent)]
    Limit(#[from] LimitNotCompiled),
    /// Its route requires that it can be interrupted.
    #[error("its route requires a deadline, and the artifact's code cannot be interrupted")]
    NotInterruptible,
    /// The server's certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// It does not answer its health request with success.
    #[error("its health request `{path}` is not answered with success: {found}")]
    Unhealthy {
        /// The request's path.
        path: String,
        /// The status, or why there is none.
        found: String,
    },
    /// It imports what is not provided in that form.
    #[error("it cannot be linked")]
    Link(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It cannot be instantiated.
    #[error("it cannot be instantiated")]
    Instantiate(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Reading or loading it takes longer than this.
    #[error("it does not load within {} seconds", .0.time().as_secs())]
    LoadTime(GivenUp),
    /// Reading or loading it panicked, which is a bug.
    #[error("loading it panicked, which is a bug")]
    Panicked,
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: Address,
        /// Why.
        source: io::Error,
    },
    /// A socket of this process's parent cannot be listened on.
    #[error("a socket that this process was given cannot be listened on")]
    Inherit(#[source] io::Error),
    /// The system refuses threads or an event loop.
    #[error("the system refuses what a server needs")]
    System(#[source] io::Error),
}

impl From<NotDone> for ServeError {
    fn from(error: NotDone) -> ServeError {
        match error {
            NotDone::GivenUp(given_up) => ServeError::LoadTime(given_up),
            NotDone::Panicked => ServeError::Panicked,
            NotDone::NoThread(error) => ServeError::System(error),
        }
    }
}

fn exported(exports: &[String]) -> String {
    match exports {
        [] => "; it exports nothing".to_owned(),
        some => format!(", found {}", some.join(", ")),
    }
}

impl Hinted for ServeError {
    fn hint(&self) -> Option<String> {
        match self {
            ServeError::Route { source, .. } => source.hint(),
            ServeError::Load(error) => error.hint(),
            ServeError::Imports(LinkError::Missing(error)) => error.hint(),
            ServeError::Grants(PrepareError::Contradiction(error)) => error.hint(),
            ServeError::Grants(PrepareError::Directory { .. }) => {
                Some("grant a directory that exists and that this user may read".to_owned())
            }
            ServeError::Limit(error) => error.hint(),
            ServeError::NotInterruptible => {
                Some("compile it for a profile that has `epoch-interruption = true` in [wasm]".to_owned())
            }
            ServeError::NotHttp { exports } if exports.iter().any(|it| it.starts_with("wasi:cli/run@")) => {
                Some("it is a command: it is run, not served".to_owned())
            }
            ServeError::LoadTime(_) => Some(
                "its disk may be slow, or its code not return while it is instantiated: a profile with \
                 `epoch-interruption = true` compiles it so that it can be interrupted"
                    .to_owned(),
            ),
            ServeError::CoreModule => {
                Some("build it as a component, for the world `wasi:http/proxy` or `wasi:http/service`".to_owned())
            }
            ServeError::Duplicate(_) => Some("give each route a host or a path of its own".to_owned()),
            ServeError::Listen { source, .. } => match source.kind() {
                io::ErrorKind::AddrInUse => Some("another process listens there: end it, or choose another".to_owned()),
                io::ErrorKind::PermissionDenied => Some(
                    "a port below 1024 needs the capability CAP_NET_BIND_SERVICE; or choose a higher one".to_owned(),
                ),
                io::ErrorKind::AddrNotAvailable => Some("this machine does not have that address".to_owned()),
                _ => None,
            },
            _ => None,
        }
    }
}
