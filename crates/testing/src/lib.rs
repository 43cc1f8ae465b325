//! What the tests of several crates share, and the tools of this repository: real servers, proxies that break what passes
//! through them, a fuzzer, the table of guests, calls of other programs. In: what a test wants of this machine. Out: a
//! server of its own, or a line that says why the test is skipped. Never here: one of isomer's crates; a normal dependency
//! of any of them.

pub mod failing;
pub mod fuzz;
pub mod guests;
#[cfg(feature = "operators")]
pub mod operators;
pub mod pathological;
pub mod protocol;
pub mod python;
pub mod shell;

pub mod casd;
pub mod registry;

#[cfg(feature = "grpc")]
pub mod certificates;
#[cfg(feature = "grpc")]
pub mod grpc_proxy;
pub mod http_client;
pub mod http_proxy;
pub mod tcp_proxy;

mod skip;
mod wait;

pub use skip::{has_program, skip};
pub use wait::wait_until;

use std::path::Path;

/// The root of the checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("crates/testing lies in the workspace")
}
