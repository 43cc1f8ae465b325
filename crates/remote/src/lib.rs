//! A client of the Remote Execution API, version 2: of the caches and build farms that speak it (bazel-remote,
//! NativeLink, Buildbarn, BuildBuddy, EngFlow, BuildGrid, buildbox, justbuild).
//!
//! In: [`Options`], [`Action`]s of a command line and input blobs. Out: an [`Outcome`], every byte of which was hashed,
//! or a [`RemoteError`] that says what was found where, with a hint. Never here: what the command and the blobs mean.
//!
//! The data's path: `options` → `address` and `channel` (an HTTP/2 connection with TLS and headers) →
//! `capabilities` (what the remote can do for us) → `digest` and `action` (a command becomes a Merkle tree of blobs) →
//! `cas` and `stream` (blobs go up and down) → `results` (the action cache) or `execute` and `operation` (a worker). What
//! fails on the way passes `retry`, and ends in `error`.
//!
//! ```no_run
//! use isomer_remote::{ActionBuilder, Blob, Cancel, Input, Options, Remote};
//!
//! let remote = Remote::connect(&Options::new("grpcs://farm.example:443"), &Cancel::new())?;
//! let mut action = ActionBuilder { timeout: std::time::Duration::from_secs(60), ..ActionBuilder::default() };
//! action.arguments = vec!["./tool".into(), "in".into(), "out".into()];
//! action.inputs.insert("tool".into(), Input { blob: Blob::new(std::fs::read("tool")?), executable: true });
//! action.inputs.insert("in".into(), Input { blob: Blob::new(&b"data"[..]), executable: false });
//! action.outputs.insert("out".into());
//! let outcome = remote.execute(&action.build()?, |stage| eprintln!("{stage:?}"))?;
//! std::fs::write("out", &outcome.outputs["out"].bytes)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![warn(clippy::missing_errors_doc)]
#![cfg_attr(
    not(test),
    deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::print_stderr, clippy::print_stdout)
)]

mod options;

mod address;
mod channel;

mod capabilities;

mod action;
mod digest;

mod cas;
mod stream;

mod results;

mod execute;
mod operation;
mod stage;
mod workers;

mod cancel;
mod error;
mod remote;
mod retry;

pub use action::{Action, ActionBuilder, ActionError, Input};
pub use cancel::Cancel;
pub use digest::{Blob, BlobDigest};
pub use error::{Deadline, RemoteError};
pub use options::{ClientCertificate, Deadlines, Header, Options, Retry, Tls, Tool};
pub use remote::Remote;
pub use results::{Outcome, Output};
pub use stage::Stage;
