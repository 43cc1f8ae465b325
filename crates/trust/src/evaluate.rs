//! In: a policy, bundles as bytes, what they should vouch for, and what the server knows. Out: who vouches for it, or
//! every reason why that is not enough. Never here: a file, a clock, a connection.
//!
//! Nothing is believed for unsigned data. A bundle's key id and hint only say which key to try first; the module's
//! name, the index's digest and the release's counter are taken from the signed statement and must be the ones that
//! were asked for. Keys are counted, not signatures and not policy entries.

mod reason;

pub use reason::{Reason, Refusal, Rejected, Untrusted};

use crate::bundle::{Bundle, BundleError};
use crate::dsse::EnvelopeError;
use crate::key::{KeyId, PublicKey};
use crate::policy::{Policy, TrustedKey};
use crate::statement::{Release, Statement};
use crate::strict_json::shorten;
use isomer_contract::Digest;
use isomer_contract::limits::SIGNATURES_MAX;
use jiff::Timestamp;
use semver::Version;
use std::collections::BTreeMap;

/// What the signatures should vouch for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject<'a> {
    /// The module's name.
    pub module: &'a str,
    /// Its reference in the release, `NAME:VERSION`.
    pub reference: &'a str,
    /// The digest of its index.
    pub index: Digest,
}

/// What a server knows beside the signatures.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The engines of the variants that are to be used; none for plain WebAssembly.
    pub engines: &'a [Version],
    /// What else is to be used of the index and may be revoked: manifests, artifacts, WebAssembly.
    pub digests: &'a [Digest],
    /// The time.
    pub now: Timestamp,
    /// The last counter seen of the releases of each name: those of [`Trusted::release`]. A believed key can raise it
    /// for any name, also beyond what others will ever reach; `allow_rollback` is the way back.
    pub last_counters: &'a BTreeMap<String, u64>,
    /// Whether a release older than the last one is taken, because an operator says so. What the policy's
    /// `minimum-counter` excludes stays excluded.
    pub allow_rollback: bool,
}

/// What enough believed keys have signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted {
    /// The names of the keys that vouch for it, in the order of the bundles.
    pub by: Vec<String>,
    /// The release that it belongs to; `counter` is the one to remember as the last seen.
    pub release: Release,
    /// What the first of them says.
    pub statement: Statement,
    /// Bundles that do not count, which harm nothing.
    pub rejected: Vec<Rejected>,
}

