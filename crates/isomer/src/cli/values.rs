//! The values that options take: sizes, durations, shares, pairs. In: what was typed. Out: the value, or what was expected.
//! Never here: a secret in a message.

use isomer_contract::Size;
use std::time::Duration;

/// A size that is not 0.
pub(super) fn size(text: &str) -> Result<Size, String> {
    match Size::parse(text) {
        Ok(Size(0)) => Err("it is 0; expected a size such as `4GiB`".to_owned()),
        Ok(size) => Ok(size),
        Err(found) => Err(format!("it is {found}; expected a size such as `512MiB` or `4GiB`")),
    }
}

pub(super) fn size_or_zero(text: &str) -> Result<Size, String> {
    if text == "0" { Ok(Size(0)) } else { size(text) }
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let milliseconds = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, milliseconds)| *milliseconds);
    match (number.parse::<u64>(), milliseconds) {
        (Ok(number @ 1..=1_000_000), Some(milliseconds)) => Ok(Duration::from_millis(number * milliseconds)),
        _ => Err("expected a duration such as `500ms`, `90s`, `5m` or `1h`".to_owned()),
    }
}

pub(super) fn percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse::<u8>().ok().filter(|number| *number <= 100);
    number.ok_or_else(|| "expected a share such as `5%`, up to `100%`".to_owned())
}

/// A name and its value.
pub(super) fn pair(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    (!name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
}

/// A platform property of remote workers.
pub(super) fn property(text: &str) -> Result<(String, String), String> {
    pair(text).ok_or_else(|| "expected NAME=VALUE, such as `OSFamily=linux`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        for (text, milliseconds) in [("1ms", 1), ("90s", 90_000), ("5m", 300_000), ("1h", 3_600_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "5", "m", "0s", "-1s", "1.5s", "1d", "99999999999999999999s", "5 m"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shares_are_at_most_the_whole() {
        assert_eq!((percent("5%"), percent("100"), percent("0%")), (Ok(5), Ok(100), Ok(0)));
        for text in ["", "101%", "-1%", "5 %", "0.5%"] {
            assert!(percent(text).is_err(), "{text}");
        }
    }

    #[test]
    fn pairs_have_a_name() {
        assert_eq!(pair(" a = b=c "), Some(("a".to_owned(), "b=c".to_owned())));
        assert_eq!((pair("=b"), pair("a")), (None, None));
    }
}
