//! Policies that are valid, and each problem with its line, its words and its hint.

use super::value::DATE;
use super::*;
use crate::key::{Algorithm, SigningKey};
use isomer_contract::{Digest, Hinted};
use jiff::Timestamp;
use proptest::prelude::*;
use std::sync::LazyLock;

static KEYS: LazyLock<[PublicKey; 2]> = LazyLock::new(|| {
    Algorithm::ALL.map(|algorithm| SigningKey::generate(algorithm).expect("there is randomness").public_key())
});

/// A key file's name is its key's index in [`KEYS`].
fn read_key(path: &Path) -> Result<PublicKey, KeyFileError> {
    let index = path.to_str().and_then(|name| name.strip_suffix(".pub")?.parse::<usize>().ok());
    let key = index.and_then(|index| KEYS.get(index)).cloned();
    key.ok_or_else(|| KeyFileError::Exists { path: path.to_owned() })
}

fn policy(text: &str) -> Result<Policy, PolicyError> {
    parse("trust.toml", text, read_key)
}

const KEY: &str = "[[key]]\nname = \"farm\"\nfile = \"0.pub\"\n";

#[test]
fn every_key_of_a_policy_is_read() {
    let (pem, id, digest) = (KEYS[1].to_pem(), KEYS[1].id(), Digest::of(b"bad"));
    let text = format!(
        "threshold = 1\nminimum-engine = \"48.0.5\"\n{KEY}not-before = 2026-01-01\nnot-after = \"2026-12-31\"\n\
         [[key]]\nname = \"desk\"\npem = \"\"\"\n{pem}\"\"\"\nmodules = [\"resize\", \"acme-*\"]\n\
         not-after = 2027-01-01T01:00:00+01:00\n\
         [revoked]\nkeys = [\"{id}\"]\ndigests = [\"{digest}\"]\n[minimum-counter]\nacme-plugins = 7\n"
    );
    let policy = policy(&text).expect("it is right");
    let time = |text: &str| text.parse::<Timestamp>().ok();
    assert_eq!(policy.keys[0].key, KEYS[0]);
    assert_eq!(policy.keys[0].not_before, time("2026-01-01T00:00:00Z"));
    assert_eq!(policy.keys[0].not_after, time("2026-12-31T23:59:59.999999999Z"));
    assert!(policy.keys[0].may_sign("anything"));
    assert_eq!(policy.keys[1].key, KEYS[1]);
    assert_eq!(policy.keys[1].not_after, time("2027-01-01T00:00:00Z"));
    assert!(policy.keys[1].may_sign("acme-x") && !policy.keys[1].may_sign("other"));
    assert_eq!(policy.revoked_keys, [id].into());
    assert_eq!(policy.revoked_digests, [digest].into());
    assert_eq!(policy.minimum_engine, Some(semver::Version::new(48, 0, 5)));
    assert_eq!(policy.minimum_counters, [("acme-plugins".to_owned(), 7)].into());
}

#[test]
fn a_key_may_be_valid_for_a_moment() {
    let time = "2026-01-31T12:00:00Z";
    let policy = policy(&format!("{KEY}not-before = {time}\nnot-after = {time}")).expect("it is not empty");
    assert_eq!(policy.keys[0].not_before, policy.keys[0].not_after);
}

#[test]
fn a_policy_of_one_key_has_defaults_for_the_rest() {
    let expected = Policy::of_keys([TrustedKey::new("farm", KEYS[0].clone())]);
    assert_eq!(policy(KEY).expect("it is right"), expected);
}

