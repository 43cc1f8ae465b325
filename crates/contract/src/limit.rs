//! Limits of guests that only code compiled for them keeps. In: requirements. Out: whether an artifact keeps a limit, and the
//! overlay with which it would.

use crate::settings::Value;
use crate::{Cost, Requirements};
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// A limit of a guest that only code compiled for it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Limit {
    /// A guest ends at a deadline, by epoch interruption.
    Deadline,
    /// A guest ends after a bounded amount of work, by fuel.
    Fuel,
}

impl Limit {
    /// Every limit.
    pub const ALL: [Limit; 2] = [Limit::Deadline, Limit::Fuel];

    /// Its name in options, which [`FromStr`] reads.
    pub fn name(self) -> &'static str {
        match self {
            Limit::Deadline => "deadline",
            Limit::Fuel => "fuel",
        }
    }

    /// The overlay with which any profile keeps it.
    pub fn overlay(self) -> &'static str {
        match self {
            Limit::Deadline => "epoch",
            Limit::Fuel => "fuel",
        }
    }

    /// What the code must be compiled with.
    pub(crate) fn needs(self) -> &'static str {
        match self {
            Limit::Deadline => "epoch interruption",
            Limit::Fuel => "fuel",
        }
    }

    /// What keeping it costs.
    pub fn cost(self) -> Cost {
        match self {
            Limit::Deadline => Cost::EpochInterruption,
            Limit::Fuel => Cost::Fuel,
        }
    }

    /// Whether an artifact with these requirements keeps it.
    pub fn is_kept_by(self, requirements: &Requirements) -> bool {
        let key = match self {
            Limit::Deadline => "epoch-interruption",
            Limit::Fuel => "fuel",
        };
        requirements.tunables.get(key) == Some(&Value::Bool(true))
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Limit, String> {
        let found = Limit::ALL.into_iter().find(|limit| limit.name() == text);
        found.ok_or_else(|| "expected `deadline` or `fuel`".to_owned())
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::Deadline => "a deadline",
            Limit::Fuel => "a limit of fuel",
        })
    }
}
