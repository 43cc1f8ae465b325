//! In: a policy, bundles as bytes, what they should attest, and what the server knows. Out: the keys that attest it, or
//! every reason why that is not enough. Never here: a file, a clock, a connection.
//!
//! Nothing depends on unsigned data. A bundle's key id and hint only tell which key to try first; the module's name,
//! the index's digest and the release's counter are read from the signed statement and must be the required ones. Keys
//! are counted, not signatures and not policy entries.

mod reason;

pub use reason::{Reason, Refusal, Rejected, Untrusted};

use crate::bundle::{Bundle, BundleError};
use crate::counters::Counters;
use crate::dsse::EnvelopeError;
use crate::key::{KeyId, PublicKey};
use crate::policy::{Policy, TrustedKey};
use crate::statement::{Release, Statement};
use isomer_contract::limits::SIGNATURES_MAX;
use isomer_contract::{Digest, shorten};
use jiff::Timestamp;
use semver::Version;
use std::collections::BTreeMap;

/// What the signatures should attest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject<'a> {
    /// The module's name.
    pub module: &'a str,
    /// Its reference in the release, `NAME:VERSION`.
    pub reference: &'a str,
    /// The digest of its index.
    pub index: Digest,
}

/// What a server knows besides the signatures.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The engines of the variants that are to be used; none for plain WebAssembly.
    pub engines: &'a [Version],
    /// The digests of all else that is to be used and may be revoked: manifests, artifacts, WebAssembly.
    pub digests: &'a [Digest],
    /// The time.
    pub now: Timestamp,
    /// The counters of the releases that were installed before. [`Trusted::keys`] and [`Trusted::release`] are what to
    /// add.
    pub counters: &'a Counters,
    /// Whether an older release than those is accepted, because an operator allows it. What the policy's
    /// `minimum-counter` excludes stays excluded.
    pub allow_rollback: bool,
}

/// What enough trusted keys have signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted {
    /// The names of the keys that attest it, in the order of the bundles.
    pub by: Vec<String>,
    /// The ids of those keys, in the same order.
    pub keys: Vec<KeyId>,
    /// The release that it belongs to.
    pub release: Release,
    /// The statement of the first of them.
    pub statement: Statement,
    /// Bundles that do not count, which is no error.
    pub rejected: Vec<Rejected>,
}

/// Decides whether enough of the policy's keys attest `subject`.
///
/// Signatures count together when they name the same release: its name, version and counter. The rest of their
/// statements may differ, as it does when two farms build the same bytes.
///
/// ```
/// # use isomer_trust::*;
/// # use isomer_contract::Digest;
/// # let statement = Statement {
/// #     subjects: [("resize:1.4.0".to_owned(), Digest::of(b"index"))].into(),
/// #     release: Release { name: "acme".parse()?, version: "1.4.0".parse()?, counter: 7 },
/// #     build: Build {
/// #         targets: Default::default(),
/// #         passes: vec![],
/// #         engine: "48.0.8".into(),
/// #         isomer: "0.1.0".into(),
/// #         not_compiled: Default::default(),
/// #     },
/// #     inputs: Default::default(),
/// #     builder: Builder { id: "https://farm.example".to_owned(), version: Default::default() },
/// #     finished_on: None,
/// # };
/// let key = SigningKey::generate(Algorithm::Ed25519)?;
/// let bundle = Bundle::sign(&statement, &key).to_json();
///
/// let policy = Policy::of_keys([TrustedKey::new("farm.pub", key.public_key())]);
/// let subject = Subject { module: "resize", reference: "resize:1.4.0", index: Digest::of(b"index") };
/// let counters = Counters::from_json(br#"{"acme": 6}"#)?;
/// let (now, allow_rollback) = (Timestamp::now(), false);
/// let facts = Facts { engines: &[], digests: &[], now, counters: &counters, allow_rollback };
/// let trusted = evaluate(&policy, &[bundle], &subject, &facts)?;
/// assert_eq!((&trusted.by[..], trusted.release.counter), (&["farm.pub".to_owned()][..], 7));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Every reason why they do not, or why the module must not be used although they do.
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
        match attestation(policy, bytes.as_ref(), subject, facts) {
            Ok(attestation) => {
                let group = groups.entry(attestation.statement.release.clone()).or_default();
                if group.attestations.iter().any(|other| other.key == attestation.key) {
                    rejected.push(Rejected { bundle, reason: Reason::DuplicateSigner { key: attestation.name } });
                } else {
                    group.attestations.push(attestation);
                }
            }
            Err(reasons) => rejected.extend(reasons.into_iter().map(|reason| Rejected { bundle, reason })),
        }
    }
    let threshold = policy.threshold.get();
    // Of two releases of the same bytes that are both attested, the later one.
    let enough = groups.iter().filter(|(_, group)| group.attestations.len() >= threshold);
    let best = enough.max_by_key(|(release, _)| release.counter);
    match best {
        Some((release, group)) if refusals.is_empty() => {
            let statement = group.attestations[0].statement.clone();
            let keys = group.attestations.iter().map(|attestation| attestation.key).collect();
            Ok(Trusted { by: group.names(), keys, release: release.clone(), statement, rejected })
        }
        Some(_) => Err(Untrusted { refusals, rejected }),
        None => {
            refusals.push(too_few(bundles.len(), threshold, &groups));
            Err(Untrusted { refusals, rejected })
        }
    }
}

