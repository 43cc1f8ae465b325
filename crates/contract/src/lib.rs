//! What the compile side promises and the run side checks.
//!
//! ```
//! use isomer_contract::{Host, Kind, Profile, Requirements, check, engine_config};
//!
//! // What an artifact for this profile will require of a server.
//! let profile = Profile::shipped("x86-64-v3").expect("a shipped profile");
//! let requirements = Requirements::of_profile(&profile, Kind::Module);
//!
//! // A recorded server that lacks the extensions, and why an artifact must not be loaded there.
//! let host = Host::from_json(r#"{"arch": "x86_64", "os": "linux", "isa": ["fxsr", "sse", "sse2", "sse3"]}"#)?;
//! let mismatches = check(&requirements, &host);
//! assert!(mismatches[0].to_string().starts_with("needs the extension `avx`"));
//!
//! // The configuration of the engine that loads it where nothing mismatches.
//! let config: wasmtime::Config = engine_config(&requirements)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! In: the text of profiles and host files, the bytes of artifacts, indexes. Out: effective settings, requirements,
//! mismatches, a choice, and the one [`wasmtime::Config`] that both sides use. Never here: file or network access, a
//! CPU probe, a compiler.
//!
//! The data's path: a [`Profile`] (`profile`, from [`isa`] and [`settings`]) promises [`Requirements`]; an artifact
//! declares its own (`artifact`); [`check`] compares them with a [`Host`]; [`select`] does so for every variant of an
//! index (`manifest`), with what a host demands (`demand`) and what each form costs at run time (`cost`);
//! [`engine_config`] configures the engine that loads the chosen one. The names (`name`) and limits
//! (`limits`) are those of every document.

#![warn(clippy::missing_errors_doc)]
#![cfg_attr(
    not(test),
    deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::print_stderr, clippy::print_stdout)
)]

pub mod isa;

mod chain;
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

mod cost;
mod limit;

mod check;
mod host;

mod embedder;

pub mod manifest;
mod variant;

mod demand;
mod select;

pub use chain::chain;
pub use check::{Mismatch, check};
pub use cost::Cost;
pub use demand::{Demand, Urgency};
pub use digest::{Digest, DigestError, canonical_json};
pub use embedder::{Embedder, EmbedderMismatch};
pub use engine::{EngineConfigError, engine_config};
pub use hint::Hinted;
pub use host::{Host, HostError};
pub use isa::Arch;
pub use limit::Limit;
pub use profile::{Origin, Profile, ProfileError};
pub use requirements::{Kind, Needs, Requirements};
pub use select::{Rejected, Selection, only_name_differs, select};
pub use size::Size;
pub use text::{line_at, nearest, one_line, shorten};
pub use variant::Variant;
pub use version::{ENGINE_VERSION, engine_major, major};
