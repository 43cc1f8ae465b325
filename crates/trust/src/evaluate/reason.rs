//! Why a signature does not count, and why those that do are not enough. Each says what was found and expected.

use crate::bundle::BundleError;
use crate::dsse::PAYLOAD_TYPE;
use crate::key::KeyId;
use crate::statement::StatementError;
use isomer_contract::limits::SIGNATURES_MAX;
use isomer_contract::{Digest, Hinted};
use jiff::Timestamp;
use semver::Version;
use std::fmt;

/// Why one bundle does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// It can't be read.
    #[error("it is malformed: {0}")]
    Malformed(BundleError),
    /// It signs something else than a statement.
    #[error("it signs a payload of type `{found}`, expected `{PAYLOAD_TYPE}`")]
    PayloadType {
        /// The type.
        found: String,
    },
    /// No key of the policy made the signature, and it claims to be of none.
    #[error("it is signed by {}, which the policy does not name", claimed(.hint.as_deref()))]
    UnknownKey {
        /// The key that it claims to be of.
        hint: Option<String>,
    },
    /// It claims to be signed by a key of the policy, and is not.
    #[error("it claims to be signed by `{key}`, and the signature is not that key's: it or the statement was altered")]
    BadSignature {
        /// The key's name in the policy.
        key: String,
    },
    /// What was signed says nothing about a release.
    #[error("its statement is malformed: {0}")]
    Statement(StatementError),
    /// The key is believed no longer.
    #[error("the key `{key}` is revoked")]
    RevokedKey {
        /// Its name in the policy.
        key: String,
        /// Its id.
        id: KeyId,
    },
    /// The key is not believed yet.
    #[error("the key `{key}` is valid from {not_before:.0}, and it is {now:.0}")]
    NotYetValid {
        /// Its name in the policy.
        key: String,
        /// From when on it is.
        not_before: Timestamp,
        /// The server's time.
        now: Timestamp,
    },
    /// The key is believed no longer.
    #[error("the key `{key}` was valid until {not_after:.0}, and it is {now:.0}")]
    Expired {
        /// Its name in the policy.
        key: String,
        /// Until when it was.
        not_after: Timestamp,
        /// The server's time.
        now: Timestamp,
    },
    /// The key is believed for other modules.
    #[error("the key `{key}` may not sign the module `{module}`, only {}", .modules.join(", "))]
    NotAllowed {
        /// Its name in the policy.
        key: String,
        /// The module.
        module: String,
        /// The patterns of those that it may.
        modules: Vec<String>,
    },
    /// It vouches for other modules.
    #[error("it vouches for {}, expected {expected}", list(.signed))]
    OtherSubject {
        /// The references that it names.
        signed: Vec<String>,
        /// The one that was asked for.
        expected: String,
    },
    /// It vouches for another index of that name.
    #[error("it vouches for the index {signed} of {reference}, and this one is {found}")]
    OtherDigest {
        /// The reference.
        reference: String,
        /// The index that was signed.
        signed: Digest,
        /// The index at hand.
        found: Digest,
    },
    /// Another bundle by the same key counts already.
    #[error("the key `{key}` has signed the same release already, and counts once")]
    DuplicateSigner {
        /// Its name in the policy.
        key: String,
    },
    /// A release older than the last one.
    #[error("the release {release} has counter {counter}, and {last} was seen already")]
    Replayed {
        /// Its name.
        release: String,
        /// Its counter.
        counter: u64,
        /// The last one seen.
        last: u64,
    },
    /// A release older than the policy takes.
    #[error("the release {release} has counter {counter}, and the policy takes none below {minimum}")]
    BelowMinimumCounter {
        /// Its name.
        release: String,
        /// Its counter.
        counter: u64,
        /// The policy's.
        minimum: u64,
    },
}

fn claimed(hint: Option<&str>) -> String {
    hint.map_or_else(|| "a key".to_owned(), |hint| format!("the key `{hint}`"))
}

