//! From WebAssembly and profiles to artifacts and releases.
//!
//! The data's path: files become [`Input`]s (`input`), names become profiles (`targets`); an [`Analysis`] says what a
//! module uses and which profiles can express that (`analysis`, `express`); a [`Job`] is one module for one profile
//! (`job`), `passes` says what the module goes through first and [`Compiler`] generates its code (`codegen`); an
//! [`Executor`](executor::Executor) does that in worker processes or on a farm (`executor`), and `schedule` keeps all
//! cores busy. The build engine (`build`) plans the cells of a matrix (`matrix`), has their jobs run and writes what they
//! come to as files (`files`) or as the OCI image layout of a [`Release`] (`release_manifest`, `release`), where variants
//! of equal code are stored once (`predict`, `collapse`); `signing` says who made it. Never here: running guest code,
//! printing, reading a command line.

pub mod input;
pub mod targets;

pub mod analysis;
pub mod express;

pub mod job;

pub mod passes;

pub mod codegen;
pub mod executor;
pub mod schedule;

pub mod cache;

mod collapse;
pub mod predict;
pub mod why;

mod build;
mod files;
pub mod matrix;
pub mod release;
pub mod release_manifest;

pub mod signing;

pub mod inspect;

pub use analysis::Analysis;
pub use build::{BuildError, Step};
pub use codegen::Compiler;
pub use files::compile_to_files;
pub use input::Input;
pub use job::Job;
pub use matrix::{CellReport, Module};
pub use release::Release;

/// The version of isomer, which artifacts and jobs record.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
