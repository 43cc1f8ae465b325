//! The types of settings. In: a value in a profile, or one in an artifact's requirements. Out: the setting's own type, and
//! back.

use crate::Size;
use serde::{Deserialize, Serialize};
use std::fmt;
use toml::de::DeValue;

/// A setting's value, independent of its type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// On or off.
    Bool(bool),
    /// A number; bytes for sizes.
    Integer(u64),
    /// One of a setting's words.
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(value) => value.fmt(f),
            Value::Integer(value) => value.fmt(f),
            Value::Text(value) => value.fmt(f),
        }
    }
}

/// A type that a setting can have.
pub(super) trait SettingType: Sized + Copy {
    /// The valid values, for the message about a wrong one.
    fn expected() -> String;
    /// Reads a value in a profile.
    fn parse(value: &DeValue<'_>) -> Result<Self, String>;
    fn value(self) -> Value;
    /// As it would be written in a profile.
    fn show(self) -> String;
}

/// A type of settings that engines have and artifacts record.
pub(super) trait EngineSetting: SettingType {
    /// The type in wasmtime's configuration.
    type Engine;
    /// What an artifact records when the setting does not concern it: every engine loads it.
    const ABSENT: Option<&'static str> = None;

    /// The values that an engine can have, for messages.
    fn possible() -> String;
    /// The reverse of [`SettingType::value`].
    fn of_value(value: &Value) -> Option<Self>;
    fn engine(self) -> Self::Engine;
}

impl SettingType for bool {
    fn expected() -> String {
        "true or false".to_owned()
    }
    fn parse(value: &DeValue<'_>) -> Result<bool, String> {
        value.as_bool().ok_or_else(|| format!("a {}", value.type_str()))
    }
    fn value(self) -> Value {
        Value::Bool(self)
    }
    fn show(self) -> String {
        self.to_string()
    }
}

impl SettingType for Size {
    fn expected() -> String {
        format!("a size such as \"4GiB\", \"32MiB\" or 65536, in B, KiB, MiB, GiB or TiB, up to {}", Size::MAX)
    }
    fn parse(value: &DeValue<'_>) -> Result<Size, String> {
        match value {
            DeValue::String(text) => Size::parse(text),
            DeValue::Integer(number) => match u64::from_str_radix(number.as_str(), number.radix()) {
                Ok(bytes) => Size::parse(&bytes.to_string()),
                Err(_) => Err(format!("`{}`", number.as_str())),
            },
            other => Err(format!("a {}", other.type_str())),
        }
    }
    fn value(self) -> Value {
        Value::Integer(self.0)
    }
    fn show(self) -> String {
        format!("\"{self}\"")
    }
}

impl EngineSetting for bool {
    type Engine = bool;

    fn possible() -> String {
        Self::expected()
    }
    fn of_value(value: &Value) -> Option<bool> {
        if let Value::Bool(value) = value { Some(*value) } else { None }
    }
    fn engine(self) -> bool {
        self
    }
}

impl EngineSetting for Size {
    type Engine = u64;

    fn possible() -> String {
        "a number of bytes".to_owned()
    }
    fn of_value(value: &Value) -> Option<Size> {
        if let Value::Integer(bytes) = value { Some(Size(*bytes)) } else { None }
    }
    fn engine(self) -> u64 {
        self.0
    }
}
