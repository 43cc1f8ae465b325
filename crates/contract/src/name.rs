//! The names in a release: one grammar for everything that reads or writes them. In: text that a person typed or a
//! document holds. Out: a name that can be a file's, a tag, or part of a repository, or why the text is not one.
//!
//! A release becomes an OCI image layout and is pushed to registries, so a name has to satisfy both specifications:
//!
//! - The [distribution specification](https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md) defines a
//!   repository as `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` with `/` between such components, and a tag as
//!   `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
//! - The [image layout](https://github.com/opencontainers/image-spec/blob/v1.1.0/annotations.md) defines
//!   `org.opencontainers.image.ref.name` as letters and digits with one separator of `[-._:@+]`, or `--`, between them.
//!
//! A [`ModuleName`] is a repository component and satisfies both, a [`Version`] is a tag and satisfies both. A
//! [`TargetName`] is neither: it is part of file names and layers' titles, and the value of annotations. So its
//! overlays follow `+`, which is legal in all of these and never in a profile's own name: `x86-64-v3+epoch`.

mod kind;

pub use kind::{NameKind, OVERLAY};

use crate::{Hinted, shorten};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// Text that is not a valid name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid {kind} `{}`: expected {}, at most {} characters", shorten(.text), .kind.grammar(), .kind.length_max())]
pub struct NameError {
    kind: NameKind,
    text: String,
}

impl NameError {
    /// What the text was to name.
    pub fn kind(&self) -> NameKind {
        self.kind
    }

    /// A valid module name as close to the text as possible, or none for other kinds and where nothing is left.
    pub fn suggestion(&self) -> Option<ModuleName> {
        if self.kind != NameKind::Module {
            return None;
        }
        let lower = self.text.to_ascii_lowercase();
        let words: Vec<&str> =
            lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
        words.join("-").parse().ok()
    }
}

impl Hinted for NameError {
    fn hint(&self) -> Option<String> {
        match self.kind {
            NameKind::Module => self.suggestion().map(|name| format!("`{name}` is a valid name")),
            NameKind::Version => Some("a semantic version without `+` is valid: `1.4.0`".to_owned()),
            NameKind::Release => Some("`acme-plugins` is a valid name".to_owned()),
            NameKind::Profile | NameKind::Target => Some("rename the profile's file".to_owned()),
            NameKind::Tag | NameKind::Repository => None,
        }
    }
}

