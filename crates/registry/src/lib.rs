//! A release in an OCI registry.
//!
//! In: a [`Reference`], and [`Options`]. Out: one module's documents, layers and signatures as an
//! [`isomer_layout::Source`], or a module of a layout in the registry ([`push()`]). Never here: what a signature means, a
//! choice among variants, a byte that was not compared with the digest that named it.
//!
//! ```no_run
//! use isomer_layout::{Layout, Source};
//! use isomer_registry::{Options, PushOptions, Reference, Remote, push};
//!
//! let reference: Reference = "registry.example/acme/resize:1.4.0".parse()?;
//! let remote = Remote::connect(&reference, &Options::default())?;
//!
//! // From a release directory to the registry …
//! let layout = Layout::open("dist".as_ref())?;
//! let pushed = push(&layout, "resize:1.4.0", &remote, &PushOptions { move_version_tag: false, on_step: &|_| {} })?;
//!
//! // … and on a server, the index first, then what it names.
//! let index = remote.index()?;
//! # let _ = (pushed, index);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The data's path: a [`Reference`] (`reference`) and docker's credentials for its host (`credentials`) make connections
//! (`exchange`), over which challenges are answered (`token`) and failed requests repeated (`transport`, with the pauses
//! of `backoff`). A repository (`repository`) reads documents over them, layers (`download`) and signatures
//! (`referrers`); [`Remote`] (`remote`) is its blocking interface, and the only one. `push` puts a module there, a blob at
//! a time (`upload`).
//!
//! # Why not a client library
//! `oci-client` 0.18 and its like read documents without a bound, follow redirects from https to http, and do not expose
//! `Retry-After`, `Content-Range` and `OCI-Subject`. A server that installs native code needs all of that otherwise;
//! what is left of the protocol are five kinds of request.

#![warn(clippy::missing_errors_doc)]
#![cfg_attr(
    not(test),
    deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::print_stderr, clippy::print_stdout)
)]

mod options;
mod reference;

mod credentials;
mod exchange;
mod token;

mod backoff;
mod transport;

mod repository;

mod download;
mod referrers;
mod remote;

mod push;
mod upload;

mod error;

pub use error::{Problem, Refusal, RegistryError};
pub use options::{Options, Retry};
pub use push::{PushOptions, Pushed, Step, push};
pub use reference::{Reference, ReferenceError};
pub use remote::Remote;
