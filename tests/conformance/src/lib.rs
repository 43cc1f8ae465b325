//! The WebAssembly specification's test suite, and random modules, through the two binaries: `isomer compile` makes
//! artifacts of what a script holds, the tests' loader runs them, here or on a foreign CPU.
//!
//! In: the suite as data of a crate; seeds. Out: counts and what differed. Never here: wasmtime.
//!
//! The data's path: `suite` names the scripts and what each wants of a profile; `artifacts` compiles; `place` runs;
//! `script` holds what came out against what a script says, `conform` does so with many and asks `skips` what is known.
//! `random` makes modules, `profiles` what to compile them for; `compare` finds what differs, and `shrink` makes a case
//! of it.

pub mod suite;

pub mod artifacts;
pub mod place;

pub mod conform;
pub mod script;
pub mod skips;

pub mod compare;
pub mod profiles;
pub mod random;
pub mod shrink;
