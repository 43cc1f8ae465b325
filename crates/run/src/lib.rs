//! Picks the best compiled form of a module for this machine, proves that it is the one that was meant, and loads it.
//! No compiler is linked.
//!
//! In: a release (an OCI image layout) or a `.cwasm` file, and what is trusted about it. Out: an [`Engine`] and a
//! module or component in it. Never here: code generation, and a second opinion on what an artifact needs; that is
//! `isomer-contract`'s.
//!
//! The data's path, each step a type that only the step before it makes:
//!
//! 1. `probe` asks the CPU, [`host`] makes an [`isomer_contract::Host`] of the answers.
//! 2. [`trust`](trust()): a release's module whose index has the pinned digest, or was signed by keys that a policy
//!    believes, a [`TrustedModule`].
//! 3. [`TrustedModule::choose`]: the best variant for a host, a [`Chosen`], or every reason why there is none.
//! 4. [`SealedBytes`]: its bytes, in memory that nobody can change.
//! 5. [`verify`](verify()): the bytes have the digest and needs that were promised, a [`VerifiedArtifact`].
//! 6. [`load`](load()): this machine meets every need, and the engine takes them, a [`Loaded`].
//!
//! The embedder links what it likes:
//!
//! ```no_run
//! use isomer_runtime::{Code, Trust};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let release = isomer_layout::Layout::open("dist".as_ref())?;
//! let digest = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae".parse()?;
//! let module = isomer_runtime::trust(&release, release.module("resize")?, &Trust::Digest(digest))?;
//! let host = isomer_runtime::host::here()?;
//! let loaded = isomer_runtime::load(module.choose(&host, None)?.fetch(&release)?)?;
//! let Code::Module(module) = &loaded.code else { return Err("expected a core module".into()) };
//! let mut store = wasmtime::Store::new(&loaded.engine, ());
//! let instance = wasmtime::Linker::new(&loaded.engine).instantiate(&mut store, module)?;
//! # let _ = instance;
//! # Ok(())
//! # }
//! ```
//!
//! With signatures instead, `Trust::Signed(Signers::of(isomer_trust::read_policy("trust.toml".as_ref())?).into())`.
//!
//! `crates/run/examples/embed.rs` is the same as a whole program. The engine is configured from the artifact's own
//! requirements alone, so nothing that was said to the compiler is repeated here.
//!
//! [`Engine`]: wasmtime::Engine

#![cfg_attr(
    not(test),
    deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::print_stderr, clippy::print_stdout)
)]

pub mod probe;

pub mod host;

mod choose;
mod trust;

mod map;
mod memory;
mod sealed;

mod verify;

mod executable;
mod load;
mod system;

pub use choose::{Chosen, FetchError, SelectError, WhyNot};
pub use load::{Code, LoadError, Loaded, Profiler, load, load_with};
pub use map::MappedFile;
pub use probe::ProbeError;
pub use sealed::{SealError, SealedBytes};
pub use system::DeniedCall;
pub use trust::{Excluded, Signers, Trust, TrustError, TrustedModule, trust};
pub use verify::{Expected, VerifiedArtifact, VerifyError, verify, verify_requirements};
