//! The WebAssembly specification's test suite, the public suites, and random modules, through the two binaries: `isomer
//! compile` makes artifacts of what a script holds, the tests' loader runs them, here or on a foreign CPU; WASI programs
//! are run by `isomer-run`.
//!
//! In: the suite as data of a crate; checkouts of the others; seeds. Out: counts and what differed. Never here: wasmtime.
//!
//! The data's path: `checkout` finds the suites in a directory; `suite` names the scripts and what each wants of a
//! profile; `artifacts` compiles; `execution` runs; `script` holds what came out against what a script says, by `value`,
//! `conform` does so with many and asks `skips` what is known. `wasi` does the same with programs; `public` with all
//! suites of a checkout.
//! `random` makes modules, `profiles` what to compile them for; `compare` finds what differs, and `shrink` makes a case
//! of it.

pub mod checkout;
pub mod public;

pub mod suite;

pub mod artifacts;
pub mod execution;

pub mod conform;
pub mod script;
pub mod skips;
mod value;

pub mod wasi;

pub mod compare;
pub mod profiles;
pub mod random;
pub mod shrink;
