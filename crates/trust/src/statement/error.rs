//! What can be wrong with signed bytes that should be a statement: what was found, and what was expected.

use super::SUBJECTS_MAX;
use crate::strict_json::JsonError;
use isomer_contract::Hinted;
use isomer_contract::limits::COUNTER_MAX;
use isomer_contract::name::NameError;

/// Why signed bytes are not a statement about a release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// Not JSON, or of another shape; names that no release can have included.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A statement of another kind.
    #[error("expected the {field} `{expected}`, found `{found}`")]
    OtherType {
        /// The field.
        field: &'static str,
        /// Its value.
        found: String,
        /// The value that is expected.
        expected: &'static str,
    },
    /// It has no subject, or more than any release has.
    #[error("expected 1 to {SUBJECTS_MAX} subjects, found {found}")]
    SubjectCount {
        /// How many there are.
        found: usize,
    },
    /// A subject that is not a module of a version.
    #[error("invalid subject `{name}`: expected NAME:VERSION{}", .error.as_ref().map_or_else(String::new, |error| format!(" ({error})")))]
    Subject {
        /// Its name.
        name: String,
        /// What is wrong with a part of it.
        error: Option<NameError>,
    },
    /// A counter that not every reader of JSON keeps exact.
    #[error("expected a counter of at most {COUNTER_MAX}, found {found}")]
    Counter {
        /// The counter.
        found: u64,
    },
    /// Two subjects, or two inputs, with the same name.
    #[error("it names the {what} `{name}` twice")]
    Duplicate {
        /// Of what.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A subject or input without the digest that isomer computes.
    #[error("expected a sha256 digest of 64 lower-case hexadecimal digits for the {what} `{name}`, found {found}")]
    Digest {
        /// Of what.
        what: &'static str,
        /// Its name.
        name: String,
        /// The digest, or those that it has instead.
        found: String,
    },
}

impl Hinted for StatementError {
    fn hint(&self) -> Option<String> {
        match self {
            StatementError::OtherType { .. } => Some("it was made by another tool, or by a later isomer".to_owned()),
            _ => None,
        }
    }
}
