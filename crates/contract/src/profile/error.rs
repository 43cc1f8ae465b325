//! What can be wrong with a profile: each problem names what was found and expected, and what to do about it.

use crate::Hinted;
use crate::isa::Arch;
use crate::name::{NameError, OVERLAY, split_target};
use std::fmt;

/// A problem and its location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileError {
    /// The file, as it was named.
    pub path: String,
    /// The line, from 1, where the problem has one.
    pub line: Option<usize>,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a profile.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The file's stem is not a valid target name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The text is not valid TOML.
    #[error("{0}")]
    Toml(String),
    /// An unknown key.
    #[error("unknown key `{key}`{}", in_table(.table))]
    UnknownKey {
        /// As typed.
        key: String,
        /// Its table, empty for the top level.
        table: &'static str,
        /// The nearest key, and its table.
        nearest: Option<String>,
    },
    /// A value of the wrong type, or not one of the valid words.
    #[error("`{key}` is {found}; expected {expected}")]
    WrongValue {
        /// The key.
        key: String,
        /// The value.
        found: String,
        /// The valid values.
        expected: String,
    },
    /// No profile of the inheritance chain has a triple.
    #[error("neither `triple` nor `inherits` is given")]
    NoTriple,
    /// A triple that does not parse or is not supported.
    #[error("`{found}` is not a triple that isomer compiles for")]
    UnknownTriple {
        /// As typed.
        found: String,
        /// The nearest triple.
        nearest: Option<String>,
    },
    /// A triple in another spelling than target-lexicon's.
    #[error("the triple `{found}` is written `{canonical}` in full")]
    TripleNotCanonical {
        /// As typed.
        found: String,
        /// In full.
        canonical: String,
    },
    /// A child for another platform than its parent.
    #[error("the triple `{found}` differs from the inherited `{inherited}`")]
    OtherTriple {
        /// This profile's.
        found: String,
        /// The parent's.
        inherited: String,
    },
    /// No profile has the name in `inherits`.
    #[error("inherits from `{parent}`, which is neither shipped nor a file beside this one")]
    UnknownParent {
        /// As typed.
        parent: String,
        /// The nearest name.
        nearest: Option<String>,
    },
    /// A cycle of inheritance.
    #[error("inherits in a circle: {} -> {back_to}", .path.join(" -> "))]
    Cycle {
        /// The profiles on the way.
        path: Vec<String>,
        /// Where it closes.
        back_to: String,
    },
    /// Too many levels of inheritance.
    #[error("inherits through more than {max} profiles")]
    TooDeep {
        /// The limit.
        max: usize,
    },
    /// An extension that the table has no row for.
    #[error("unknown ISA extension `{name}` for {arch}")]
    UnknownExtension {
        /// As typed.
        name: String,
        /// The profile's architecture.
        arch: Arch,
        /// The nearest name.
        nearest: Option<String>,
    },
    /// A real extension that Cranelift never uses.
    #[error("`{name}` is an extension of {arch} that Cranelift does not use")]
    UnusedExtension {
        /// As typed.
        name: String,
        /// The profile's architecture.
        arch: Arch,
    },
    /// An extension of another architecture.
    #[error("`{name}` is an extension of {of}; this profile is for {arch}")]
    OtherArchitecture {
        /// As typed.
        name: String,
        /// Whose extension it is.
        of: Arch,
        /// The profile's architecture.
        arch: Arch,
    },
    /// The set lacks an extension that one of its members implies.
    #[error("`{extension}` implies `{implied}`, which the profile lacks")]
    NotClosed {
        /// The extension that implies.
        extension: &'static str,
        /// The one that is missing.
        implied: &'static str,
    },
    /// A proposal that cannot be compiled for this architecture.
    #[error("`{key} = true` is not supported: {reason}")]
    Unsupported {
        /// The proposal's key.
        key: &'static str,
        /// Why.
        reason: String,
    },
    /// A key of profiles in an overlay.
    #[error("`{key}` is for profiles; an overlay has a description and settings")]
    NotOfOverlays {
        /// The key.
        key: &'static str,
    },
    /// An overlay that changes nothing.
    #[error("the overlay states no setting")]
    NoSetting,
    /// A shipped overlay has the name.
    #[error("`{name}` is the name of a shipped overlay")]
    ShippedOverlay {
        /// The file's stem.
        name: String,
    },
    /// Settings that exclude each other.
    #[error("`{key}` clashes with {with}")]
    Clash {
        /// The key at fault.
        key: &'static str,
        /// What it clashes with and what to do.
        with: &'static str,
    },
}

fn in_table(table: &str) -> String {
    if table.is_empty() { String::new() } else { format!(" in [{table}]") }
}

impl Hinted for ProfileError {
    fn hint(&self) -> Option<String> {
        match &self.problem {
            Problem::Name(error) => error.hint(),
            Problem::UnknownKey { nearest: Some(nearest), .. } => Some(format!("did you mean {nearest}?")),
            Problem::UnknownKey { .. } => Some("a shipped profile, written out, has every key".to_owned()),
            Problem::UnknownParent { parent, .. } if parent.contains(OVERLAY) => {
                let (profile, _) = split_target(parent);
                Some(format!("inherit from `{profile}`; overlays go behind the name of a target"))
            }
            Problem::UnknownParent { nearest: Some(nearest), .. }
            | Problem::UnknownExtension { nearest: Some(nearest), .. }
            | Problem::UnknownTriple { nearest: Some(nearest), .. } => Some(format!("did you mean `{nearest}`?")),
            Problem::UnknownTriple { nearest: None, .. } => {
                Some("the architectures are x86_64, aarch64, riscv64gc, s390x, pulley64 and pulley64be".to_owned())
            }
            Problem::TripleNotCanonical { canonical, .. } => Some(format!("write `triple = \"{canonical}\"`")),
            Problem::NotClosed { implied, .. } => Some(format!("add \"{implied}\" to `isa`")),
            Problem::UnusedExtension { name, .. } => {
                Some(format!("remove \"{name}\" from `isa`: the code would be the same"))
            }
            Problem::NoTriple => Some(
                "start from a shipped profile, `inherits = \"x86-64-v3\"`, or state a platform, \
                 `triple = \"x86_64-unknown-linux-gnu\"`; an overlay follows a target, `x86-64-v3+./OVERLAY.toml`"
                    .to_owned(),
            ),
            Problem::NotOfOverlays { key } => Some(format!(
                "state `{key}` in a profile, and name that before the overlay: PROFILE.toml{OVERLAY}OVERLAY.toml"
            )),
            Problem::NoSetting => Some("settings are in [optimize], [codegen] and [wasm], as a profile's".to_owned()),
            Problem::ShippedOverlay { name } => {
                Some(format!("rename the file, or write `{OVERLAY}{name}` for the shipped one"))
            }
            Problem::WrongValue { key, found, .. } if key == "strategy" && found.contains("winch") => {
                Some("a runtime without a compiler does not load what Winch compiled".to_owned())
            }
            _ => None,
        }
    }
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.path, self.problem),
            None => write!(f, "{}: {}", self.path, self.problem),
        }
    }
}

impl std::error::Error for ProfileError {}
