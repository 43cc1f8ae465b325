//! From WebAssembly and profiles to artifacts and releases.
//!
//! The data's path: files become [`Input`]s (`input`), names become profiles (`targets`); an [`Analysis`] says what a
//! module uses and which profiles can express that (`analysis`, `express`); a [`Job`] is one module for one profile
//! (`job`), `passes` says what the module goes through first and [`Compiler`] generates its code (`codegen`); a [`Farm`]
//! has worker processes do that (`farm`) and keeps all cores at it (`schedule`); a
//! [`Release`] is the matrix that a manifest names (`release_manifest`, `release`), with equal variants found
//! (`collapse`) and written through `isomer-layout`; `signing` says who made it. Never here: running guest code.

pub mod input;
pub mod targets;

pub mod analysis;
pub mod express;

pub mod job;

pub mod passes;

pub mod codegen;
pub mod farm;
pub mod schedule;

pub mod cache;

mod collapse;
pub mod plan;
pub mod predict;
pub mod release;
pub mod release_manifest;

pub mod signing;

pub mod inspect;

pub use analysis::Analysis;
pub use codegen::Compiler;
pub use farm::Farm;
pub use input::Input;
pub use job::Job;
pub use release::Release;

/// The version of isomer, which artifacts and jobs record.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
