//! What the compile side promises and the run side checks.
//!
//! In: the text of profiles and host files, the bytes of artifacts, indexes. Out: effective settings, requirements,
//! mismatches, a choice, and the one [`wasmtime::Config`] that both sides use. Never here: file or network access, a
//! CPU probe, a compiler.
//!
//! The data's path: a [`Profile`] (`profile`, from [`isa`] and [`settings`]) promises [`Requirements`]; an artifact
//! states its own (`artifact`); [`check`] holds them against a [`Host`]; [`select`] does so for every variant of an
//! index (`manifest`); [`engine_config`] makes the engine that loads the chosen one.

#![cfg_attr(
    not(test),
    deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::print_stderr, clippy::print_stdout)
)]

pub mod isa;

mod hint;
mod text;

pub mod limits;
pub mod name;

mod size;
mod version;

pub mod proposals;
pub mod settings;

pub mod profile;

mod digest;
mod requirements;

pub mod artifact;
mod engine;

pub mod wasi;

mod check;
mod host;

pub mod manifest;
mod select;

pub use check::{Mismatch, check};
pub use digest::{Digest, DigestError, canonical_json};
pub use engine::{EngineConfigError, engine_config};
pub use hint::Hinted;
pub use host::{Host, HostError};
pub use isa::Arch;
pub use profile::{Origin, Profile, ProfileError};
pub use requirements::{Kind, Needs, Requirements};
pub use select::{Rejected, Selection, Variant, select};
pub use size::Size;
pub use text::{line_at, nearest, shorten};
pub use version::{ENGINE_VERSION, engine_major, major};
