//! Sizes, times and counts of a settings file, for limits that always have a value. In: `16MiB`, `30s`, `256`. Out: bytes,
//! durations, numbers.

use super::{parse_duration, parse_size};
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use std::time::Duration;

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a size such as \"64KiB\" or \"16MiB\"")]
enum Quantity {
    Number(u64),
    Text(String),
}

/// A size in bytes, with or without a unit.
pub(crate) fn size<'de, D: Deserializer<'de>, T: TryFrom<u64>>(from: D) -> Result<T, D::Error> {
    let text = match Quantity::deserialize(from)? {
        Quantity::Number(number) => number.to_string(),
        Quantity::Text(text) => text,
    };
    let bytes = parse_size(&text).map_err(D::Error::custom)?;
    T::try_from(bytes).map_err(|_| D::Error::custom(format!("{bytes} bytes are more than this machine can address")))
}

/// A duration, always with a unit.
pub(crate) fn time<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    const EXPECTED: &str = "expected a duration such as \"500ms\", \"90s\", \"5m\" or \"1h\"";
    match Quantity::deserialize(from) {
        Ok(Quantity::Text(text)) => parse_duration(&text).map_err(D::Error::custom),
        Ok(Quantity::Number(number)) => Err(D::Error::custom(format!("{EXPECTED}, found {number} without a unit"))),
        Err(_) => Err(D::Error::custom(EXPECTED)),
    }
}

/// More of anything than a server can have at once.
const COUNT_MAX: u64 = u32::MAX as u64;

/// A number from 1 on.
pub(crate) fn count<'de, D: Deserializer<'de>, T: TryFrom<u64>>(from: D) -> Result<T, D::Error> {
    match u64::deserialize(from)? {
        0 => Err(D::Error::custom("it is 0; expected a number from 1 on")),
        number => in_bounds(number),
    }
}

/// A number, 0 for none.
pub(crate) fn count_or_none<'de, D: Deserializer<'de>, T: TryFrom<u64>>(from: D) -> Result<T, D::Error> {
    in_bounds(u64::deserialize(from)?)
}

fn in_bounds<T: TryFrom<u64>, E: Error>(number: u64) -> Result<T, E> {
    let in_bounds = T::try_from(number).ok().filter(|_| number <= COUNT_MAX);
    in_bounds.ok_or_else(|| E::custom(format!("it is {number}; expected at most {COUNT_MAX}")))
}
