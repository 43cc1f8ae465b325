//! Who made a release, and whom a server believes.
//!
//! In: keys, what a build made, a policy, signatures as bytes. Out: signatures, or a decision with every reason. Never
//! here: a clock, a connection, a belief in anything that is not signed. One file (`keys`) touches a disk.
//!
//! The data's path: a [`SigningKey`] (`key`, its file in `keys`) signs a [`Statement`] (`statement`) in an [`Envelope`]
//! (`dsse`), which travels as a [`Bundle`] (`bundle`). Both are read by [`strict_json`]. A [`Policy`] (`policy`) says
//! whom a server believes, and [`evaluate`] (`evaluate`) whether that is enough.

#![cfg_attr(
    not(test),
    deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::print_stderr, clippy::print_stdout)
)]

pub mod strict_json;

mod key;
mod keys;

mod statement;

mod dsse;

mod bundle;

mod policy;

mod evaluate;

pub use bundle::{BUNDLE_MEDIA_TYPE, Bundle, BundleError};
pub use dsse::{ENVELOPE_SIZE_BYTES_MAX, Envelope, EnvelopeError, EnvelopeSignature, PAYLOAD_TYPE, SIGNATURES_MAX};
pub use evaluate::{Facts, Reason, Refusal, Rejected, Subject, Trusted, Untrusted, evaluate};
pub use jiff::Timestamp;
pub use key::{Algorithm, KeyError, KeyId, PublicKey, SigningKey};
pub use keys::{
    KEY_SIZE_BYTES_MAX, KeyFileError, POLICY_SIZE_BYTES_MAX, read_policy, read_private, read_public, write_pair,
};
pub use policy::{KEYS_MAX, Pattern, Policy, PolicyError, PolicyProblem, TrustedKey};
pub use semver::Version;
pub use statement::{
    BUILD_TYPE, Build, Builder, PREDICATE_TYPE, Release, STATEMENT_TYPE, SUBJECTS_MAX, Statement, StatementError,
};
