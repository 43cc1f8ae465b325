//! Picks the best compiled form of a module for this machine, proves that it is the one that was meant, and loads it.
//! No compiler is linked.
//!
//! ```
//! use isomer_runtime::{Expected, Loader, SealedBytes, VerifyError, host, verify};
//!
//! // What this machine can execute, as the loader probes it before it maps any code.
//! let host = host::here()?;
//! println!("{}: {:?}", host.arch, host.isa);
//!
//! // Bytes are copied into memory that cannot change, and only what is an artifact can be loaded.
//! let bytes = SealedBytes::copy(&b"\0asm\x01\0\0\0"[..], 1 << 20)?;
//! match verify(bytes, Expected::AnyArtifact) {
//!     Ok(artifact) => drop(Loader::new().load(artifact)?),
//!     Err(VerifyError::Artifact(error)) => println!("not compiled: {error}"),
//!     Err(error) => return Err(error.into()),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! In: a release (an OCI image layout) or a `.cwasm` file, and what is trusted about it. Out: an [`Engine`] and a
//! module or component in it. Never here: code generation, or a second definition of what an artifact requires: that is
//! `isomer-contract`'s.
//!
//! # The path of the data
//! Each step is a type that only the step before it makes:
//!
//! 1. [`probe`] reads the CPU's extensions, [`host`] makes an [`isomer_contract::Host`] of them.
//! 2. [`trust`](trust()): a module of a release whose index has the pinned digest, or was signed by keys that a policy
//!    trusts, a [`TrustedModule`].
//! 3. [`TrustedModule::choose`]: the best variant for a host, a [`Chosen`], or every reason against each.
//! 4. [`SealedBytes`]: its bytes, in memory that cannot change.
//! 5. [`verify`](verify()): the bytes have the digest and the requirements that the release declares, a
//!    [`VerifiedArtifact`].
//! 6. [`Loader::load`]: this machine's CPU has every extension, and an engine accepts the artifact, a [`Loaded`].
//!
//! From there on it is plain wasmtime:
//!
//! ```no_run
//! use isomer_runtime::{Code, Loader, Request, Trust};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let release = isomer_layout::Layout::open("dist".as_ref())?;
//! let digest = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae".parse()?;
//! let module = isomer_runtime::trust(&release, release.module("resize")?, &Trust::Digest(digest))?;
//! let host = isomer_runtime::host::here()?;
//! let loaded = Loader::new().load(module.choose(&host, &Request::default())?.fetch(&release)?)?;
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
//! The engine is configured from the artifact's own requirements, so that no compiler flag is repeated here;
//! [`Loader::configure`] adds what artifacts do not require: a pool of instances, stack sizes, a profiler, host memory.
//! The crate's examples are whole programs: `embed` (a pinned digest and a host function), `pooled` (two modules in one
//! pooled engine), `async_host`, `plugins` and `deadline`.
//!
//! [`Engine`]: wasmtime::Engine

#![warn(clippy::missing_errors_doc)]
#![cfg_attr(
    not(test),
    deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::print_stderr, clippy::print_stdout)
)]

pub mod probe;

pub mod host;

mod choose;
mod trust;

mod map;
mod sealed;

mod verify;

mod engine;
mod executable;
mod loader;
mod profiler;
mod system;

pub use choose::{Chosen, FetchError, NotChosen, Request, SelectError};
pub use engine::EngineMismatch;
pub use loader::{Code, LoadError, Loaded, Loader, load_into};
pub use map::MappedFile;
pub use probe::ProbeError;
pub use profiler::{Profiler, ProfilerError};
pub use sealed::{SealError, SealedBytes};
pub use system::DeniedCall;
pub use trust::{Excluded, Signers, Trust, TrustError, TrustedModule, trust};
pub use verify::{Expected, VerifiedArtifact, VerifyError, verify, verify_requirements};
