//! In: what a reference says of the module that is wanted. Out: whether a module is that one. Never here: an index, a
//! signature.

/// What a person asked a [`crate::Source`] for, as far as the reference tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requested<'a> {
    /// The name of the module. None where the index is named by its digest, or any module is wanted.
    pub module: Option<&'a str>,
    /// The tag of the reference: a version, or an alias such as `stable`.
    pub tag: Option<&'a str>,
}

impl<'a> Requested<'a> {
    /// The version that is requested, where the tag names one.
    pub fn version(&self) -> Option<&'a str> {
        self.tag.filter(|tag| is_version_tag(tag))
    }

    /// The tag, where it is an alias, which may be moved from one version to the next.
    pub fn alias(&self) -> Option<&'a str> {
        self.tag.filter(|tag| !is_version_tag(tag))
    }
}

/// Whether a tag names a version: it begins with a digit, or with `v` and a digit. Other tags, `stable` for example,
/// stand for a version and may be moved from one to the next.
///
/// ```
/// # use isomer_layout::is_version_tag;
/// assert!(is_version_tag("1.4.0") && is_version_tag("v2") && is_version_tag("2026-11-30"));
/// assert!(!is_version_tag("stable") && !is_version_tag("vault"));
/// ```
pub fn is_version_tag(tag: &str) -> bool {
    tag.strip_prefix('v').unwrap_or(tag).starts_with(|first: char| first.is_ascii_digit())
}
