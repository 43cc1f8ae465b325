//! The grammar of each kind of name. In: a text. Out: whether it is one, and in words what one consists of. Never here: the
//! text itself, which its type holds.

use std::fmt;

/// What precedes each overlay in the name of a target.
pub const OVERLAY: char = '+';

/// What a name is the name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum NameKind {
    /// A [`ModuleName`](super::ModuleName).
    Module,
    /// A [`Version`](super::Version).
    Version,
    /// A [`ReleaseName`](super::ReleaseName).
    Release,
    /// A [`ProfileName`](super::ProfileName).
    Profile,
    /// A [`TargetName`](super::TargetName).
    Target,
    /// A [`Tag`](super::Tag).
    Tag,
    /// A [`RepositoryName`](super::RepositoryName).
    Repository,
}

impl NameKind {
    /// The longest name of this kind, in bytes.
    pub const fn length_max(self) -> usize {
        match self {
            // In a release directory, a layer's title is `MODULE.TARGET.cwasm.zst`, which clients save as a file.
            NameKind::Module | NameKind::Profile | NameKind::Target => 100,
            // A tag has at most 128; the plain WebAssembly's is the version and `-wasm`.
            NameKind::Version => 100,
            NameKind::Release | NameKind::Tag => 128,
            // The distribution specification asks clients for 255 at most, with the registry's host.
            NameKind::Repository => 255,
        }
    }

    pub(super) fn matches(self, text: &str) -> bool {
        let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let alphanumeric = |b: u8| b.is_ascii_alphanumeric();
        match self {
            NameKind::Module => is_words(text, lower, after_separator),
            NameKind::Version | NameKind::Profile => is_words(text, alphanumeric, after_separator),
            NameKind::Target => text.split(OVERLAY).all(|part| is_words(part, alphanumeric, after_separator)),
            NameKind::Release => {
                let inner = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ' ');
                text.starts_with(char::is_alphanumeric)
                    && text.ends_with(char::is_alphanumeric)
                    && text.chars().all(inner)
            }
            NameKind::Tag => {
                text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
                    && text.bytes().all(|b| alphanumeric(b) || b"._-".contains(&b))
            }
            NameKind::Repository => {
                text.split('/').all(|component| is_words(component, lower, after_repository_separator))
            }
        }
    }

    /// What a name of this kind consists of, for messages.
    pub(super) fn grammar(self) -> &'static str {
        match self {
            NameKind::Module => "lower-case letters and digits, with a single `.`, `_` or `-`, or `--`, between them",
            NameKind::Version | NameKind::Profile => {
                "letters and digits, with a single `.`, `_` or `-`, or `--`, between them"
            }
            NameKind::Target => {
                "letters and digits, with a single `.`, `_` or `-`, or `--`, between them, and overlays after `+`"
            }
            NameKind::Release => "letters and digits, with `.`, `_`, `-`, `/` or spaces between them",
            NameKind::Tag => "letters, digits, `_`, `.` and `-`, the last two not first",
            NameKind::Repository => {
                "lower-case letters and digits, with `.`, `_`, `__` or `-` between them, and `/` between components"
            }
        }
    }
}

impl fmt::Display for NameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NameKind::Module => "module name",
            NameKind::Version => "version",
            NameKind::Release => "release name",
            NameKind::Profile => "profile name",
            NameKind::Target => "target name",
            NameKind::Tag => "tag",
            NameKind::Repository => "repository name",
        })
    }
}

/// Whether `text` is words of letters for which `is_letter` holds, with what `after` removes between two of them.
fn is_words(text: &str, is_letter: impl Fn(u8) -> bool, after: impl Fn(&str) -> Option<&str>) -> bool {
    let mut rest = text;
    loop {
        let length = rest.bytes().take_while(|b| is_letter(*b)).count();
        if length == 0 {
            return false;
        }
        rest = &rest[length..];
        match after(rest) {
            Some(next) => rest = next,
            None => return rest.is_empty(),
        }
    }
}

/// What follows the separator that `rest` begins with, by both specifications.
fn after_separator(rest: &str) -> Option<&str> {
    rest.strip_prefix("--").or_else(|| rest.strip_prefix(['-', '.', '_']))
}

/// The same by the distribution specification alone.
fn after_repository_separator(rest: &str) -> Option<&str> {
    match rest.trim_start_matches('-') {
        next if next.len() < rest.len() => Some(next),
        _ => rest.strip_prefix("__").or_else(|| rest.strip_prefix(['.', '_'])),
    }
}
