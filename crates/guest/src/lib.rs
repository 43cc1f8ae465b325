//! Guests: loaded modules and components, with what they are granted and limited to.
//!
//! ```no_run
//! use isomer_guest::{Guest, Limits, Outcome};
//! # fn loaded() -> isomer_runtime::Loaded { unimplemented!() }
//!
//! let loaded: isomer_runtime::Loaded = loaded();
//! let mut guest = Guest::new(vec!["sort".to_owned(), "-r".to_owned()]);
//! guest.grants.directories.push("/var/lib/words::/words:ro".parse()?);
//! guest.limits.max_memory = Some(256 << 20);
//! match isomer_guest::run(&loaded, guest)?.outcome {
//!     Outcome::Returned(_) => println!("it ran to its end"),
//!     Outcome::Exited(code) => println!("it exited with {code}"),
//!     Outcome::Limited { hit, .. } => println!("{hit}"),
//!     Outcome::Trapped(error) => println!("{error:?}"),
//!     _ => {}
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! In: a [`Loaded`](isomer_runtime::Loaded), [`Grants`] and [`Limits`]. Out: how it ended. Never here: anything of this
//! machine that was not granted.
//!
//! [`run`] runs one guest to its end: a command or reactor of WASI 0.1 and 0, a command of 0.2 and 0.3, or a call of an
//! export. It does so on the calling thread, and starts no other unless a deadline is to be watched. What a store holds for
//! a guest of any world is a [`Host`], which programs with a store of their own make from [`Prepared`].

#![cfg_attr(
    not(test),
    deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::print_stderr, clippy::print_stdout)
)]

mod grants;

mod limits;

mod host;

mod command;

mod outgoing;

pub mod server;

pub use command::{Call, Finished, Guest, GuestError, Outcome, Stream, Streams, Usage, run};
pub use grants::{
    Access, Directory, EnvironmentError, FrozenClock, GrantError, Grants, HostPattern, HttpRule, HttpScheme,
    KeyValuePairs, NetworkRule, NetworkUse, Pattern, Ports, Protocol, Variable, is_public,
};
pub use host::{
    Host, LinkError, MissingImports, Network, NoOutgoing, Prepare, PrepareError, Prepared, Process, component_linker,
    module_linker,
};
pub use limits::{LimitHit, LimitKind, LimitNotCompiled, Limiter, Limits, parse_count, parse_duration, parse_size};
pub use outgoing::{Outgoing, OutgoingLimits, Roots, RootsError};
