//! One test for each reason to refuse; no decision depends on unsigned data.

use super::*;
use crate::counters::{RELEASES_MAX, Scope};
use crate::dsse::Envelope;
use crate::key::{Algorithm, SigningKey};
use crate::policy::Pattern;
use crate::statement::StatementError;
use crate::statement::tests::{release, statement};
use isomer_contract::Hinted;
use std::num::NonZeroUsize;
use std::sync::LazyLock;

/// `farm` (Ed25519), `desk` (ECDSA) and `stranger`, which no policy below names.
static KEYS: LazyLock<[SigningKey; 3]> = LazyLock::new(|| {
    [Algorithm::Ed25519, Algorithm::EcdsaP256, Algorithm::Ed25519]
        .map(|algorithm| SigningKey::generate(algorithm).expect("there is randomness"))
});

const REFERENCE: &str = "resize:1.4.0";

fn index() -> Digest {
    Digest::of(b"index")
}

/// Trusts `farm` and `desk`.
fn policy(threshold: usize) -> Policy {
    let keys = ["farm", "desk"].into_iter().zip(&*KEYS);
    let mut policy = Policy::of_keys(keys.map(|(name, key)| TrustedKey::new(name, key.public_key())));
    policy.threshold = NonZeroUsize::new(threshold).expect("a threshold is not zero");
    policy
}

fn signed(key: usize, counter: u64) -> String {
    Bundle::sign(&statement(REFERENCE, index(), counter), &KEYS[key]).to_json()
}

fn time(text: &str) -> Timestamp {
    text.parse().expect("it is a time")
}

/// What [`evaluate`] is called with, but for the policy and the bundles.
struct Case {
    module: &'static str,
    reference: &'static str,
    index: Digest,
    engines: Vec<Version>,
    digests: Vec<Digest>,
    last: Option<u64>,
    allow_rollback: bool,
}

impl Default for Case {
    fn default() -> Case {
        Case {
            module: "resize",
            reference: REFERENCE,
            index: index(),
            engines: vec![Version::new(48, 0, 8)],
            digests: vec![Digest::of(b"artifact")],
            last: Some(7),
            allow_rollback: false,
        }
    }
}

impl Case {
    fn evaluate(&self, policy: &Policy, bundles: &[String]) -> Result<Trusted, Untrusted> {
        let mut counters = Counters::default();
        if let Some(last) = self.last {
            let name = release("acme-plugins", last).name;
            counters.raise(Scope { key: None, module: None, release: name }, last);
        }
        self.evaluate_with(policy, bundles, &counters)
    }

    fn evaluate_with(&self, policy: &Policy, bundles: &[String], counters: &Counters) -> Result<Trusted, Untrusted> {
        let Case { module, reference, index, .. } = *self;
        let facts = Facts {
            engines: &self.engines,
            digests: &self.digests,
            now: time("2026-06-01T12:00:00Z"),
            counters,
            allow_rollback: self.allow_rollback,
        };
        evaluate(policy, bundles, &Subject { module, reference, index }, &facts)
    }

    /// The reasons as people see them.
    #[track_caller]
    fn refused(&self, policy: &Policy, bundles: &[String]) -> (String, Vec<String>) {
        let untrusted = self.evaluate(policy, bundles).expect_err("it is refused");
        assert!(!untrusted.refusals.is_empty());
        (untrusted.to_string(), untrusted.rejected.iter().map(ToString::to_string).collect())
    }

    /// The reasons of the only bundle.
    #[track_caller]
    fn reasons(&self, policy: &Policy, bundle: String) -> Vec<Reason> {
        let untrusted = self.evaluate(policy, &[bundle]).expect_err("it is refused");
        let none = Refusal::Threshold { by: vec![], needed: policy.threshold.get(), releases: 0 };
        assert_eq!(untrusted.refusals, [none]);
        untrusted.rejected.into_iter().map(|rejected| rejected.reason).collect()
    }
}

