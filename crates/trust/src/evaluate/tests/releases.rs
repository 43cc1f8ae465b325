//! Which releases a valid signature is for: this module and index, of an engine and a counter that the policy accepts.

use super::*;
use crate::counters::RELEASES_MAX;

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