/// The attestations of one release.
#[derive(Default)]
struct Group {
    attestations: Vec<Attestation>,
}

impl Group {
    fn names(&self) -> Vec<String> {
        self.attestations.iter().map(|attestation| attestation.name.clone()).collect()
    }
}

/// A statement of a trusted key.
struct Attestation {
    key: KeyId,
    name: String,
    statement: Statement,
}

fn too_few(bundles: usize, threshold: usize, groups: &BTreeMap<Release, Group>) -> Refusal {
    if bundles == 0 {
        return Refusal::NoSignature;
    }
    let largest = groups.values().max_by_key(|group| group.attestations.len());
    let by = largest.map(Group::names).unwrap_or_default();
    Refusal::Threshold { by, needed: threshold, releases: groups.len() }
}

impl Policy {
    /// What excludes these digests, and artifacts of these engines, whichever keys signed them.
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

/// The attestation in one bundle, if it counts.
fn attestation(
    policy: &Policy,
    bytes: &[u8],
    subject: &Subject<'_>,
    facts: &Facts<'_>,
) -> Result<Attestation, Vec<Reason>> {
    let bundle = Bundle::from_json(bytes).map_err(|error| vec![malformed(error)])?;
    let key = signer(policy, &bundle).map_err(|reason| vec![reason])?;
    // From here on the payload is what a key of the policy has signed.
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
    reasons.extend(against_statement(policy, &statement, subject));
    let of = name.as_deref().unwrap_or_default();
    reasons.extend(against_counter(key.id(), of, &statement.release, subject.module, facts));
    match name {
        Some(name) if reasons.is_empty() => Ok(Attestation { key: key.id(), name, statement }),
        _ => Err(reasons),
    }
}

fn malformed(error: BundleError) -> Reason {
    match error {
        BundleError::Envelope(EnvelopeError::PayloadType { found }) => Reason::PayloadType { found },
        error => Reason::Malformed(error),
    }
}

/// The key of the policy that made the signature, whatever the bundle's hints are.
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

fn against_statement(policy: &Policy, statement: &Statement, subject: &Subject<'_>) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let signed_module = subject.reference.rsplit_once(':').map(|(name, _)| name);
    match statement.subjects.get(subject.reference) {
        Some(signed) if *signed != subject.index => {
            let reference = subject.reference.to_owned();
            reasons.push(Reason::OtherDigest { reference, signed: *signed, found: subject.index });
        }
        // The module that the key may sign must be the one that it signed.
        Some(_) if signed_module == Some(subject.module) => {}
        _ => {
            let signed = statement.subjects.keys().map(|name| shorten(name)).collect();
            let expected = format!("{} of module {}", subject.reference, subject.module);
            reasons.push(Reason::OtherSubject { signed, expected });
        }
    }
    let Release { name, counter, .. } = &statement.release;
    let minimum = policy.minimum_counters.get(name.as_str()).copied();
    if let Some(minimum) = minimum.filter(|minimum| counter < minimum) {
        reasons.push(Reason::BelowMinimumCounter { release: name.to_string(), counter: *counter, minimum });
    }
    reasons
}

/// What the counters of this key and module say against another release of it.
fn against_counter(key: KeyId, of: &str, release: &Release, module: &str, facts: &Facts<'_>) -> Option<Reason> {
    let Release { name, counter, .. } = release;
    if !facts.counters.has_room(key, module, name.as_str()) {
        let (key, module, release) = (of.to_owned(), module.to_owned(), name.to_string());
        return Some(Reason::TooManyReleases { key, module, release });
    }
    let last = facts.counters.least(key, module, name.as_str()).filter(|_| !facts.allow_rollback);
    let last = last.filter(|last| counter < last)?;
    Some(Reason::Replayed { release: name.to_string(), counter: *counter, last })
}

#[cfg(test)]
mod tests;