#[test]
fn one_trusted_key_is_enough() {
    for (key, name) in [(0, "farm"), (1, "desk")] {
        let trusted = Case::default().evaluate(&policy(1), &[signed(key, 7)]).expect("it is signed");
        assert_eq!(trusted.by, [name]);
        assert_eq!(trusted.release.counter, 7);
        assert_eq!(trusted.statement, statement(REFERENCE, index(), 7));
        assert_eq!(trusted.rejected, []);
    }
}

#[test]
fn no_signature() {
    let (refusal, rejected) = Case::default().refused(&policy(1), &[]);
    assert_eq!((refusal.as_str(), rejected), ("it is not signed", vec![]));
}

#[test]
fn too_many_signatures() {
    let bundles = vec![signed(0, 7); SIGNATURES_MAX + 1];
    let (refusal, _) = Case::default().refused(&policy(1), &bundles);
    assert_eq!(refusal, "expected at most 64 signatures, found 65");
    let trusted = Case::default().evaluate(&policy(1), &bundles[1..]).expect("64 may be");
    assert_eq!((trusted.by.len(), trusted.rejected.len()), (1, 63));
}

#[test]
fn a_policy_without_keys_trusts_none() {
    let empty = Policy::of_keys([]);
    let reasons = Case::default().reasons(&empty, signed(0, 7));
    assert_eq!(reasons, [Reason::UnknownKey { hint: Some(KEYS[0].public_key().id().to_string()) }]);
}

#[test]
fn an_unknown_key() {
    let id = KEYS[2].public_key().id();
    let (refusal, rejected) = Case::default().refused(&policy(1), &[signed(2, 7)]);
    assert_eq!(refusal, "0 of 1 required keys attest it");
    assert_eq!(rejected, [format!("signature 1: it is signed by the key `{id}`, which the policy does not name")]);
}

#[test]
fn hints_decide_nothing() {
    let bundle = Bundle::sign(&statement(REFERENCE, index(), 7), &KEYS[0]);
    let stranger = KEYS[2].public_key().id().to_string();
    let desk = KEYS[1].public_key().id().to_string();
    for hint in [None, Some(String::new()), Some("x".to_owned()), Some(stranger), Some(desk.clone())] {
        // The hint says one key, the key id another, and a third has signed.
        let changed = Bundle { key_hint: hint, ..bundle.clone() };
        for keyid in ["", "y", &desk] {
            let mut json: serde_json::Value = serde_json::from_str(&changed.to_json()).expect("it was just written");
            json["dsseEnvelope"]["signatures"][0]["keyid"] = keyid.into();
            let trusted = Case::default().evaluate(&policy(1), &[json.to_string()]).expect("it is signed");
            assert_eq!(trusted.by, ["farm"]);
        }
    }
    let farm = KEYS[0].public_key().id().to_string();
    let forged = Bundle { key_hint: Some(farm), ..Bundle::sign(&statement(REFERENCE, index(), 7), &KEYS[2]) };
    assert_eq!(
        Case::default().reasons(&policy(1), forged.to_json()),
        [Reason::BadSignature { key: "farm".to_owned() }]
    );
}

#[test]
fn an_altered_statement_is_a_bad_signature() {
    let (ours, theirs) = (signed(0, 7), Bundle::sign(&statement(REFERENCE, index(), 8), &KEYS[2]));
    let mut json: serde_json::Value = serde_json::from_str(&ours).expect("it was just written");
    let other: serde_json::Value = serde_json::from_str(&theirs.to_json()).expect("it was just written");
    json["dsseEnvelope"]["payload"] = other["dsseEnvelope"]["payload"].clone();
    let reasons = Case::default().reasons(&policy(1), json.to_string());
    assert_eq!(reasons, [Reason::BadSignature { key: "farm".to_owned() }]);
}

#[test]
fn another_payload_type() {
    let bundle = signed(0, 7).replace("application/vnd.in-toto+json", "application/vnd.in-toto+jsom");
    let reasons = Case::default().reasons(&policy(1), bundle);
    assert_eq!(reasons, [Reason::PayloadType { found: "application/vnd.in-toto+jsom".to_owned() }]);
}

