//! In: `500ms`, `256MiB`, `1_000_000`; numbers of TOML. Out: durations, bytes, counts, none of them 0. Never here: a duration
//! without its unit.

use crate::grants::GrantError;
use isomer_contract::Size;
use serde::de::{Deserializer, Visitor};
use std::fmt;
use std::time::Duration;

/// Reads `500ms`, `30s`, `5m` or `1h`.
///
/// # Errors
/// For anything else, and for 0.
pub fn parse_duration(text: &str) -> Result<Duration, GrantError> {
    const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let milliseconds = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, milliseconds)| *milliseconds);
    match (number.parse::<u64>(), milliseconds) {
        (Ok(number @ 1..=1_000_000_000), Some(milliseconds)) => Ok(Duration::from_millis(number * milliseconds)),
        _ => Err(GrantError::new(format!(
            "`{text}` is not a duration; expected one such as `500ms`, `90s`, `5m` or `1h`"
        ))),
    }
}

/// Reads `256MiB`, or a number of bytes.
///
/// # Errors
/// For anything else, and for 0.
pub fn parse_size(text: &str) -> Result<u64, GrantError> {
    match Size::parse(text) {
        Ok(Size(0)) => Err(GrantError::new("it is 0; expected a size such as `4GiB`")),
        Ok(Size(size)) => Ok(size),
        Err(found) => Err(GrantError::new(format!("it is {found}; expected a size such as `512MiB` or `4GiB`"))),
    }
}

/// Reads `1000000` or `1_000_000`.
///
/// # Errors
/// For anything else, and for 0.
pub fn parse_count(text: &str) -> Result<u64, GrantError> {
    match text.replace('_', "").parse() {
        Ok(count @ 1..) if !text.starts_with(['_', '+']) => Ok(count),
        _ => Err(GrantError::new(format!("`{text}` is not a number from 1 on"))),
    }
}

type Parse<T> = fn(&str) -> Result<T, GrantError>;

struct Written<T> {
    expected: &'static str,
    parse: Parse<T>,
    numbers: bool,
}

impl<T> Visitor<'_> for Written<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Option<T>, E> {
        (self.parse)(text).map(Some).map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Option<T>, E> {
        if !self.numbers {
            return Err(E::invalid_type(serde::de::Unexpected::Signed(number), &self));
        }
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Option<T>, E> {
        if !self.numbers {
            return Err(E::invalid_type(serde::de::Unexpected::Unsigned(number), &self));
        }
        self.visit_str(&number.to_string())
    }
}

pub(super) fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    from.deserialize_any(Written { expected: "a duration such as \"30s\"", parse: parse_duration, numbers: false })
}

pub(super) fn size<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    from.deserialize_any(Written { expected: "a size such as \"256MiB\"", parse: parse_size, numbers: true })
}

pub(super) fn count<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    from.deserialize_any(Written { expected: "a number from 1 on", parse: parse_count, numbers: true })
}
