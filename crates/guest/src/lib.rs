//! Guests: loaded modules and components, with what they are granted and limited to.
//!
//! ```
//! use isomer_guest::{Call, Guest, Outcome};
//! use isomer_runtime::{Expected, Loader, SealedBytes, verify};
//!
//! # if cfg!(target_endian = "big") {
//! #     return Ok::<(), Box<dyn std::error::Error>>(());
//! # }
//! # let artifact = zstd::decode_all(std::fs::File::open("../run/tests/artifacts/pulley64.cwasm.zst")?)?;
//! // `artifact` is a reactor with an export `add`, which adds its arguments to 100.
//! let sealed = SealedBytes::copy(&artifact[..], 1 << 20)?;
//! let loaded = Loader::new().load(verify(sealed, Expected::AnyArtifact)?)?;
//!
//! let mut guest = Guest::new(vec!["sum".to_owned()]);
//! guest.grants.directories.push(".::/words:ro".parse()?);
//! guest.limits.max_memory = Some(256 << 20);
//! // Without it, a guest runs as a command.
//! guest.invoke = Some(Call::new("add(1, 2)".to_owned(), Vec::new()));
//! match isomer_guest::run(&loaded, guest)?.outcome {
//!     Outcome::Returned(results) => assert_eq!(results, ["103"]),
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

mod denials;
mod warnings;

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