#[test]
fn each_problem_has_its_line_and_says_what_was_expected() {
    let private = SigningKey::generate(Algorithm::Ed25519).expect("there is randomness");
    let private = private.to_pem(None).expect("there is no passphrase");
    let farm = |more: &str| format!("{KEY}{more}");
    let with = |more: &str| format!("[[key]]\nname = \"x\"\n{more}");
    let text = str::to_owned;
    for (text, expected, hint) in [
        (text(""), " expected at least one [[key]], found none", "name a public key"),
        (text("a = "), "1: string values must be quoted, expected literal string", ""),
        (text("\ntreshold = 1\n"), "2: unknown key `treshold`", "did you mean `threshold`?"),
        (farm("not_after = 1"), "4: unknown key `not_after` in [[key]]", "did you mean `not-after`?"),
        (text("[revoked]\ndigest = []"), "2: unknown key `digest` in [revoked]", "did you mean `digests`?"),
        (text("threshold = 0"), "1: `threshold` is 0; expected a whole number from 1", ""),
        (text("threshold = -1"), "1: `threshold` is -1; expected a whole number from 1", ""),
        (text("threshold = \"2\""), "1: `threshold` is `2`; expected a whole number from 1", ""),
        (format!("threshold = 2\n{KEY}"), "1: `threshold` is 2, and only 1 key is not revoked", ""),
        (text("key = 1"), "1: `key` is 1; expected tables, each `[[key]]`", ""),
        (text("[key]\nname = \"x\""), "1: `key` is a table; expected tables, each `[[key]]`", ""),
        (text("[[key]]\nfile = \"0.pub\""), "1: a [[key]] has no `name`", "messages use it"),
        (with(""), "1: the key `x` has neither `file` nor `pem`; expected either", "is relative to"),
        (farm("pem = \"\""), "1: the key `farm` has both `file` and `pem`; expected either", "is relative to"),
        (farm(KEY), "4: two keys are called `farm`", ""),
        (with("file = \"9.pub\""), "3: `9.pub` exists, and a key never replaces another file", "choose"),
        (with(&format!("pem = '''\n{}'''", *private)), "3: the PEM of `x` is not a valid public key", "public half"),
        (
            farm("").replace("farm\"", &format!("{}\"", "x".repeat(257))),
            &format!("2: `name` is `{}…`; expected NAME", "x".repeat(200)),
            "",
        ),
        (with("file = \"0.pub\"").replace("\"x\"", "\"a\\u0007\""), "2: `name` is `a\\u{7}`; expected NAME", ""),
        (farm("modules = []"), "4: `modules` is an empty list; expected NAMES", ""),
        (farm("modules = [1]"), "4: `modules` is a list; expected NAMES", ""),
        (farm("not-before = 2026-01-01T00:00:00"), "4: `not-before` is 2026-01-01T00:00:00; expected DATE", ""),
        (farm("not-before = \"2026-02-30\""), "4: `not-before` is `2026-02-30`; expected DATE", ""),
        (farm("not-before = 10:00:00"), "4: `not-before` is 10:00:00; expected DATE", ""),
        (
            farm("not-before = 2026-02-01\nnot-after = 2026-01-31"),
            "1: the key `farm` is never valid: `not-after` is before `not-before`",
            "",
        ),
        (text("minimum-engine = \"48\""), "1: `minimum-engine` is `48`; expected a version, \"48.0.5\"", ""),
        (text("[minimum-counter]\na = -1"), "2: `minimum-counter` is -1; expected a whole number for each release", ""),
        (
            text("[revoked]\nkeys = [\n\"sha256:00\"]"),
            "3: `keys` is `sha256:00`; expected a list of key ids, each 64 lower-case hexadecimal digits",
            "",
        ),
        (
            text("[revoked]\ndigests = [\"00\"]"),
            "2: `digests` is `00`; expected a list of digests, each `sha256:` and 64 lower-case hexadecimal digits",
            "",
        ),
    ] {
        let error = policy(&text).expect_err(&text);
        let shown = error.to_string().replace(DATE, "DATE").replace(NAMES, "NAMES").replace(NAME, "NAME");
        assert_eq!(shown, format!("trust.toml:{expected}"));
        assert!(error.hint().unwrap_or_default().contains(hint), "{expected}: {:?}", error.hint());
    }
}

#[test]
fn a_key_in_two_entries_does_not_reach_a_threshold_of_two() {
    let other = KEY.replace("farm", "farm again");
    let error = policy(&format!("threshold = 2\n{KEY}{other}")).expect_err("one key cannot sign for two");
    assert!(matches!(error.problem, PolicyProblem::Unreachable { threshold: 2, keys: 1 }), "{error}");
    let second = other.replace("0.pub", "1.pub");
    let text = format!("threshold = 2\n{KEY}{second}");
    policy(&text).expect("two keys can");
    let revoked = format!("{text}[revoked]\nkeys = [\"{}\"]", KEYS[1].id());
    let error = policy(&revoked).expect_err("one of the two is revoked");
    assert!(matches!(error.problem, PolicyProblem::Unreachable { threshold: 2, keys: 1 }), "{error}");
    policy(&format!("{KEY}[revoked]\nkeys = [\"{}\"]", KEYS[0].id())).expect("it refuses everything");
}

#[test]
fn the_number_of_keys_has_a_limit() {
    let keys: String = (0..=KEYS_MAX).map(|number| KEY.replace("farm", &number.to_string())).collect();
    let most: String = (0..KEYS_MAX).map(|number| KEY.replace("farm", &number.to_string())).collect();
    assert_eq!(policy(&most).expect("it has as many as it may").keys.len(), KEYS_MAX);
    let error = policy(&keys).expect_err("there is one too many").to_string();
    assert_eq!(error, "trust.toml: expected at most 256 keys, found 257");
}

proptest! {
    #[test]
    fn any_text_gives_a_policy_or_an_error(text in ".*") {
        let _ = policy(&text);
    }

    #[test]
    fn any_value_gives_a_policy_or_an_error(
        key in prop::sample::select([&TOP_KEYS[..], &KEY_KEYS, &REVOKED_KEYS].concat()),
        value in "[0-9a-z\"'\\[\\]{}=:,.TZ+-]{0,30}",
    ) {
        let line = format!("{key} = {value}");
        for text in [format!("{line}\n{KEY}"), format!("{KEY}{line}"), format!("{KEY}[revoked]\n{line}")] {
            if let Ok(policy) = policy(&text) {
                prop_assert!(!policy.keys.is_empty());
            }
        }
    }
}
