//! Why a signature does not count, and why those that count are not enough. Each reason says what was found and expected.

use crate::bundle::BundleError;
use crate::counters::RELEASES_MAX;
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
#[non_exhaustive]
pub enum Reason {
    /// It cannot be read.
    #[error("it is malformed: {0}")]
    Malformed(BundleError),
    /// It signs something else than a statement.
    #[error("expected a signed payload of type `{PAYLOAD_TYPE}`, found `{found}`")]
    PayloadType {
        /// The type.
        found: String,
    },
    /// No key of the policy made the signature, nor does it declare one.
    #[error("it is signed by {}, which the policy does not name", claimed(.hint.as_deref()))]
    UnknownKey {
        /// The key id that it declares.
        hint: Option<String>,
    },
    /// It declares a key of the policy, whose signature it is not.
    #[error(
        "it declares the key `{key}`, and its signature is not valid for that key: it or the statement was altered"
    )]
    BadSignature {
        /// The key's name in the policy.
        key: String,
    },
    /// What was signed is not a statement about a release.
    #[error("its statement is malformed: {0}")]
    Statement(StatementError),
    /// The key is revoked.
    #[error("the key `{key}` is revoked")]
    RevokedKey {
        /// Its name in the policy.
        key: String,
        /// Its id.
        id: KeyId,
    },
    /// The key is not valid yet.
    #[error("the key `{key}` is valid from {not_before:.0}, and it is {now:.0}")]
    NotYetValid {
        /// Its name in the policy.
        key: String,
        /// The beginning of its validity.
        not_before: Timestamp,
        /// The server's time.
        now: Timestamp,
    },
    /// The key is not valid any more.
    #[error("the key `{key}` was valid until {not_after:.0}, and it is {now:.0}")]
    Expired {
        /// Its name in the policy.
        key: String,
        /// The end of its validity.
        not_after: Timestamp,
        /// The server's time.
        now: Timestamp,
    },
    /// The key is trusted for other modules.
    #[error("the key `{key}` may not sign the module `{module}`, only {}", .modules.join(", "))]
    NotAllowed {
        /// Its name in the policy.
        key: String,
        /// The module.
        module: String,
        /// The patterns of those that it may.
        modules: Vec<String>,
    },
    /// It attests other modules.
    #[error("expected an attestation of {expected}, found one of {}", list(.signed))]
    OtherSubject {
        /// The references that it names.
        signed: Vec<String>,
        /// The one that is required.
        expected: String,
    },
    /// It attests another index of that reference.
    #[error("it attests the index {signed} of {reference}, found {found}")]
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
    /// A release older than one that was installed.
    #[error("the release {release} has the counter {counter}, and {last} was seen already")]
    Replayed {
        /// Its name.
        release: String,
        /// Its counter.
        counter: u64,
        /// The one of a release with this module that the same key signed.
        last: u64,
    },
    /// The key signed the module in more releases of different names than are remembered.
    #[error("the key `{key}` signed `{module}` in {RELEASES_MAX} releases with other names than {release} already")]
    TooManyReleases {
        /// Its name in the policy.
        key: String,
        /// The module.
        module: String,
        /// The release's name.
        release: String,
    },
    /// A release older than the policy accepts.
    #[error("the release {release} has the counter {counter}, and the policy accepts none below {minimum}")]
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
            Reason::PayloadType { .. } => "the signature is not for a release",
            Reason::UnknownKey { .. } => "if the key is to be trusted, add its public half to the policy",
            Reason::BadSignature { .. } => "fetch the release and its signatures again from where they were made",
            Reason::RevokedKey { .. } | Reason::Expired { .. } => "sign the release again with a key that is valid",
            Reason::NotYetValid { .. } => "check this server's clock",
            Reason::NotAllowed { .. } => "sign it with another key, or add the module to the key's `modules`",
            Reason::OtherDigest { .. } => {
                "the index was altered, or was built again after it was signed: sign it again"
            }
            Reason::Replayed { .. } => "allow the rollback to go back to this older release",
            Reason::TooManyReleases { .. } => "the releases of one line keep one name",
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
    /// Its index among those that were given, from 0.
    pub bundle: usize,
    /// Why.
    pub reason: Reason,
}

/// The index is shown from 1.
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

/// Why something must not be used, whatever each single bundle attests.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It has no signature.
    #[error("it is not signed")]
    NoSignature,
    /// Too many bundles.
    #[error("expected at most {SIGNATURES_MAX} signatures, found {found}")]
    TooManySignatures {
        /// How many there are.
        found: usize,
    },
    /// Too few trusted keys signed it.
    #[error("{} of {needed} required keys attest it{}", .by.len(), attesting(.by, *.releases))]
    Threshold {
        /// The keys that did, by their names in the policy.
        by: Vec<String>,
        /// How many are required.
        needed: usize,
        /// The number of different releases of the same index that trusted keys attest.
        releases: usize,
    },
    /// A part of it is revoked.
    #[error("{digest} is revoked")]
    RevokedDigest {
        /// The part.
        digest: Digest,
    },
    /// It was compiled by an engine older than the policy accepts.
    #[error("it was compiled by wasmtime {found}, and the policy accepts none before {minimum}")]
    OldEngine {
        /// The engine.
        found: Version,
        /// The policy's.
        minimum: Version,
    },
}

fn attesting(by: &[String], releases: usize) -> String {
    let names = if by.is_empty() { String::new() } else { format!(": {}", by.join(", ")) };
    let others = if releases > 1 { "; others name another version or counter" } else { "" };
    names + others
}

impl Hinted for Refusal {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Refusal::NoSignature => "sign it with a key that is trusted",
            Refusal::OldEngine { .. } => "compile it again with a newer isomer",
            Refusal::RevokedDigest { .. } => "use another release: the policy revokes this one",
            Refusal::TooManySignatures { .. } | Refusal::Threshold { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

/// Why something is not trusted: every reason.
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

/// The first hint; each reason has its own.
impl Hinted for Untrusted {
    fn hint(&self) -> Option<String> {
        self.refusals.iter().find_map(Hinted::hint).or_else(|| self.rejected.iter().find_map(Hinted::hint))
    }
}
