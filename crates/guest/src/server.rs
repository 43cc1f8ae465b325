//! Serves HTTP with components of WASI 0.2 (`wasi:http/proxy`) and 0.3 (`wasi:http/service`).
//!
//! In: [`Settings`]: addresses, routes, limits. Out: a [`Server`], which answers until it is told to end. Never here: a
//! signal, a command line; a request that a guest can hold beyond its limits.
//!
//! A request goes: `listener` → `http` → `service`: `route`, `admission`, the live `version`, an `instance` of it. `clock` is
//! a thread of its own that ends what takes too long; `watchdog` reports what cannot be ended.

mod alarm;
mod time;

mod file;
mod limits;
mod listener;
mod route;
mod settings;
mod tls;

mod error;

mod exchange;
mod instance;

mod clock;
mod metrics;
mod process;
mod status;
mod watchdog;

mod bounded;
mod engines;
mod guest_log;
mod handler;
mod health;
mod modules;
mod pool;
mod version;

mod access;
mod admission;
mod body;
mod connections;
mod date;
mod gather;
mod head;
mod respond;
mod target;

mod service;

mod http;

mod notices;
mod passing;
mod switch;

mod drain;
mod hand_over;

mod accept;
mod control;
mod run;

pub use bounded::GivenUp;
pub use control::Control;
pub use error::ServeError;
pub use file::{FileError, FileModule, FileRoute, ServeFile};
pub use limits::{RouteLimits, ServerLimits, instance_limits};
pub use listener::{Address, AddressError};
pub use modules::Explanation;
pub use route::{Pattern, PatternError, is_request_path};
pub use run::Server;
pub use settings::{Identity, LiveMark, Opened, RouteSettings, Settings, Source, StepDown};
pub use tls::{TlsError, TlsFiles};
