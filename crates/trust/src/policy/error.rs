//! What can be wrong with a policy: each problem names what was found, what was expected, and what to do.

use super::KEYS_MAX;
use crate::key::KeyError;
use crate::key_file::KeyFileError;
use isomer_contract::Hinted;
use std::fmt;

/// A problem, and the line that has it.
#[derive(Debug)]
pub struct PolicyError {
    /// The file, as the caller named it.
    pub path: String,
    /// The line, from 1, of problems that have one.
    pub line: Option<usize>,
    /// What is wrong.
    pub problem: PolicyProblem,
}

/// What is wrong with a policy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyProblem {
    /// The file cannot be read.
    #[error(transparent)]
    Unreadable(KeyFileError),
    /// The text is not TOML.
    #[error("{0}")]
    Toml(String),
    /// A key that policies do not have.
    #[error("unknown key `{key}`{}", in_table(.table))]
    UnknownKey {
        /// As typed.
        key: String,
        /// Its table, empty for the top.
        table: &'static str,
        /// The key that was probably meant.
        nearest: Option<String>,
    },
    /// A value of the wrong type, or not one of those that are possible.
    #[error("`{key}` is {found}; expected {expected}")]
    WrongValue {
        /// The key.
        key: &'static str,
        /// The value.
        found: String,
        /// The values that are possible.
        expected: &'static str,
    },
    /// A trusted key without a name.
    #[error("a [[key]] has no `name`")]
    NoName,
    /// A trusted key that is in no file and no PEM, or in both.
    #[error("the key `{name}` has {found}; expected either")]
    FileOrPem {
        /// Its name.
        name: String,
        /// What it has.
        found: &'static str,
    },
    /// Two trusted keys with the same name.
    #[error("two keys are called `{0}`")]
    DuplicateName(String),
    /// The PEM of a trusted key does not parse.
    #[error("the PEM of `{name}` is not a valid public key")]
    Pem {
        /// The key's name.
        name: String,
        /// What is wrong with it.
        #[source]
        error: KeyError,
    },
    /// The file of a trusted key is not a public key.
    #[error(transparent)]
    KeyFile(KeyFileError),
    /// A time whose end is before its beginning.
    #[error("the key `{name}` is never valid: `not-after` is before `not-before`")]
    NeverValid {
        /// Its name.
        name: String,
    },
    /// It trusts no key.
    #[error("expected at least one [[key]], found none")]
    NoKeys,
    /// It trusts too many keys.
    #[error("expected at most {KEYS_MAX} keys, found {found}")]
    TooManyKeys {
        /// How many.
        found: usize,
    },
    /// More signatures required than there are keys.
    #[error("`threshold` is {threshold}, and {} not revoked", given(*.keys))]
    Unreachable {
        /// How many must sign.
        threshold: usize,
        /// How many can.
        keys: usize,
    },
}

fn given(keys: usize) -> String {
    if keys == 1 { "only 1 key is".to_owned() } else { format!("only {keys} different keys are") }
}

fn in_table(table: &str) -> String {
    if table.is_empty() { String::new() } else { format!(" in [{table}]") }
}

impl Hinted for PolicyError {
    fn hint(&self) -> Option<String> {
        match &self.problem {
            PolicyProblem::UnknownKey { nearest: Some(nearest), .. } => Some(format!("did you mean `{nearest}`?")),
            PolicyProblem::Pem { error, .. } => error.hint(),
            PolicyProblem::KeyFile(error) => error.hint(),
            PolicyProblem::NoName => Some("messages use it: `name = \"farm 2026\"`".to_owned()),
            PolicyProblem::FileOrPem { .. } => Some(
                "`file = \"farm.pub\"` is relative to the policy; `pem = \"\"\"…\"\"\"` holds the key itself"
                    .to_owned(),
            ),
            PolicyProblem::NoKeys => {
                Some("name a public key: `[[key]]`, `name = \"farm 2026\"`, `file = \"farm-2026.pub\"`".to_owned())
            }
            _ => None,
        }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            // It names the file itself.
            None if matches!(self.problem, PolicyProblem::Unreadable(_)) => write!(f, "{}", self.problem),
            Some(line) => write!(f, "{}:{line}: {}", self.path, self.problem),
            None => write!(f, "{}: {}", self.path, self.problem),
        }
    }
}

impl std::error::Error for PolicyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.problem)
    }
}
