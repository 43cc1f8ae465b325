//! Who made a release.
//!
//! In: keys, what a build made. Out: signatures. Never here: a clock, a connection.
//!
//! The data's path: a [`SigningKey`] (`key`) signs a [`Statement`] (`statement`) in an [`Envelope`] (`dsse`), which
//! travels as a [`Bundle`] (`bundle`). Both are read by [`strict_json`].

pub mod strict_json;

mod key;

mod statement;

mod dsse;

mod bundle;

pub use bundle::{BUNDLE_MEDIA_TYPE, Bundle, BundleError};
pub use dsse::{ENVELOPE_SIZE_BYTES_MAX, Envelope, EnvelopeError, EnvelopeSignature, PAYLOAD_TYPE, SIGNATURES_MAX};
pub use key::{Algorithm, KeyError, KeyId, PublicKey, SigningKey};
pub use statement::{
    BUILD_TYPE, Build, Builder, PREDICATE_TYPE, Release, STATEMENT_TYPE, SUBJECTS_MAX, Statement, StatementError,
};
