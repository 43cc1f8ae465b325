//! In: one value of a policy's TOML. Out: what it means, or a problem that says what was found and expected. Never here: a
//! line, a key's meaning.

use crate::policy::error::PolicyProblem;
use isomer_contract::{nearest, shorten};
use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::Offset;
use std::str::FromStr;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// How a time is written.
pub(super) const DATE: &str = "a date, 2026-01-31, or a time with its offset, 2026-01-31T12:00:00Z";

pub(super) fn unknown(key: &str, table: &'static str, known: &[&'static str]) -> PolicyProblem {
    let nearest = nearest(key, known.iter().copied()).map(str::to_owned);
    PolicyProblem::UnknownKey { key: shorten(key), table, nearest }
}

pub(super) fn wrong(key: &'static str, value: &Spanned<DeValue<'_>>, expected: &'static str) -> PolicyProblem {
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

pub(super) fn string<'a>(key: &'static str, value: &'a Spanned<DeValue<'_>>) -> Result<&'a str, PolicyProblem> {
    value.get_ref().as_str().ok_or_else(|| wrong(key, value, "a string"))
}

pub(super) fn parsed<T: FromStr>(
    key: &'static str,
    value: &Spanned<DeValue<'_>>,
    expected: &'static str,
) -> Result<T, PolicyProblem> {
    value.get_ref().as_str().and_then(|text| text.parse().ok()).ok_or_else(|| wrong(key, value, expected))
}

pub(super) fn integer(value: &Spanned<DeValue<'_>>) -> Option<u64> {
    let number = value.get_ref().as_integer()?;
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

pub(super) fn table<'a, 'i>(
    key: &'static str,
    value: &'a Spanned<DeValue<'i>>,
) -> Result<&'a DeTable<'i>, PolicyProblem> {
    value.get_ref().as_table().ok_or_else(|| wrong(key, value, "a table"))
}

pub(super) fn items<'a, 'i>(
    key: &'static str,
    value: &'a Spanned<DeValue<'i>>,
    expected: &'static str,
) -> Result<&'a [Spanned<DeValue<'i>>], PolicyProblem> {
    value.get_ref().as_array().map(|array| &array[..]).ok_or_else(|| wrong(key, value, expected))
}

/// A time, or `of_day` on a date in UTC. Either may be a string; a time without an offset has no meaning.
pub(super) fn time(key: &'static str, value: &Spanned<DeValue<'_>>, of_day: Time) -> Result<Timestamp, PolicyProblem> {
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
