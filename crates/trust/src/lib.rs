//! Who made a release, and which keys a server trusts.
//!
//! ```
//! use isomer_contract::Digest;
//! use isomer_trust::*;
//!
//! // On the farm: a key signs what a release holds and how it was built.
//! let key = SigningKey::generate(Algorithm::Ed25519)?;
//! let statement = Statement {
//!     subjects: [("resize:1.4.0".to_owned(), Digest::of(b"index"))].into(),
//!     release: Release { name: "acme-plugins".parse()?, version: "1.4.0".parse()?, counter: 7 },
//!     build: Build {
//!         targets: [].into(),
//!         passes: vec![],
//!         engine: "48.0.8".into(),
//!         isomer: "0.1.0".into(),
//!         not_compiled: Default::default(),
//!     },
//!     inputs: [("resize".to_owned(), Digest::of(b"wasm"))].into(),
//!     builder: Builder { id: "https://farm.example".to_owned(), version: [].into() },
//!     finished_on: None,
//! };
//! let bundle = Bundle::sign(&statement, &key).to_json();
//!
//! // On a server: a policy names the public key, and the index at hand must be the one that was signed.
//! let mut farm = TrustedKey::new("farm 2026", key.public_key());
//! farm.modules = vec![Pattern::new("resize"), Pattern::new("acme-*")];
//! let policy = Policy::of_keys([farm]);
//! let subject = Subject { module: "resize", reference: "resize:1.4.0", index: Digest::of(b"index") };
//! let counters = Counters::default();
//! let (now, allow_rollback) = (Timestamp::now(), false);
//! let facts = Facts { engines: &[], digests: &[], now, counters: &counters, allow_rollback };
//! let trusted = evaluate(&policy, &[&bundle], &subject, &facts)?;
//! assert_eq!(trusted.by, ["farm 2026"]);
//!
//! // Another index under that name is refused, with every reason.
//! let untrusted = evaluate(&policy, &[bundle], &Subject { index: Digest::of(b"other"), ..subject }, &facts);
//! assert!(matches!(untrusted.unwrap_err().rejected[0].reason, Reason::OtherDigest { .. }));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! In: keys, the description of a build, a policy, signatures as bytes. Out: signatures, or a decision with every reason.
//! Never here: a clock, a connection, a decision that depends on unsigned data. Two files read from the disk: `key_file`
//! and `policy/file.rs`.
//!
//! The data's path: a [`SigningKey`] (`key`, its file in `key_file`) signs a [`Statement`] (`statement`) in an
//! [`Envelope`] (`dsse`), which is stored as a [`Bundle`] (`bundle`). Both are read by [`strict_json`]. A [`Policy`]
//! (`policy`) names the keys that a server trusts, [`evaluate`] (`evaluate`) decides whether their signatures suffice,
//! and [`Counters`] (`counters`) keep older releases out.

#![warn(clippy::missing_errors_doc)]
#![cfg_attr(
    not(test),
    deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::print_stderr, clippy::print_stdout)
)]

pub mod strict_json;

mod key;
mod key_file;

mod statement;

mod dsse;

mod bundle;

mod policy;

mod counters;

mod evaluate;

pub use bundle::{BUNDLE_MEDIA_TYPE, Bundle, BundleError};
pub use counters::{COUNTERS_SIZE_BYTES_MAX, Counters, CountersError, Forgotten, RELEASES_MAX, Scope};
pub use dsse::{ENVELOPE_SIZE_BYTES_MAX, Envelope, EnvelopeError, EnvelopeSignature, PAYLOAD_TYPE, SIGNATURES_MAX};
pub use evaluate::{Facts, Reason, Refusal, Rejected, Subject, Trusted, Untrusted, evaluate};
pub use jiff::Timestamp;
pub use key::{Algorithm, KeyError, KeyId, PublicKey, SigningKey};
pub use key_file::{KEY_SIZE_BYTES_MAX, KeyFileError, read_private, read_public, write_pair};
pub use policy::{
    KEYS_MAX, POLICY_SIZE_BYTES_MAX, Pattern, Policy, PolicyError, PolicyProblem, TrustedKey, read_policy,
};
pub use semver::Version;
pub use statement::{
    BUILD_TYPE, Build, Builder, NotCompiled, PREDICATE_TYPE, Release, STATEMENT_TYPE, SUBJECTS_MAX, Statement,
    StatementError,
};
