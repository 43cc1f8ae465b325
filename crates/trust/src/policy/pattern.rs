//! In: a pattern of a policy and a module's name. Out: whether they match. Never here: a wildcard other than `*`.

use std::fmt;

/// A name in which each `*` matches any characters, also none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// The pattern that `text` is.
    pub fn new(text: impl Into<String>) -> Pattern {
        Pattern(text.into())
    }

    /// The pattern of all names.
    pub fn all() -> Pattern {
        Pattern("*".to_owned())
    }

    /// Whether the pattern matches all of `name`. Upper and lower case differ.
    ///
    /// ```
    /// # use isomer_trust::Pattern;
    /// assert!(Pattern::new("acme-*").matches("acme-resize"));
    /// assert!(!Pattern::new("acme-*").matches("not-acme-resize"));
    /// ```
    pub fn matches(&self, name: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else { return self.0 == name };
        let Some(mut name) = name.strip_prefix(first) else { return false };
        let mut parts: Vec<_> = rest.split('*').collect();
        let last = parts.pop().unwrap_or_default();
        // The first match of each part leaves the most to those after it.
        for part in parts {
            match name.find(part) {
                Some(at) => name = &name[at + part.len()..],
                None => return false,
            }
        }
        name.ends_with(last)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_star_has_a_meaning() {
        for (pattern, yes, no) in [
            ("resize", &["resize"][..], &["", "Resize", "resize2", "a-resize"][..]),
            ("*", &["", "anything", "a*b"], &[]),
            ("acme-*", &["acme-", "acme-a"], &["acme", "x-acme-a"]),
            ("*-plugin", &["-plugin", "a-plugin"], &["plugin", "a-plugins"]),
            ("a*b*c", &["abc", "axbxc", "abcbc"], &["ab", "acb", "abcx"]),
            ("ab*ba", &["abba", "abxba"], &["aba", "ab"]),
            ("a**b", &["ab", "axb"], &["a"]),
            // No character counts for two parts.
            ("*ab*b", &["abb", "xabxb"], &["ab", "xab"]),
            ("*aa*a*", &["aaa", "aaxa"], &["aa", "xaa"]),
            ("", &[""], &["a"]),
            ("a?.[b]", &["a?.[b]"], &["ax.[b]", "a?xb"]),
            ("é*é", &["éé", "éxé"], &["é"]),
        ] {
            let pattern = Pattern::new(pattern);
            assert!(yes.iter().all(|name| pattern.matches(name)), "{pattern}");
            assert!(!no.iter().any(|name| pattern.matches(name)), "{pattern}");
        }
    }

    #[test]
    fn a_pattern_is_shown_as_it_was_written() {
        assert_eq!(Pattern::new("acme-*").to_string(), "acme-*");
        assert_eq!(Pattern::all(), Pattern::new("*"));
    }

    /// The definition, which takes exponential time.
    fn defined(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            ([b'*', rest @ ..], name) => (0..=name.len()).any(|at| defined(rest, &name[at..])),
            ([first, pattern @ ..], [found, name @ ..]) => first == found && defined(pattern, name),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matches_as_defined(pattern in "[ab*]{0,7}", name in "[ab]{0,9}") {
            let expected = defined(pattern.as_bytes(), name.as_bytes());
            prop_assert_eq!(Pattern::new(pattern).matches(&name), expected);
        }
    }
}
