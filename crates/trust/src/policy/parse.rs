//! In: the text of a policy. Out: the policy, or the first problem with its line. Key files are read by the caller.

use super::error::{PolicyError, PolicyProblem};
use super::{KEYS_MAX, Pattern, Policy, TrustedKey};
use crate::key::PublicKey;
use crate::key_file::KeyFileError;
use isomer_contract::{line_at, nearest, shorten};
use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::Offset;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::Path;
use std::str::FromStr;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

const TOP_KEYS: [&str; 5] = ["key", "threshold", "revoked", "minimum-engine", "minimum-counter"];
const KEY_KEYS: [&str; 6] = ["name", "file", "pem", "not-before", "not-after", "modules"];
const REVOKED_KEYS: [&str; 2] = ["keys", "digests"];

/// The longest name of a key.
const NAME_SIZE_BYTES_MAX: usize = 256;
const NAME: &str = "at most 256 bytes, without control characters";
const NAMES: &str = "names in a list, in which `*` matches any characters";
const DATE: &str = "a date, 2026-01-31, or a time with its offset, 2026-01-31T12:00:00Z";

pub(super) fn parse(
    path: &str,
    text: &str,
    mut read_key: impl FnMut(&Path) -> Result<PublicKey, KeyFileError>,
) -> Result<Policy, PolicyError> {
    let source = Source { path, text };
    let document = DeTable::parse(text).map_err(|error| {
        let problem = PolicyProblem::Toml(error.message().to_owned());
        PolicyError { path: path.to_owned(), line: error.span().map(|span| source.line(span)), problem }
    })?;
    let mut policy = Policy::of_keys([]);
    let mut threshold_at = None;
    for (key, value) in document.get_ref() {
        let at = |problem| source.error(key.span(), problem);
        match key.get_ref().as_ref() {
            "key" => {
                for item in items("key", value, "tables, each `[[key]]`").map_err(at)? {
                    let trusted = trusted_key(&source, item, &mut read_key)?;
                    if policy.keys.iter().any(|other| other.name == trusted.name) {
                        return Err(source.error(item.span(), PolicyProblem::DuplicateName(trusted.name)));
                    }
                    policy.keys.push(trusted);
                }
            }
            "threshold" => {
                policy.threshold = integer(value)
                    .and_then(|number| NonZeroUsize::new(number.try_into().ok()?))
                    .ok_or_else(|| at(wrong("threshold", value, "a whole number from 1")))?;
                threshold_at = Some(key.span());
            }
            "minimum-engine" => {
                policy.minimum_engine = Some(parsed("minimum-engine", value, "a version, \"48.0.5\"").map_err(at)?);
            }
            "revoked" => revoked(&source, value, &mut policy)?,
            "minimum-counter" => {
                for (name, value) in table("minimum-counter", value).map_err(at)? {
                    let counter = integer(value);
                    let problem = || wrong("minimum-counter", value, "a whole number for each release");
                    let counter = counter.ok_or_else(|| source.error(value.span(), problem()))?;
                    policy.minimum_counters.insert(name.get_ref().to_string(), counter);
                }
            }
            other => return Err(at(unknown(other, "", &TOP_KEYS))),
        }
    }
    check(&policy).map_err(|problem| PolicyError {
        path: path.to_owned(),
        line: threshold_at.filter(|_| matches!(problem, PolicyProblem::Unreachable { .. })).map(|at| source.line(at)),
        problem,
    })?;
    Ok(policy)
}

/// Problems of the policy as a whole.
fn check(policy: &Policy) -> Result<(), PolicyProblem> {
    if policy.keys.is_empty() {
        return Err(PolicyProblem::NoKeys);
    }
    if policy.keys.len() > KEYS_MAX {
        return Err(PolicyProblem::TooManyKeys { found: policy.keys.len() });
    }
    let mut ids: Vec<_> = policy.keys.iter().map(|trusted| trusted.key.id()).collect();
    ids.retain(|id| !policy.revoked_keys.contains(id));
    ids.sort();
    ids.dedup();
    // A policy whose only key was revoked is valid, and refuses everything.
    let threshold = policy.threshold.get();
    if threshold > 1 && threshold > ids.len() {
        return Err(PolicyProblem::Unreachable { threshold, keys: ids.len() });
    }
    Ok(())
}