macro_rules! names {
    ($($(#[$meta:meta])* $name:ident = $kind:ident;)+) => { $(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<$name, NameError> {
                let kind = NameKind::$kind;
                if text.len() <= kind.length_max() && kind.matches(&text) {
                    return Ok($name(text));
                }
                Err(NameError { kind, text })
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<$name, NameError> {
                $name::try_from(text.to_owned())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    )+ };
}

names! {
    /// What a module is called in a release, and a component of a repository's name: `resize`, `acme.thumbnails`.
    ///
    /// ```
    /// use isomer_contract::name::ModuleName;
    ///
    /// let name: ModuleName = "resize".parse()?;
    /// assert_eq!(name.to_string(), "resize");
    /// let error = "My App".parse::<ModuleName>().unwrap_err();
    /// assert_eq!(error.suggestion(), Some("my-app".parse()?));
    /// # Ok::<(), isomer_contract::name::NameError>(())
    /// ```
    ModuleName = Module;
    /// The version of a release and of every module in it, and a tag: `1.4.0`. With `-wasm` behind it, it is one too.
    Version = Version;
    /// What people and signatures call a release: `acme-plugins`. It is not the name of a file or a repository.
    ReleaseName = Release;
    /// What a profile is called: the stem of its file, `x86-64-v3`.
    ProfileName = Profile;
    /// What a module is compiled for: a profile's name and that of each overlay, `x86-64-v3+epoch`.
    TargetName = Target;
    /// A tag in a registry, by the distribution specification: `1.4.0`, `stable`.
    Tag = Tag;
    /// A repository in a registry, by the distribution specification: `acme/resize`.
    RepositoryName = Repository;
}

/// The name of the profile in that of a target, and those of its overlays.
///
/// ```
/// use isomer_contract::name::split_target;
///
/// let (profile, overlays) = split_target("x86-64-v3+debug+epoch");
/// assert_eq!((profile, overlays.collect::<Vec<_>>()), ("x86-64-v3", vec!["debug", "epoch"]));
/// ```
pub fn split_target(target: &str) -> (&str, impl Iterator<Item = &str>) {
    let mut parts = target.split(OVERLAY);
    (parts.next().unwrap_or_default(), parts)
}

/// The name of `target` with one overlay more, unless it has that already: overlays are sorted by name, so that a target
/// has one name.
///
/// ```
/// use isomer_contract::name::with_overlay;
///
/// assert_eq!(with_overlay("x86-64-v3+epoch", "debug"), "x86-64-v3+debug+epoch");
/// assert_eq!(with_overlay("x86-64-v3+epoch", "epoch"), "x86-64-v3+epoch");
/// ```
pub fn with_overlay(target: &str, overlay: &str) -> String {
    let (profile, overlays) = split_target(target);
    let overlays: BTreeSet<&str> = overlays.chain([overlay]).collect();
    overlays.into_iter().fold(profile.to_owned(), |name, overlay| format!("{name}{OVERLAY}{overlay}"))
}

impl From<Version> for Tag {
    fn from(version: Version) -> Tag {
        Tag(version.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of the seven kinds take the text, in the order of [`NameKind`], profiles as `f`.
    fn kinds(text: &str) -> String {
        let valid = [
            text.parse::<ModuleName>().is_ok(),
            text.parse::<Version>().is_ok(),
            text.parse::<ReleaseName>().is_ok(),
            text.parse::<ProfileName>().is_ok(),
            text.parse::<TargetName>().is_ok(),
            text.parse::<Tag>().is_ok(),
            text.parse::<RepositoryName>().is_ok(),
        ];
        valid.iter().zip("mvrftgp".chars()).map(|(valid, kind)| if *valid { kind } else { '-' }).collect()
    }

    #[test]
    fn each_kind_has_its_grammar() {
        for (text, expected) in [
            ("resize", "mvrftgp"),
            ("tfjs-backend_wasm.2", "mvrftgp"),
            ("1", "mvrftgp"),
            ("a--b", "mvrftgp"),
            ("x86-64-v3", "mvrftgp"),
            ("1.0.0-rc.1", "mvrftgp"),
            ("SHA256", "-vrftg-"),
            ("a---b", "--r--gp"),
            ("a__b", "--r--gp"),
            ("a..b", "--r--g-"),
            ("a.-b", "--r--g-"),
            ("a-.b", "--r--g-"),
            ("1.0-", "-----g-"),
            ("_a", "-----g-"),
            ("-a", "-------"),
            (".a", "-------"),
            ("acme/resize", "--r---p"),
            ("acme//resize", "--r----"),
            ("acme/", "-------"),
            ("Acme Plugins", "--r----"),
            ("Größe", "--r----"),
            ("1.0.0+build", "----t--"),
            ("x86-64-v3+debug+epoch", "----t--"),
            ("x86-64-v3+", "-------"),
            ("+epoch", "-------"),
            ("a++b", "-------"),
            ("a:b", "-------"),
            ("a,b", "-------"),
            ("a\n", "-------"),
            ("a\\b", "-------"),
            ("..", "-------"),
            ("", "-------"),
            (" a", "-------"),
            ("a\u{202e}b", "-------"),
        ] {
            assert_eq!(kinds(text), expected, "{text:?}");
        }
    }

    #[test]
    fn each_kind_has_its_length() {
        for (length, expected) in
            [(100, "mvrftgp"), (101, "--r--gp"), (128, "--r--gp"), (129, "------p"), (255, "------p"), (256, "-------")]
        {
            assert_eq!(kinds(&"a".repeat(length)), expected, "{length}");
        }
    }

    #[test]
    fn a_version_is_a_tag_with_and_without_the_suffix_of_the_plain_wasm() {
        for version in ["1.4.0", &"v".repeat(NameKind::Version.length_max())] {
            let version: Version = version.parse().expect("a version");
            assert_eq!(Tag::from(version.clone()).as_str().parse(), Ok(Tag::from(version.clone())));
            assert!(format!("{version}-wasm").parse::<Tag>().is_ok());
        }
    }

    #[test]
    fn an_error_names_the_text_and_what_is_valid() {
        let error = "My..App\u{1b}".parse::<ModuleName>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid module name `My..App\\u{1b}`: expected lower-case letters and digits, with a single `.`, `_` or \
             `-`, or `--`, between them, at most 100 characters"
        );
        assert_eq!((error.kind(), error.hint()), (NameKind::Module, Some("`my-app` is a valid name".to_owned())));
        for (text, hint) in [("..", None), ("Straße", Some("`stra-e` is a valid name"))] {
            assert_eq!(text.parse::<ModuleName>().unwrap_err().hint().as_deref(), hint);
        }
        let version = "1.0+x".parse::<Version>().unwrap_err();
        assert_eq!(version.suggestion(), None);
        assert!(version.hint().expect("a hint").contains("`1.4.0`"));
        assert!("../\u{7}".parse::<ReleaseName>().unwrap_err().hint().expect("a hint").contains("acme-plugins"));
        assert!("a,b".parse::<TargetName>().unwrap_err().hint().expect("a hint").contains("rename"));
        assert_eq!("a b".parse::<Tag>().unwrap_err().hint(), None);
        let long = "é".repeat(1000).parse::<Tag>().unwrap_err().to_string();
        assert!(long.contains('…') && long.len() < 600, "{long}");
    }

    #[test]
    fn a_document_with_an_invalid_name_is_not_read() {
        let name: ModuleName = serde_json::from_str("\"sort\"").expect("a name");
        assert_eq!(serde_json::to_string(&name).expect("text"), "\"sort\"");
        let error = serde_json::from_str::<ModuleName>("\"a/b\"").unwrap_err();
        assert!(error.to_string().starts_with("invalid module name `a/b`"), "{error}");
    }
}
