//! What a key may sign, when, and how many keys it takes.

use super::*;
use crate::policy::Pattern;

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