fn trusted_key(
    source: &Source<'_>,
    value: &Spanned<DeValue<'_>>,
    read_key: &mut impl FnMut(&Path) -> Result<PublicKey, KeyFileError>,
) -> Result<TrustedKey, PolicyError> {
    let entries = table("key", value).map_err(|problem| source.error(value.span(), problem))?;
    let (mut name, mut file, mut pem) = (None, None, None);
    let (mut not_before, mut not_after, mut modules) = (None, None, vec![Pattern::all()]);
    for (key, value) in entries {
        let at = |problem| source.error(key.span(), problem);
        match key.get_ref().as_ref() {
            "name" => {
                // It is recorded with what is installed, and shown.
                let short = |name: &&str| name.len() <= NAME_SIZE_BYTES_MAX && !name.contains(char::is_control);
                let text = string("name", value).map_err(at)?;
                name = Some(Some(text).filter(short).ok_or_else(|| at(wrong("name", value, NAME)))?.to_owned());
            }
            "file" => file = Some((string("file", value).map_err(at)?, key.span())),
            "pem" => pem = Some((string("pem", value).map_err(at)?, key.span())),
            "not-before" => not_before = Some(time("not-before", value, Time::midnight()).map_err(at)?),
            "not-after" => not_after = Some(time("not-after", value, Time::MAX).map_err(at)?),
            "modules" => {
                let list = items("modules", value, NAMES).map_err(at)?;
                let pattern = |item: &Spanned<DeValue<'_>>| item.get_ref().as_str().map(Pattern::new);
                modules = list.iter().map(pattern).collect::<Option<_>>().unwrap_or_default();
                if modules.is_empty() {
                    return Err(at(wrong("modules", value, NAMES)));
                }
            }
            other => return Err(at(unknown(other, "[key]", &KEY_KEYS))),
        }
    }
    let fail = |problem| source.error(value.span(), problem);
    let name = name.filter(|name| !name.is_empty()).ok_or_else(|| fail(PolicyProblem::NoName))?;
    let key = match (file, pem) {
        (Some((file, at)), None) => {
            read_key(Path::new(file)).map_err(|error| source.error(at, PolicyProblem::KeyFile(error)))?
        }
        (None, Some((pem, at))) => PublicKey::from_pem(pem)
            .map_err(|error| source.error(at, PolicyProblem::Pem { name: shorten(&name), error }))?,
        (found, _) => {
            let found = if found.is_some() { "both `file` and `pem`" } else { "neither `file` nor `pem`" };
            return Err(fail(PolicyProblem::FileOrPem { name, found }));
        }
    };
    if not_before.zip(not_after).is_some_and(|(from, until)| until < from) {
        return Err(fail(PolicyProblem::NeverValid { name }));
    }
    Ok(TrustedKey { name, key, not_before, not_after, modules })
}

fn revoked(source: &Source<'_>, value: &Spanned<DeValue<'_>>, policy: &mut Policy) -> Result<(), PolicyError> {
    let entries = table("revoked", value).map_err(|problem| source.error(value.span(), problem))?;
    for (key, value) in entries {
        let at = |problem| source.error(key.span(), problem);
        match key.get_ref().as_ref() {
            "keys" => {
                let expected = "a list of key ids, each 64 lower-case hexadecimal digits";
                for item in items("keys", value, expected).map_err(at)? {
                    let id = parsed("keys", item, expected).map_err(|problem| source.error(item.span(), problem))?;
                    policy.revoked_keys.insert(id);
                }
            }
            "digests" => {
                let expected = "a list of digests, each `sha256:` and 64 lower-case hexadecimal digits";
                for item in items("digests", value, expected).map_err(at)? {
                    let digest =
                        parsed("digests", item, expected).map_err(|problem| source.error(item.span(), problem))?;
                    policy.revoked_digests.insert(digest);
                }
            }
            other => return Err(at(unknown(other, "revoked", &REVOKED_KEYS))),
        }
    }
    Ok(())
}

