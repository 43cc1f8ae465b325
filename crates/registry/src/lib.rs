//! A release in an OCI registry.
//!
//! In: a [`Reference`], and [`Options`]. Out: one module's documents, layers and signatures as an
//! [`isomer_layout::Source`], or a module of a layout put there ([`push()`]). Never here: what a signature says, a choice
//! among variants, a byte that nobody compared with the digest it was asked for by.
//!
//! The data's path: a [`Reference`] (`reference`) and docker's credentials for its host (`credentials`) make a
//! connection (`transport`), which answers the registry's challenges (`token`) and tries again what may go better
//! (`backoff`). A [`Remote`] (`remote`) reads documents over it, layers (`download`) and signatures (`referrers`);
//! `push` puts them there, a blob at a time (`upload`).
//!
//! # Why not a client library
//! `oci-client` 0.18 and its like read documents without a bound, follow a redirect from https to http, and keep to
//! themselves what `Retry-After`, `Content-Range` and `OCI-Subject` say. A server that installs native code wants all
//! of that otherwise; what is left of the protocol are five kinds of request.

#![cfg_attr(
    not(test),
    deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::print_stderr, clippy::print_stdout)
)]

mod credentials;
mod options;
mod reference;

mod backoff;
mod token;
mod transport;

mod download;
mod referrers;
mod remote;

mod push;
mod upload;

mod error;

pub use error::{Problem, RegistryError};
pub use options::{Options, Retry};
pub use push::{Pushed, Step, push};
pub use reference::{Reference, ReferenceError};
pub use remote::Remote;
