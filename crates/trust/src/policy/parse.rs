//! In: the text of a policy. Out: the policy, or the first problem with its line. Key files are read by the caller.

mod value;

#[cfg(test)]
mod tests;

use super::error::{PolicyError, PolicyProblem};
use super::{KEYS_MAX, Pattern, Policy, TrustedKey};
use crate::key::PublicKey;
use crate::key_file::KeyFileError;
use isomer_contract::{line_at, shorten};
use jiff::civil::Time;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use value::{integer, items, parsed, string, table, time, unknown, wrong};

const TOP_KEYS: [&str; 5] = ["key", "threshold", "revoked", "minimum-engine", "minimum-counter"];
const KEY_KEYS: [&str; 6] = ["name", "file", "pem", "not-before", "not-after", "modules"];
const REVOKED_KEYS: [&str; 2] = ["keys", "digests"];

/// The longest name of a key.
const NAME_SIZE_BYTES_MAX: usize = 256;
const NAME: &str = "at most 256 bytes, without control characters";
const NAMES: &str = "names in a list, in which `*` matches any characters";

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