/// The text, for the lines of its parts.
struct Source<'a> {
    path: &'a str,
    text: &'a str,
}

impl Source<'_> {
    fn error(&self, at: Range<usize>, problem: PolicyProblem) -> PolicyError {
        PolicyError { path: self.path.to_owned(), line: Some(self.line(at)), problem }
    }

    fn line(&self, span: Range<usize>) -> usize {
        line_at(self.text, span.start)
    }
}

fn unknown(key: &str, table: &'static str, known: &[&'static str]) -> PolicyProblem {
    let nearest = nearest(key, known.iter().copied()).map(str::to_owned);
    PolicyProblem::UnknownKey { key: shorten(key), table, nearest }
}

fn wrong(key: &'static str, value: &Spanned<DeValue<'_>>, expected: &'static str) -> PolicyProblem {
    let found = match value.get_ref() {
        DeValue::String(text) => format!("`{}`", shorten(text)),
        DeValue::Integer(number) => shorten(number.as_str()),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(items) if items.is_empty() => "an empty list".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        other => format!("a {}", other.type_str()),
    };
    PolicyProblem::WrongValue { key, found, expected }
}

fn string<'a>(key: &'static str, value: &'a Spanned<DeValue<'_>>) -> Result<&'a str, PolicyProblem> {
    value.get_ref().as_str().ok_or_else(|| wrong(key, value, "a string"))
}

fn parsed<T: FromStr>(
    key: &'static str,
    value: &Spanned<DeValue<'_>>,
    expected: &'static str,
) -> Result<T, PolicyProblem> {
    value.get_ref().as_str().and_then(|text| text.parse().ok()).ok_or_else(|| wrong(key, value, expected))
}

fn integer(value: &Spanned<DeValue<'_>>) -> Option<u64> {
    let number = value.get_ref().as_integer()?;
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn table<'a, 'i>(key: &'static str, value: &'a Spanned<DeValue<'i>>) -> Result<&'a DeTable<'i>, PolicyProblem> {
    value.get_ref().as_table().ok_or_else(|| wrong(key, value, "a table"))
}

fn items<'a, 'i>(
    key: &'static str,
    value: &'a Spanned<DeValue<'i>>,
    expected: &'static str,
) -> Result<&'a [Spanned<DeValue<'i>>], PolicyProblem> {
    value.get_ref().as_array().map(|array| &array[..]).ok_or_else(|| wrong(key, value, expected))
}

/// A time, or `of_day` on a date in UTC. Either may be a string; a time without an offset has no meaning.
fn time(key: &'static str, value: &Spanned<DeValue<'_>>, of_day: Time) -> Result<Timestamp, PolicyProblem> {
    let text = match value.get_ref() {
        DeValue::Datetime(time) => Some(time.to_string()),
        DeValue::String(text) => Some(text.to_string()),
        _ => None,
    };
    let read = |text: String| match text.len() {
        10 => Offset::UTC.to_timestamp(text.parse::<Date>().ok()?.to_datetime(of_day)).ok(),
        _ => text.parse().ok(),
    };
    text.and_then(read).ok_or_else(|| wrong(key, value, DATE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Algorithm, SigningKey};
    use isomer_contract::{Digest, Hinted};
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
            (
                with(&format!("pem = '''\n{}'''", *private)),
                "3: the PEM of `x` is not a valid public key",
                "public half",
            ),
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
            (
                text("[minimum-counter]\na = -1"),
                "2: `minimum-counter` is -1; expected a whole number for each release",
                "",
            ),
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
}
