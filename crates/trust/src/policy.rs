//! In: public keys, or the text of a policy. Out: the keys that a server trusts, and for what. Never here: a clock. One file
//! (`file`) reads from the disk.

mod error;
mod file;
mod parse;
mod pattern;

pub use error::{PolicyError, PolicyProblem};
pub use file::{POLICY_SIZE_BYTES_MAX, read_policy};
pub use pattern::Pattern;

use crate::key::{KeyId, PublicKey};
use crate::key_file::KeyFileError;
use isomer_contract::Digest;
use jiff::Timestamp;
use semver::Version;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::Path;

/// The most keys that a policy names.
pub const KEYS_MAX: usize = 256;

/// The keys that a server trusts, and for what.
///
/// ```
/// # use isomer_trust::{Algorithm, Policy, SigningKey};
/// # let pem = SigningKey::generate(Algorithm::Ed25519)?.public_key().to_pem();
/// let text = format!(r#"
/// threshold      = 1            # how many keys must have signed the same release
/// minimum-engine = "48.0.5"     # artifacts of older engines are refused
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
/// digests = []                  # of any part of a release: index, manifest, config, layer, artifact, code, WebAssembly
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
    /// The keys that are trusted, at most [`KEYS_MAX`].
    pub keys: Vec<TrustedKey>,
    /// How many different keys must have signed the same release.
    pub threshold: NonZeroUsize,
    /// Keys that are not trusted any more, whatever else the policy says of them.
    pub revoked_keys: BTreeSet<KeyId>,
    /// The digests of parts of releases that must not be used, whichever keys signed them: of an index, or of a
    /// variant's manifest, config, layer, artifact, code or WebAssembly.
    pub revoked_digests: BTreeSet<Digest>,
    /// The oldest engine whose artifacts are accepted.
    pub minimum_engine: Option<Version>,
    /// The least counter of the releases of each name.
    pub minimum_counters: BTreeMap<String, u64>,
}

/// A key that is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedKey {
    /// Its name in messages; no other entry has it.
    pub name: String,
    /// The key. Another entry may have the same, for other modules or another time; it still counts once.
    pub key: PublicKey,
    /// The beginning of its validity. The server's time counts: nothing proves when a signature was made.
    pub not_before: Option<Timestamp>,
    /// The end of its validity, included.
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
    /// Trusts each of `keys`, alone, for everything.
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