/// Decides whether enough of the policy's keys vouch for `subject`.
///
/// Signatures count together when they name the same release: its name, version and counter. What else their
/// statements say may differ, as it does when two farms build the same bytes.
///
/// ```
/// # use isomer_trust::*;
/// # use isomer_contract::Digest;
/// # let statement = Statement {
/// #     subjects: [("resize:1.4.0".to_owned(), Digest::of(b"index"))].into(),
/// #     release: Release { name: "acme".to_owned(), version: "1.4.0".to_owned(), counter: 7 },
/// #     build: Build { targets: Default::default(), passes: vec![], engine: "48.0.8".into(), isomer: "0.1.0".into() },
/// #     inputs: Default::default(),
/// #     builder: Builder { id: "https://farm.example".to_owned(), version: Default::default() },
/// #     finished_on: None,
/// # };
/// let key = SigningKey::generate(Algorithm::Ed25519)?;
/// let bundle = Bundle::sign(&statement, &key).to_json();
///
/// let policy = Policy::of_keys([TrustedKey::new("farm.pub", key.public_key())]);
/// let subject = Subject { module: "resize", reference: "resize:1.4.0", index: Digest::of(b"index") };
/// let last_counters = [("acme".to_owned(), 6)].into();
/// let facts = Facts {
///     engines: &[],
///     digests: &[],
///     now: Timestamp::now(),
///     last_counters: &last_counters,
///     allow_rollback: false,
/// };
/// let trusted = evaluate(&policy, &[bundle], &subject, &facts)?;
/// assert_eq!((&trusted.by[..], trusted.release.counter), (&["farm.pub".to_owned()][..], 7));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Every reason for which they do not, or for which it would not matter if they did.
pub fn evaluate<B: AsRef<[u8]>>(
    policy: &Policy,
    bundles: &[B],
    subject: &Subject<'_>,
    facts: &Facts<'_>,
) -> Result<Trusted, Untrusted> {
    let digests: Vec<_> = [subject.index].into_iter().chain(facts.digests.iter().copied()).collect();
    let mut refusals = policy.refusals(&digests, facts.engines);
    if bundles.len() > SIGNATURES_MAX {
        refusals.push(Refusal::TooManySignatures { found: bundles.len() });
        return Err(Untrusted { refusals, rejected: Vec::new() });
    }
    let mut rejected = Vec::new();
    let mut groups: BTreeMap<Release, Group> = BTreeMap::new();
    for (bundle, bytes) in bundles.iter().enumerate() {
        match vouch(policy, bytes.as_ref(), subject, facts) {
            Ok(voucher) => {
                let group = groups.entry(voucher.statement.release.clone()).or_default();
                if group.vouchers.iter().any(|other| other.key == voucher.key) {
                    rejected.push(Rejected { bundle, reason: Reason::DuplicateSigner { key: voucher.name } });
                } else {
                    group.vouchers.push(voucher);
                }
            }
            Err(reasons) => rejected.extend(reasons.into_iter().map(|reason| Rejected { bundle, reason })),
        }
    }
    let threshold = policy.threshold.get();
    // Of two releases of the same bytes that are both vouched for, the later one.
    let enough = groups.iter().filter(|(_, group)| group.vouchers.len() >= threshold);
    let best = enough.max_by_key(|(release, _)| release.counter);
    match best {
        Some((release, group)) if refusals.is_empty() => {
            let statement = group.vouchers[0].statement.clone();
            Ok(Trusted { by: group.names(), release: release.clone(), statement, rejected })
        }
        Some(_) => Err(Untrusted { refusals, rejected }),
        None => {
            refusals.push(too_few(bundles.len(), threshold, &groups));
            Err(Untrusted { refusals, rejected })
        }
    }
}

/// Those who vouch for one release.
#[derive(Default)]
struct Group {
    vouchers: Vec<Voucher>,
}

impl Group {
    fn names(&self) -> Vec<String> {
        self.vouchers.iter().map(|voucher| voucher.name.clone()).collect()
    }
}

/// A key that is believed, and what it says.
struct Voucher {
    key: KeyId,
    name: String,
    statement: Statement,
}

fn too_few(bundles: usize, threshold: usize, groups: &BTreeMap<Release, Group>) -> Refusal {
    if bundles == 0 {
        return Refusal::NoSignature;
    }
    let largest = groups.values().max_by_key(|group| group.vouchers.len());
    let by = largest.map(Group::names).unwrap_or_default();
    Refusal::Threshold { by, needed: threshold, releases: groups.len() }
}

impl Policy {
    /// What excludes these digests, and artifacts of these engines, even if everybody signed them.
    pub fn refusals(&self, digests: &[Digest], engines: &[Version]) -> Vec<Refusal> {
        let revoked = digests.iter().filter(|digest| self.revoked_digests.contains(digest));
        let mut refusals: Vec<_> = revoked.map(|digest| Refusal::RevokedDigest { digest: *digest }).collect();
        if let Some(minimum) = &self.minimum_engine {
            let old = engines.iter().filter(|engine| *engine < minimum);
            refusals.extend(old.map(|found| Refusal::OldEngine { found: found.clone(), minimum: minimum.clone() }));
        }
        refusals
    }
}

/// Who signed one bundle, if it counts.
fn vouch(policy: &Policy, bytes: &[u8], subject: &Subject<'_>, facts: &Facts<'_>) -> Result<Voucher, Vec<Reason>> {
    let bundle = Bundle::from_json(bytes).map_err(|error| vec![malformed(error)])?;
    let key = signer(policy, &bundle).map_err(|reason| vec![reason])?;
    // From here on the payload is what a key of the policy signed.
    let entries = policy.keys.iter().filter(|trusted| trusted.key == *key);
    let (mut name, mut reasons) = (None, Vec::new());
    for trusted in entries {
        let against = against_key(policy, trusted, subject, facts);
        if against.is_empty() && name.is_none() {
            name = Some(trusted.name.clone());
        }
        reasons.extend(against);
    }
    if name.is_some() {
        reasons.clear();
    }
    let statement = match Statement::from_json(bundle.envelope.payload()) {
        Ok(statement) => statement,
        Err(error) => {
            reasons.push(Reason::Statement(error));
            return Err(reasons);
        }
    };
    reasons.extend(against_statement(policy, &statement, subject, facts));
    match name {
        Some(name) if reasons.is_empty() => Ok(Voucher { key: key.id(), name, statement }),
        _ => Err(reasons),
    }
}

