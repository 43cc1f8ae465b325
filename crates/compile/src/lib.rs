//! Compiles WebAssembly ahead of time, for CPU profiles that state every setting, into artifacts and releases.
//!
//! ```
//! use isomer_compile::{Compiler, Input};
//! use isomer_contract::Profile;
//! use std::path::Path;
//!
//! let text = "(module (func (export \"answer\") (result i32) (i32.const 42)))";
//! let input = Input::from_bytes(Path::new("answer.wat"), "answer", text.into())?;
//! let profile = Profile::shipped("neoverse-n1").expect("a shipped profile");
//! let compiled = Compiler::new(&profile)?.compile(&input)?;
//! assert_eq!(compiled.artifact().triple, "aarch64-unknown-linux-gnu");
//! let bytes: Vec<u8> = compiled.into_bytes();
//! # assert!(bytes.starts_with(b"\x7fELF"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The path of the data
//! Files become [`Input`]s (`input`), names become profiles (`targets`); an [`Analysis`] finds what a module uses and which
//! profiles can express that (`analysis`, `express`); a [`Job`] is one module for one profile (`job`), `passes` rewrites
//! the module where the code generator needs it and [`Compiler`] generates the code (`codegen`); an
//! [`Executor`](executor::Executor) does that in worker processes or on a farm (`executor`), and `schedule` keeps all
//! cores busy. The build engine (`build`) plans the cells of a matrix (`matrix`), has their jobs run and writes the
//! artifacts as files ([`compile_to_files`]) or as the OCI image layout of a [`Release`] (`release_manifest`, `release`),
//! where variants of equal code are stored once (`predict`, `collapse`). `signing` signs a release.
//!
//! # Never here
//! Running guest code, printing, reading a command line.

#![warn(clippy::missing_errors_doc)]
#![cfg_attr(
    not(test),
    deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::print_stderr, clippy::print_stdout)
)]

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
pub mod maker;
mod owner;
pub mod records;
pub mod reuse;
pub mod seal;

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

/// The version of isomer, which releases record.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
