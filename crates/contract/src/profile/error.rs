//! What can be wrong with a profile: each problem names what was found and what was expected, and what mends it.

use crate::Hinted;
use crate::isa::Arch;
use crate::name::NameError;
use std::fmt;

/// A problem with its place.
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
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The file's stem is not a valid target name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The text is no TOML.
    #[error("{0}")]
    Toml(String),
    /// A key that no profile has.
    #[error("unknown key `{key}`{}", in_table(.table))]
    UnknownKey {
        /// As typed.
        key: String,
        /// The table it stands in, empty for the top.
        table: &'static str,
        /// The key that was probably meant, and its table.
        nearest: Option<String>,
    },
    /// A value of the wrong type or outside its words.
    #[error("`{key}` is {found}; expected {expected}")]
    WrongValue {
        /// The key.
        key: String,
        /// What stands there.
        found: String,
        /// What may stand there.
        expected: String,
    },
    /// No profile of the chain says which platform it is for.
    #[error("neither `triple` nor `inherits` is given")]
    NoTriple,
    /// A triple that does not parse, or that nobody has compiled for.
    #[error("`{found}` is no triple that isomer compiles for")]
    UnknownTriple {
        /// As typed.
        found: String,
        /// The triple that was probably meant.
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
        /// The name that was probably meant.
        nearest: Option<String>,
    },
    /// Inheritance that never ends.
    #[error("inherits in a circle: {} -> {back_to}", .path.join(" -> "))]
    Cycle {
        /// The profiles on the way.
        path: Vec<String>,
        /// Where it closes.
        back_to: String,
    },
    /// Inheritance deeper than anybody needs.
    #[error("inherits through more than {max} profiles")]
    TooDeep {
        /// How many are taken.
        max: usize,
    },
    /// An extension that isomer has no row for.
    #[error("unknown ISA extension `{name}` for {arch}")]
    UnknownExtension {
        /// As typed.
        name: String,
        /// The profile's architecture.
        arch: Arch,
        /// The name that was probably meant.
        nearest: Option<String>,
    },
    /// An extension that CPUs have and Cranelift never uses.
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
    /// The set lacks what one of its members implies.
    #[error("`{extension}` implies `{implied}`, which the profile lacks")]
    NotClosed {
        /// The extension that implies.
        extension: &'static str,
        /// The one that is missing.
        implied: &'static str,
    },
    /// A proposal that cannot be compiled for this architecture.
    #[error("`{key} = true` cannot be: {reason}")]
    Unsupported {
        /// The proposal's key.
        key: &'static str,
        /// Why.
        reason: String,
    },
    /// Settings that do not go together.
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
            Problem::UnknownKey { .. } => Some("`isomer targets show NAME` prints every key there is".to_owned()),
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
                 `triple = \"x86_64-unknown-linux-gnu\"`"
                    .to_owned(),
            ),
            Problem::WrongValue { key, found, .. } if key == "strategy" && found.contains("winch") => {
                Some("an artifact made by Winch loads in no runtime without a compiler".to_owned())
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
