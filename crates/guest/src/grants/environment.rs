//! In: `NAME=VALUE`, `NAME`, patterns of names, the text of an environment file, and the environment of this process as
//! data. Out: the guest's environment. Never here: this process's environment itself, which is its caller's to give.

use super::{GrantError, Grants};
use isomer_contract::line_at;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// An environment variable of a guest.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value; without one it is this process's, if that has one.
    pub value: Option<String>,
}

impl FromStr for Variable {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Variable, GrantError> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        if !is_valid(name, value.as_deref().unwrap_or_default()) {
            return Err(GrantError::new("expected NAME or NAME=VALUE"));
        }
        Ok(Variable { name: name.to_owned(), value })
    }
}

/// Whether guests of all versions of WASI see the same variable.
fn is_valid(name: &str, value: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
}

impl TryFrom<String> for Variable {
    type Error = GrantError;

    fn try_from(text: String) -> Result<Variable, GrantError> {
        text.parse()
    }
}

/// A pattern of names, in which `*` stands for any characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// The pattern that every name matches.
    pub fn all() -> Pattern {
        Pattern("*".to_owned())
    }

    /// Whether `name` matches.
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            let Some((_, after)) = rest.split_once(part) else { return false };
            rest = after;
        }
        rest.ends_with(last)
    }
}

impl FromStr for Pattern {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Pattern, GrantError> {
        if text.is_empty() || text.contains('=') {
            return Err(GrantError::new("expected a variable's name, in which `*` stands for any characters"));
        }
        Ok(Pattern(text.to_owned()))
    }
}

/// Why a guest's environment cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// A file cannot be read.
    #[error("cannot read the environment file `{}`", .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A line of a file is not `NAME=VALUE`.
    #[error("`{}`, line {line}: expected NAME=VALUE or a comment that begins with `#`", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A variable of this process is not UTF-8.
    #[error("the value of the variable `{name}` is not UTF-8, as guests require; it is `{value}`")]
    NotUtf8 {
        /// Its name.
        name: String,
        /// Its value, with replacements.
        value: String,
    },
}

impl Grants {
    /// The guest's environment, by name. `read` gives a file's text; `process` is the environment of this process.
    ///
    /// # Errors
    /// When a file cannot be read or holds something else, or an inherited value is not UTF-8.
    pub fn environment(
        &self,
        read: impl Fn(&std::path::Path) -> Result<String, Box<dyn std::error::Error + Send + Sync>>,
        process: &BTreeMap<OsString, OsString>,
    ) -> Result<BTreeMap<String, String>, EnvironmentError> {
        let mut environment = BTreeMap::new();
        for (name, value) in process {
            // A name that is not UTF-8 matches no pattern.
            let Some(name) = name.to_str() else { continue };
            if self.inherit_env.iter().any(|pattern| pattern.matches(name)) {
                environment.insert(name.to_owned(), utf8(name, value)?);
            }
        }
        for path in &self.environment_files {
            let unreadable = |source| EnvironmentError::Unreadable { path: path.clone(), source };
            let text = read(path).map_err(unreadable)?;
            environment.extend(of_file(path, &text)?);
        }
        for Variable { name, value } in &self.environment {
            match value {
                Some(value) => environment.insert(name.clone(), value.clone()),
                // As wasmtime: a variable that is not set here is not set there.
                None => match process.get(&OsString::from(name)) {
                    Some(value) => environment.insert(name.clone(), utf8(name, value)?),
                    None => continue,
                },
            };
        }
        Ok(environment)
    }
}

fn utf8(name: &str, value: &OsString) -> Result<String, EnvironmentError> {
    value
        .to_str()
        .map(str::to_owned)
        .ok_or_else(|| EnvironmentError::NotUtf8 { name: name.to_owned(), value: value.to_string_lossy().into_owned() })
}

/// As docker's `--env-file`: no quotes and no expansion, so that no value is guessed at.
fn of_file(path: &std::path::Path, text: &str) -> Result<Vec<(String, String)>, EnvironmentError> {
    let mut variables = Vec::new();
    let mut offset = 0;
    for line in text.split('\n') {
        let content = line.strip_suffix('\r').unwrap_or(line);
        if !content.trim().is_empty() && !content.trim_start().starts_with('#') {
            match content.split_once('=') {
                Some((name, value)) if is_valid(name, value) && !name.contains(char::is_whitespace) => {
                    variables.push((name.to_owned(), value.to_owned()));
                }
                _ => return Err(EnvironmentError::Line { path: path.to_owned(), line: line_at(text, offset) }),
            }
        }
        offset += line.len() + 1;
    }
    Ok(variables)
}

/// `["A=1", "B"]`, or a table `{ A = "1" }`.
pub(super) fn variables<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Variable>, D::Error> {
    struct Variables;

    impl<'de> Visitor<'de> for Variables {
        type Value = Vec<Variable>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of NAME or NAME=VALUE, or a table of names and values")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<Variable>, A::Error> {
            let mut variables = Vec::new();
            while let Some(variable) = items.next_element()? {
                variables.push(variable);
            }
            Ok(variables)
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Vec<Variable>, A::Error> {
            let mut variables = Vec::new();
            while let Some((name, value)) = entries.next_entry::<String, String>()? {
                if !is_valid(&name, &value) {
                    return Err(serde::de::Error::custom(format!(
                        "`{name}` is not the name of a variable with a value"
                    )));
                }
                variables.push(Variable { name, value: Some(value) });
            }
            Ok(variables)
        }
    }

    deserializer.deserialize_any(Variables)
}

/// `true` for all, `false` for none, a pattern, or several.
pub(super) fn patterns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Pattern>, D::Error> {
    struct Patterns;

    impl<'de> Visitor<'de> for Patterns {
        type Value = Vec<Pattern>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("true, false, or patterns of names")
        }

        fn visit_bool<E>(self, all: bool) -> Result<Vec<Pattern>, E> {
            Ok(if all { vec![Pattern::all()] } else { Vec::new() })
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<Pattern>, E> {
            text.parse().map(|pattern| vec![pattern]).map_err(E::custom)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<Pattern>, A::Error> {
            let mut patterns = Vec::new();
            while let Some(text) = items.next_element::<String>()? {
                patterns.push(text.parse().map_err(serde::de::Error::custom)?);
            }
            Ok(patterns)
        }
    }

    deserializer.deserialize_any(Patterns)
}