#[test]
fn a_signature_over_the_payload_without_its_type() {
    let statement = statement(REFERENCE, index(), 7).to_json();
    let bare = KEYS[0].sign(statement.as_bytes());
    let mut json: serde_json::Value = serde_json::from_str(&signed(0, 7)).expect("it was just written");
    json["dsseEnvelope"]["signatures"][0]["sig"] = base64(&bare).into();
    let reasons = Case::default().reasons(&policy(1), json.to_string());
    assert_eq!(reasons, [Reason::BadSignature { key: "farm".to_owned() }]);
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn a_malformed_bundle() {
    let twice = signed(0, 7).replacen('{', r#"{"mediaType":"x","#, 1);
    for bundle in [String::new(), "{}".to_owned(), "[]".to_owned(), twice, "[".repeat(100_000)] {
        let reasons = Case::default().reasons(&policy(1), bundle);
        assert!(matches!(reasons[..], [Reason::Malformed(_)]), "{reasons:?}");
    }
}

#[test]
fn a_malformed_statement() {
    let text = statement(REFERENCE, index(), 7).to_json();
    let twice = text.replacen('{', r#"{"subject":[],"#, 1);
    let other = text.replace("https://isomer.dev/build/v1", "https://example.com/build/v1");
    for payload in ["", "{}", &twice, &other, &format!("{text} ")[1..]] {
        let bundle = Bundle { key_hint: None, envelope: Envelope::sign(payload.into(), &KEYS[0]) };
        let reasons = Case::default().reasons(&policy(1), bundle.to_json());
        assert!(matches!(reasons[..], [Reason::Statement(_)]), "{reasons:?}");
    }
}

#[test]
fn a_revoked_key() {
    let mut policy = policy(1);
    let id = KEYS[0].public_key().id();
    policy.revoked_keys.insert(id);
    let reasons = Case::default().reasons(&policy, signed(0, 7));
    assert_eq!(reasons, [Reason::RevokedKey { key: "farm".to_owned(), id }]);
    let trusted = Case::default().evaluate(&policy, &[signed(0, 7), signed(1, 7)]).expect("the other is not revoked");
    assert_eq!((trusted.by, trusted.rejected.len()), (vec!["desk".to_owned()], 1));
}

#[test]
fn a_key_that_is_not_valid_yet_or_no_longer() {
    let now = time("2026-06-01T12:00:00Z");
    for (not_before, not_after, expected) in [
        (None, Some("2026-06-01T12:00:00Z"), None),
        (Some("2026-06-01T12:00:00Z"), None, None),
        (
            Some("2026-06-01T12:00:01Z"),
            None,
            Some("the key `farm` is valid from 2026-06-01T12:00:01Z, and it is 2026-06-01T12:00:00Z"),
        ),
        (
            None,
            Some("2026-05-31T23:59:59.999999999Z"),
            Some("the key `farm` was valid until 2026-05-31T23:59:59Z, and it is 2026-06-01T12:00:00Z"),
        ),
    ] {
        let mut policy = policy(1);
        (policy.keys[0].not_before, policy.keys[0].not_after) = (not_before.map(time), not_after.map(time));
        match expected {
            None => drop(Case::default().evaluate(&policy, &[signed(0, 7)]).expect("it is valid")),
            Some(expected) => {
                let reasons = Case::default().reasons(&policy, signed(0, 7));
                assert_eq!(reasons.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
                let [Reason::NotYetValid { now: at, .. } | Reason::Expired { now: at, .. }] = reasons[..] else {
                    panic!("{reasons:?}")
                };
                assert_eq!(at, now);
            }
        }
    }
}

#[test]
fn a_key_for_other_modules() {
    let mut policy = policy(1);
    policy.keys[0].modules = vec![Pattern::new("acme-*"), Pattern::new("sort")];
    let (_, rejected) = Case::default().refused(&policy, &[signed(0, 7)]);
    assert_eq!(rejected, ["signature 1: the key `farm` may not sign the module `resize`, only acme-*, sort"]);
    policy.keys[0].modules.push(Pattern::new("re*"));
    Case::default().evaluate(&policy, &[signed(0, 7)]).expect("now it may");
}

#[test]
fn the_name_that_the_key_may_sign_is_the_one_that_it_signed() {
    let mut policy = policy(1);
    policy.keys[0].modules = vec![Pattern::new("acme-*")];
    // Under another name than the signed one, neither is trusted.
    let case = Case { module: "acme-resize", ..Case::default() };
    let reasons = case.reasons(&policy, signed(0, 7));
    assert!(matches!(&reasons[..], [Reason::OtherSubject { .. }]), "{reasons:?}");
    let case = Case { module: "acme-resize", reference: "acme-resize:1.4.0", ..Case::default() };
    let reasons = case.reasons(&policy, signed(0, 7));
    assert!(matches!(&reasons[..], [Reason::OtherSubject { .. }]), "{reasons:?}");
    let case = Case { module: "", reference: "", ..Case::default() };
    let reasons = case.reasons(&policy, signed(0, 7));
    assert!(matches!(&reasons[..], [Reason::NotAllowed { .. }, Reason::OtherSubject { .. }]), "{reasons:?}");
}

#[test]
fn another_subject() {
    let bundle = Bundle::sign(&statement("sort:1.4.0", index(), 7), &KEYS[0]).to_json();
    let (_, rejected) = Case::default().refused(&policy(1), &[bundle]);
    assert_eq!(
        rejected,
        ["signature 1: expected an attestation of resize:1.4.0 of module resize, found one of sort:1.4.0"]
    );
}

#[test]
fn another_index_of_that_name() {
    let found = Digest::of(b"other index");
    let case = Case { index: found, ..Case::default() };
    let expected = Reason::OtherDigest { reference: REFERENCE.to_owned(), signed: index(), found };
    assert_eq!(case.reasons(&policy(1), signed(0, 7)), [expected]);
}

#[test]
fn a_revoked_digest() {
    for digest in [index(), Digest::of(b"artifact")] {
        let mut policy = policy(1);
        policy.revoked_digests = [digest, Digest::of(b"elsewhere")].into();
        let (refusal, rejected) = Case::default().refused(&policy, &[signed(0, 7), signed(1, 7)]);
        assert_eq!((refusal, rejected), (format!("{digest} is revoked"), vec![]));
    }
}

#[test]
fn an_engine_that_is_too_old() {
    let mut policy = policy(1);
    for (minimum, refused) in [("48.0.9", true), ("48.0.8", false), ("49.0.0", true), ("47.9.9", false)] {
        policy.minimum_engine = minimum.parse().ok();
        let result = Case::default().evaluate(&policy, &[signed(0, 7)]).map_err(|untrusted| untrusted.to_string());
        let expected = format!("it was compiled by wasmtime 48.0.8, and the policy accepts none before {minimum}");
        assert_eq!(result.err(), refused.then_some(expected));
    }
    policy.minimum_engine = Some(Version::new(99, 0, 0));
    let plain = Case { engines: vec![], ..Case::default() };
    plain.evaluate(&policy, &[signed(0, 7)]).expect("plain WebAssembly has no engine");
}

#[test]
fn an_older_release() {
    let old = Case { last: Some(8), ..Case::default() };
    let expected = Reason::Replayed { release: "acme-plugins".to_owned(), counter: 7, last: 8 };
    assert_eq!(old.reasons(&policy(1), signed(0, 7)), [expected]);
    for last in [None, Some(0), Some(7)] {
        Case { last, ..Case::default() }.evaluate(&policy(1), &[signed(0, 7)]).expect("it is not older");
    }
    let allowed = Case { allow_rollback: true, ..old };
    allowed.evaluate(&policy(1), &[signed(0, 7)]).expect("an operator says so");

    let mut policy = policy(1);
    policy.minimum_counters = [("acme-plugins".to_owned(), 8), ("other".to_owned(), 99)].into();
    let expected = Reason::BelowMinimumCounter { release: "acme-plugins".to_owned(), counter: 7, minimum: 8 };
    assert_eq!(allowed.reasons(&policy, signed(0, 7)), [expected]);
    Case::default().evaluate(&policy, &[signed(0, 8)]).expect("it reaches the minimum");
}

#[test]
fn a_threshold_counts_keys() {
    let both = [signed(0, 7), signed(1, 7)];
    let trusted = Case::default().evaluate(&policy(2), &both).expect("both have signed");
    assert_eq!(trusted.by, ["farm", "desk"]);
    // One key under two names, with two signatures, is still one.
    let mut twice = policy(2);
    twice.keys[1] = TrustedKey::new("farm again", KEYS[0].public_key());
    let mut other = statement(REFERENCE, index(), 7);
    other.finished_on = Some("2026-01-01T00:00:00Z".to_owned());
    let again = Bundle::sign(&other, &KEYS[0]).to_json();
    for bundles in [[signed(0, 7), signed(0, 7)], [signed(0, 7), again]] {
        for policy in [&policy(2), &twice] {
            let (refusal, rejected) = Case::default().refused(policy, &bundles);
            assert_eq!(refusal, "1 of 2 required keys attest it: farm");
            assert_eq!(rejected, ["signature 2: the key `farm` has signed the same release already, and counts once"]);
        }
    }
    let (refusal, rejected) = Case::default().refused(&policy(2), &[signed(1, 7), signed(2, 7)]);
    assert_eq!((refusal.as_str(), rejected.len()), ("1 of 2 required keys attest it: desk", 1));
}

#[test]
fn signatures_for_different_releases_do_not_add_up() {
    let (refusal, rejected) = Case::default().refused(&policy(2), &[signed(0, 7), signed(1, 8)]);
    let expected = "1 of 2 required keys attest it: desk; others name another version or counter";
    assert_eq!((refusal.as_str(), rejected), (expected, vec![]));
    let bundles = [signed(0, 7), signed(1, 8), signed(1, 7), signed(0, 9)];
    let trusted = Case::default().evaluate(&policy(2), &bundles).expect("both have signed 7");
    assert_eq!((trusted.by, trusted.release.counter), (vec!["farm".to_owned(), "desk".to_owned()], 7));
    let trusted = Case::default().evaluate(&policy(1), &bundles).expect("one is enough");
    assert_eq!((trusted.by, trusted.release.counter), (vec!["farm".to_owned()], 9), "the latest");
}

#[test]
fn two_entries_of_one_key_add_their_permissions() {
    let mut policy = policy(1);
    policy.keys[0].modules = vec![Pattern::new("sort")];
    policy.keys[1] =
        TrustedKey { modules: vec![Pattern::new("resize")], ..TrustedKey::new("farm 2", KEYS[0].public_key()) };
    let trusted = Case::default().evaluate(&policy, &[signed(0, 7)]).expect("the second entry may");
    assert_eq!((trusted.by, trusted.rejected), (vec!["farm 2".to_owned()], vec![]));
    // They do not mix: the one is for the module, the other for the time.
    policy.keys[0].modules = vec![Pattern::all()];
    policy.keys[0].not_after = Some(time("2026-01-01T00:00:00Z"));
    policy.keys[1].modules = vec![Pattern::new("sort")];
    let reasons = Case::default().reasons(&policy, signed(0, 7));
    assert!(matches!(&reasons[..], [Reason::Expired { .. }, Reason::NotAllowed { .. }]), "{reasons:?}");
}

#[test]
fn every_reason_is_told_and_hinted() {
    let mut policy = policy(2);
    policy.keys[0].not_after = Some(time("2026-01-01T00:00:00Z"));
    policy.keys[0].modules = vec![Pattern::new("sort")];
    policy.revoked_keys.insert(KEYS[0].public_key().id());
    policy.revoked_digests.insert(index());
    policy.minimum_engine = Some(Version::new(48, 0, 9));
    let case = Case { last: Some(8), ..Case::default() };
    let bundles = [signed(0, 7), "{}".to_owned(), signed(2, 7), signed(1, 9)];
    let untrusted = case.evaluate(&policy, &bundles).expect_err("nearly all is wrong");
    let refusals: Vec<_> = untrusted.refusals.iter().map(std::mem::discriminant).collect();
    let expected = [
        Refusal::RevokedDigest { digest: index() },
        Refusal::OldEngine { found: Version::new(0, 0, 0), minimum: Version::new(0, 0, 0) },
        Refusal::Threshold { by: vec![], needed: 0, releases: 0 },
    ];
    assert_eq!(refusals, expected.iter().map(std::mem::discriminant).collect::<Vec<_>>());
    let indices: Vec<_> = untrusted.rejected.iter().map(|rejected| rejected.bundle).collect();
    assert_eq!(indices, [0, 0, 0, 0, 1, 2]);
    assert!(untrusted.hint().is_some());
    assert!(untrusted.rejected.iter().filter(|rejected| rejected.hint().is_some()).count() >= 5);
}

/// Whichever bit of a bundle is flipped: it is refused, or is exactly what was signed.
#[test]
fn no_flipped_bit_changes_what_is_trusted() {
    let (policy, expected) = (policy(1), statement(REFERENCE, index(), 7));
    for (key, name) in [(0, "farm"), (1, "desk")] {
        let bundle = signed(key, 7);
        let json: serde_json::Value = serde_json::from_str(&bundle).expect("it was just written");
        let envelope = &json["dsseEnvelope"];
        let signed = [&envelope["payload"], &envelope["payloadType"], &envelope["signatures"][0]["sig"]].map(|value| {
            let text = value.as_str().expect("they are strings");
            let start = bundle.find(text).expect("the bundle has it");
            start..start + text.len()
        });
        for bit in 0..bundle.len() * 8 {
            let mut bytes = bundle.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let altered = String::from_utf8_lossy(&bytes).into_owned();
            if let Ok(trusted) = Case::default().evaluate(&policy, &[altered]) {
                assert!(!signed.iter().any(|range| range.contains(&(bit / 8))), "bit {bit} of {bundle}");
                assert_eq!((&trusted.statement, &trusted.by[..]), (&expected, &[name.to_owned()][..]));
            }
        }
    }
}

/// A key that may sign one module raises its counter as far as a counter goes, for the release's name of others.
#[test]
fn a_counter_of_one_key_keeps_out_no_other_key_and_no_other_module() {
    let [farm, desk] = [0, 1].map(|key: usize| KEYS[key].public_key().id());
    let mut counters = Counters::default();
    let name = release("acme-plugins", 7).name;
    counters.set(desk, &"sort".parse().expect("a name"), &name, u64::MAX);
    let case = Case::default();
    for key in [0, 1] {
        case.evaluate_with(&policy(1), &[signed(key, 7)], &counters).expect("it is another module");
    }
    counters.set(desk, &"resize".parse().expect("a name"), &name, u64::MAX);
    case.evaluate_with(&policy(1), &[signed(0, 7)], &counters).expect("it is another key");
    let untrusted = case.evaluate_with(&policy(1), &[signed(1, 7)], &counters).expect_err("it is older");
    let expected = Reason::Replayed { release: "acme-plugins".to_owned(), counter: 7, last: u64::MAX };
    assert_eq!(untrusted.rejected, [Rejected { bundle: 0, reason: expected }]);
    counters.set(farm, &"resize".parse().expect("a name"), &name, 8);
    case.evaluate_with(&policy(1), &[signed(0, 7)], &counters).expect_err("it is older than the same key's");
    let trusted = case.evaluate_with(&policy(1), &[signed(0, 9)], &counters).expect("it is newer");
    assert_eq!(trusted.keys, [farm]);
}

#[test]
fn a_key_cannot_have_any_number_of_releases_remembered() {
    let farm = KEYS[0].public_key().id();
    let mut counters = Counters::default();
    for number in 0..RELEASES_MAX {
        let name = release(&format!("r{number}"), 1).name;
        counters.set(farm, &"resize".parse().expect("a name"), &name, 1);
    }
    let untrusted = Case::default().evaluate_with(&policy(1), &[signed(0, 7)], &counters).expect_err("one more");
    let shown: Vec<_> = untrusted.rejected.iter().map(ToString::to_string).collect();
    let expected =
        "signature 1: the key `farm` signed `resize` in 16 releases with other names than acme-plugins already";
    assert_eq!(shown, [expected]);
    Case::default().evaluate_with(&policy(1), &[signed(1, 7)], &counters).expect("another key has room");
}

#[test]
fn a_long_list_of_subjects_is_shortened() {
    let mut statement = statement("a:1", index(), 7);
    for (number, expected) in [(5, "a:1, b0:1, b1:1, b2:1, b3:1"), (6, "a:1, b0:1, b1:1, b2:1, b3:1 and 1 more")] {
        for number in 0..number - 1 {
            statement.subjects.insert(format!("b{number}:1"), index());
        }
        let bundle = Bundle::sign(&statement, &KEYS[0]).to_json();
        let (_, rejected) = Case::default().refused(&policy(1), &[bundle]);
        let found =
            format!("signature 1: expected an attestation of resize:1.4.0 of module resize, found one of {expected}");
        assert_eq!(rejected, [found]);
    }
}

#[test]
fn each_reason_has_a_hint_of_its_own() {
    let text = String::new;
    let now = time("2026-06-01T12:00:00Z");
    let (id, digest) = (KEYS[0].public_key().id(), index());
    let material = BundleError::Material { found: text() };
    let statement = StatementError::OtherType { field: "_type", found: text(), expected: "" };
    for (reason, hint) in [
        (Reason::Malformed(material), "with a key"),
        (Reason::Malformed(BundleError::SignatureCount { found: 2 }), ""),
        (Reason::Statement(statement), "another tool"),
        (Reason::PayloadType { found: text() }, "not for a release"),
        (Reason::UnknownKey { hint: None }, "add its public half"),
        (Reason::BadSignature { key: text() }, "fetch the release"),
        (Reason::RevokedKey { key: text(), id }, "a key that is valid"),
        (Reason::Expired { key: text(), not_after: now, now }, "a key that is valid"),
        (Reason::NotYetValid { key: text(), not_before: now, now }, "clock"),
        (Reason::NotAllowed { key: text(), module: text(), modules: vec![] }, "`modules`"),
        (Reason::OtherDigest { reference: text(), signed: digest, found: digest }, "sign it again"),
        (Reason::Replayed { release: text(), counter: 1, last: 2 }, "rollback"),
        (Reason::TooManyReleases { key: text(), module: text(), release: text() }, "one name"),
        (Reason::DuplicateSigner { key: text() }, ""),
    ] {
        let found = reason.hint().unwrap_or_default();
        assert!(found.contains(hint) && found.is_empty() == hint.is_empty(), "{reason}: {found}");
        // Nor does it name an option of a command.
        assert!(!found.contains("--"), "{found}");
        assert_eq!(Rejected { bundle: 0, reason: reason.clone() }.hint(), reason.hint());
    }
    for (refusal, hint) in [
        (Refusal::NoSignature, "sign it"),
        (Refusal::OldEngine { found: Version::new(1, 0, 0), minimum: Version::new(2, 0, 0) }, "compile it again"),
        (Refusal::RevokedDigest { digest }, "another release"),
        (Refusal::TooManySignatures { found: 65 }, ""),
        (Refusal::Threshold { by: vec![], needed: 1, releases: 0 }, ""),
    ] {
        let found = refusal.hint().unwrap_or_default();
        assert!(found.contains(hint) && found.is_empty() == hint.is_empty(), "{refusal}: {found}");
    }
    let rejected = vec![Rejected { bundle: 0, reason: Reason::BadSignature { key: text() } }];
    let none = Refusal::Threshold { by: vec![], needed: 1, releases: 0 };
    let untrusted = |refusals| Untrusted { refusals, rejected: rejected.clone() }.hint().unwrap_or_default();
    assert!(untrusted(vec![none.clone()]).contains("fetch the release"), "the first of the bundles");
    assert!(untrusted(vec![none, Refusal::NoSignature]).contains("sign it"), "the first of the whole");
}
