//! In: `2026-01-31T12:00:00Z`, or a time in TOML. Out: the time that a frozen clock shows.

use super::GrantError;
use serde::Deserialize;
use std::str::FromStr;
use std::time::Duration;

/// The only time that a guest's wall clock shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct FrozenClock {
    /// Since 1970-01-01T00:00:00Z.
    pub since_epoch: Duration,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Time(toml::value::Datetime),
    Text(String),
}

impl TryFrom<Written> for FrozenClock {
    type Error = GrantError;

    fn try_from(written: Written) -> Result<FrozenClock, GrantError> {
        match written {
            Written::Time(time) => time.to_string().parse(),
            Written::Text(text) => text.parse(),
        }
    }
}

impl FromStr for FrozenClock {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<FrozenClock, GrantError> {
        let wrong = || GrantError::new(format!("`{text}` is not a time from 1970 on; expected `2026-01-31T12:00:00Z`"));
        let time: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
        let since_epoch = Duration::try_from(time.as_duration()).map_err(|_| wrong())?;
        Ok(FrozenClock { since_epoch })
    }
}
