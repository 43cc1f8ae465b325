//! Sizes and times of a settings file, for limits that always have a value. In: `16MiB`, `30s`. Out: bytes, durations.

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
    match Quantity::deserialize(from) {
        Ok(Quantity::Text(text)) => parse_duration(&text).map_err(D::Error::custom),
        _ => Err(D::Error::custom("expected a duration such as \"500ms\", \"90s\", \"5m\" or \"1h\"")),
    }
}
