//! What can be wrong with a policy: each problem names what was found and what was expected, and what mends it.

use super::KEYS_MAX;
use crate::key::KeyError;
use crate::keys::KeyFileError;
use isomer_contract::Hinted;
use std::fmt;

/// A problem with its place.
#[derive(Debug)]
pub struct PolicyError {
    /// The file, as it was named.
    pub path: String,
    /// The line, from 1, where the problem has one.
    pub line: Option<usize>,
    /// What is wrong.
    pub problem: PolicyProblem,
}

/// What is wrong with a policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyProblem {
    /// The file can't be read.
    #[error("{0}")]
    Unreadable(KeyFileError),
    /// The text is no TOML.
    #[error("{0}")]
    Toml(String),
    /// A key that no policy has.
    #[error("unknown key `{key}`{}", in_table(.table))]
    UnknownKey {
        /// As typed.
        key: String,
        /// The table it stands in, empty for the top.
        table: &'static str,
        /// The key that was probably meant.
        nearest: Option<String>,
    },
    /// A value of the wrong type or outside its words.
    #[error("`{key}` is {found}; expected {expected}")]
    WrongValue {
        /// The key.
        key: &'static str,
        /// What stands there.
        found: String,
        /// What may stand there.
        expected: &'static str,
    },
    /// A trusted key without a name.
    #[error("a [[key]] has no `name`")]
    NoName,
    /// A trusted key that is nowhere, or in two places.
    #[error("the key `{name}` has {found}; expected either")]
    FileOrPem {
        /// Its name.
        name: String,
        /// What it has.
        found: &'static str,
    },
    /// Two trusted keys of one name.
    #[error("two keys are called `{0}`")]
    DuplicateName(String),
    /// The PEM of a trusted key does not parse.
    #[error("the PEM of `{name}` {error}")]
    Pem {
        /// The key's name.
        name: String,
        /// What is wrong with it.
        error: KeyError,
    },
    /// The file of a trusted key is no public key.
    #[error("{0}")]
    KeyFile(KeyFileError),
    /// A time that ends before it begins.
    #[error("the key `{name}` is never valid: `not-after` lies before `not-before`")]
    NeverValid {
        /// Its name.
        name: String,
    },
    /// It trusts nobody.
    #[error("no [[key]] is given")]
    NoKeys,
    /// It trusts too many.
    #[error("{found} keys are given, expected at most {KEYS_MAX}")]
    TooManyKeys {
        /// How many.
        found: usize,
    },
    /// More signatures asked for than there can be.
    #[error("`threshold` is {threshold}, but {} not revoked", given(*.keys))]
    Unreachable {
        /// How many must sign.
        threshold: usize,
        /// How many can.
        keys: usize,
    },
}

fn given(keys: usize) -> String {
    if keys == 1 { "1 key is given that is".to_owned() } else { format!("{keys} different keys are given that are") }
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
            PolicyProblem::NoName => Some("messages call the key by it: `name = \"farm 2026\"`".to_owned()),
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

impl std::error::Error for PolicyError {}
