//! In: public keys, or the text of a policy. Out: whom a server believes, and what about. Never here: a file, a clock.

mod error;
mod parse;
mod pattern;

pub use error::{PolicyError, PolicyProblem};
pub use pattern::Pattern;

use crate::key::{KeyId, PublicKey};
use crate::keys::KeyFileError;
use isomer_contract::Digest;
use jiff::Timestamp;
use semver::Version;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::Path;

/// The most keys that a policy names.
pub const KEYS_MAX: usize = 256;

/// Whom a server believes.
///
/// ```
/// # use isomer_trust::{Algorithm, Policy, SigningKey};
/// # let pem = SigningKey::generate(Algorithm::Ed25519)?.public_key().to_pem();
/// let text = format!(r#"
/// threshold      = 1            # so many keys must have signed the same release
/// minimum-engine = "48.0.5"     # older artifacts are refused
///
/// [[key]]
/// name       = "farm 2026"
/// pem        = """{pem}"""      # or: file = "farm-2026.pub", relative to this file
/// not-before = 2026-01-01
/// not-after  = 2026-12-31       # that day included, in UTC
/// modules    = ["resize", "acme-*"]
///
/// [revoked]
/// keys    = []                  # key ids
/// digests = []                  # of indexes, manifests, artifacts
///
/// [minimum-counter]
/// acme-plugins = 7              # older releases of that name are refused
/// "#);
/// let policy = Policy::parse("trust.toml", &text, |file| unreachable!("{} is not named", file.display()))?;
/// assert!(policy.keys[0].may_sign("acme-upload"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The keys that are believed, at most [`KEYS_MAX`].
    pub keys: Vec<TrustedKey>,
    /// How many different keys must have signed the same release.
    pub threshold: NonZeroUsize,
    /// Keys that are believed no longer, whatever else the policy says of them.
    pub revoked_keys: BTreeSet<KeyId>,
    /// Indexes, manifests and artifacts that are not to be used, whoever signed them.
    pub revoked_digests: BTreeSet<Digest>,
    /// The oldest engine whose artifacts are taken: a miscompilation was mended in it.
    pub minimum_engine: Option<Version>,
    /// The least counter of the releases of each name.
    pub minimum_counters: BTreeMap<String, u64>,
}

/// A key that is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedKey {
    /// What people call it; no other entry is called so.
    pub name: String,
    /// The key. Another entry may have the same, for other modules or another time; it still counts once.
    pub key: PublicKey,
    /// From when on. It is the server's time that counts: nothing proves when a signature was made.
    pub not_before: Option<Timestamp>,
    /// Until when, itself included.
    pub not_after: Option<Timestamp>,
    /// The names of the modules that it may sign.
    pub modules: Vec<Pattern>,
}

impl TrustedKey {
    /// A key that may sign every module at any time.
    pub fn new(name: impl Into<String>, key: PublicKey) -> TrustedKey {
        TrustedKey { name: name.into(), key, not_before: None, not_after: None, modules: vec![Pattern::all()] }
    }

    /// Whether it may sign the module called `name`.
    pub fn may_sign(&self, name: &str) -> bool {
        self.modules.iter().any(|pattern| pattern.matches(name))
    }
}

impl Policy {
    /// Believes each of `keys`, alone, in everything.
    pub fn of_keys(keys: impl IntoIterator<Item = TrustedKey>) -> Policy {
        Policy {
            keys: keys.into_iter().collect(),
            threshold: NonZeroUsize::MIN,
            revoked_keys: BTreeSet::new(),
            revoked_digests: BTreeSet::new(),
            minimum_engine: None,
            minimum_counters: BTreeMap::new(),
        }
    }

    /// Reads the text of a policy. `path` is for messages; `read_key` reads the key files that the policy names.
    ///
    /// [`crate::read_policy`] does so for a file.
    ///
    /// # Errors
    /// The first problem, with its line.
    pub fn parse(
        path: &str,
        text: &str,
        read_key: impl FnMut(&Path) -> Result<PublicKey, KeyFileError>,
    ) -> Result<Policy, PolicyError> {
        parse::parse(path, text, read_key)
    }
}