fn malformed(error: BundleError) -> Reason {
    match error {
        BundleError::Envelope(EnvelopeError::PayloadType { found }) => Reason::PayloadType { found },
        error => Reason::Malformed(error),
    }
}

/// The key of the policy that made the signature, whatever the bundle's hints say.
fn signer<'a>(policy: &'a Policy, bundle: &Bundle) -> Result<&'a PublicKey, Reason> {
    let hinted = |trusted: &TrustedKey| {
        let id = trusted.key.id().to_string();
        bundle.key_hints().any(|hint| hint == id)
    };
    let (first, others): (Vec<_>, Vec<_>) = policy.keys.iter().partition(|trusted| hinted(trusted));
    let message = bundle.envelope.signed_bytes();
    let made = |key: &PublicKey| bundle.envelope.signatures().iter().any(|it| key.verifies(&message, &it.sig));
    let key = first.iter().chain(&others).find(|trusted| made(&trusted.key)).map(|trusted| &trusted.key);
    key.ok_or_else(|| match first.first() {
        Some(trusted) => Reason::BadSignature { key: trusted.name.clone() },
        None => Reason::UnknownKey { hint: bundle.key_hints().next().map(shorten) },
    })
}

fn against_key(policy: &Policy, trusted: &TrustedKey, subject: &Subject<'_>, facts: &Facts<'_>) -> Vec<Reason> {
    let key = || trusted.name.clone();
    let mut reasons = Vec::new();
    if policy.revoked_keys.contains(&trusted.key.id()) {
        reasons.push(Reason::RevokedKey { key: key(), id: trusted.key.id() });
    }
    if let Some(not_before) = trusted.not_before.filter(|not_before| facts.now < *not_before) {
        reasons.push(Reason::NotYetValid { key: key(), not_before, now: facts.now });
    }
    if let Some(not_after) = trusted.not_after.filter(|not_after| facts.now > *not_after) {
        reasons.push(Reason::Expired { key: key(), not_after, now: facts.now });
    }
    if !trusted.may_sign(subject.module) {
        let modules = trusted.modules.iter().map(ToString::to_string).collect();
        reasons.push(Reason::NotAllowed { key: key(), module: subject.module.to_owned(), modules });
    }
    reasons
}

fn against_statement(policy: &Policy, statement: &Statement, subject: &Subject<'_>, facts: &Facts<'_>) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let signed_module = subject.reference.rsplit_once(':').map(|(name, _)| name);
    match statement.subjects.get(subject.reference) {
        Some(signed) if *signed != subject.index => {
            let reference = subject.reference.to_owned();
            reasons.push(Reason::OtherDigest { reference, signed: *signed, found: subject.index });
        }
        // The name that the key's permission was looked up for must be the one that was signed.
        Some(_) if signed_module == Some(subject.module) => {}
        _ => {
            let signed = statement.subjects.keys().map(|name| shorten(name)).collect();
            let expected = format!("{} of module {}", subject.reference, subject.module);
            reasons.push(Reason::OtherSubject { signed, expected });
        }
    }
    let Release { name, counter, .. } = &statement.release;
    let (release, counter) = (|| shorten(name), *counter);
    if let Some(minimum) = policy.minimum_counters.get(name).copied().filter(|minimum| counter < *minimum) {
        reasons.push(Reason::BelowMinimumCounter { release: release(), counter, minimum });
    }
    let last = facts.last_counters.get(name).copied().filter(|_| !facts.allow_rollback);
    if let Some(last) = last.filter(|last| counter < *last) {
        reasons.push(Reason::Replayed { release: release(), counter, last });
    }
    reasons
}

#[cfg(test)]
mod tests;
