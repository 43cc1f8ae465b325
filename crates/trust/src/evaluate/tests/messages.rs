//! What a person reads: every reason, each with its own hint.

use super::*;
use crate::policy::Pattern;
use crate::statement::StatementError;
use isomer_contract::Hinted;

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