fn list(references: &[String]) -> String {
    const SHOWN_MAX: usize = 5;
    let shown = references.iter().take(SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match references.len().checked_sub(SHOWN_MAX) {
        Some(more @ 1..) => format!("{shown} and {more} more"),
        _ => shown,
    }
}

impl Hinted for Reason {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Reason::Malformed(error) => return error.hint(),
            Reason::Statement(error) => return error.hint(),
            Reason::PayloadType { .. } => "this signature is about something else than a release",
            Reason::UnknownKey { .. } => {
                "if it should be believed, add its public half to the policy, or name it by `--key`"
            }
            Reason::BadSignature { .. } => "fetch the release and its signatures again, from where they were made",
            Reason::RevokedKey { .. } | Reason::Expired { .. } => "sign the release again with a key that is valid",
            Reason::NotYetValid { .. } => "check this server's clock",
            Reason::NotAllowed { .. } => "sign it with another key, or add the module to the key's `modules`",
            Reason::OtherDigest { .. } => "the index was altered, or signed before it was made again: sign it again",
            Reason::Replayed { .. } => "an operator who wants the older release back says so with `--allow-rollback`",
            Reason::OtherSubject { .. } | Reason::DuplicateSigner { .. } | Reason::BelowMinimumCounter { .. } => {
                return None;
            }
        };
        Some(hint.to_owned())
    }
}

/// A bundle that does not count, with one of its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its place among those that were given, from 0.
    pub bundle: usize,
    /// Why.
    pub reason: Reason,
}

/// The place is shown from 1.
impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "signature {}: {}", self.bundle + 1, self.reason)
    }
}

impl Hinted for Rejected {
    fn hint(&self) -> Option<String> {
        self.reason.hint()
    }
}

/// Why something is not to be used, whatever each single bundle says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody signed it.
    #[error("it is not signed")]
    NoSignature,
    /// More bundles than anybody needs.
    #[error("it has {found} signatures, expected at most {SIGNATURES_MAX}")]
    TooManySignatures {
        /// How many there are.
        found: usize,
    },
    /// Too few believed keys signed it.
    #[error("{} of {needed} needed keys vouch for it{}", .by.len(), vouching(.by, *.releases))]
    Threshold {
        /// The keys that do, by their names in the policy.
        by: Vec<String>,
        /// How many are needed.
        needed: usize,
        /// For how many different releases of the same index believed keys vouch.
        releases: usize,
    },
    /// A part of it is revoked.
    #[error("{digest} is revoked")]
    RevokedDigest {
        /// The part.
        digest: Digest,
    },
    /// It was compiled by an engine that the policy refuses.
    #[error("it was compiled by wasmtime {found}, and the policy takes none before {minimum}")]
    OldEngine {
        /// The engine.
        found: Version,
        /// The policy's.
        minimum: Version,
    },
}

fn vouching(by: &[String], releases: usize) -> String {
    let names = if by.is_empty() { String::new() } else { format!(": {}", by.join(", ")) };
    let others = if releases > 1 { "; others name another version or counter" } else { "" };
    names + others
}

impl Hinted for Refusal {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Refusal::NoSignature => "sign it: `isomer sign DIR --key FILE`",
            Refusal::OldEngine { .. } => "compile it again with a newer isomer",
            Refusal::RevokedDigest { .. } => "use another release: somebody found this one harmful",
            Refusal::TooManySignatures { .. } | Refusal::Threshold { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

/// Why something is not believed: all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untrusted {
    /// What is wrong with the whole, at least one.
    pub refusals: Vec<Refusal>,
    /// What is wrong with the bundles, every reason of each.
    pub rejected: Vec<Rejected>,
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let refusals: Vec<_> = self.refusals.iter().map(ToString::to_string).collect();
        f.write_str(&refusals.join("; "))
    }
}

impl std::error::Error for Untrusted {}

/// The first that is known; each part has its own.
impl Hinted for Untrusted {
    fn hint(&self) -> Option<String> {
        self.refusals.iter().find_map(Hinted::hint).or_else(|| self.rejected.iter().find_map(Hinted::hint))
    }
}
