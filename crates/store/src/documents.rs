//! The store's JSON documents. In: text. Out: its meaning, and back. Never here: a file.

use isomer_contract::Digest;
pub(super) use isomer_trust::Counters;
use isomer_trust::{KeyId, Release};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The format of a store. One of another format is refused, not converted.
pub const STORE_SCHEMA: u32 = 1;

/// The most indexes that were active before and are remembered for a module.
pub(super) const HISTORY_MAX: usize = 32;

/// `store.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoreDocument {
    pub(super) schema: u32,
}

/// The basis on which a module was trusted when it was installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrustBasis {
    /// None: the user accepted it unsigned.
    Unsigned,
    /// The digest of its index, which the user named.
    Digest,
    /// Signatures by the keys with these names.
    Keys(Vec<String>),
}

impl fmt::Display for TrustBasis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrustBasis::Unsigned => f.write_str("unsigned"),
            TrustBasis::Digest => f.write_str("digest"),
            TrustBasis::Keys(names) => f.write_str(&names.join(", ")),
        }
    }
}

impl TrustBasis {
    /// Signatures outweigh a digest, and a digest outweighs none.
    pub(super) fn weight(&self) -> u8 {
        match self {
            TrustBasis::Unsigned => 0,
            TrustBasis::Digest => 1,
            TrustBasis::Keys(_) => 2,
        }
    }
}

/// `install.json`: how a module was installed. A newer isomer may write more keys into it; a change of the meaning of these
/// raises [`STORE_SCHEMA`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    /// What it was pulled from.
    pub from: String,
    /// When it was pulled last, in RFC 3339.
    pub at: String,
    /// On which basis it was trusted.
    #[serde(alias = "word")]
    pub trust_basis: TrustBasis,
    /// The release that its signatures attest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Release>,
    /// The ids of the keys that signed it: the release's counter is remembered for each of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_ids: Vec<KeyId>,
}

/// `active/MODULE.json`: which of a module's indexes is active, and which were. As in [`Record`], there may be more keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Active {
    /// The digest of the index.
    pub(super) index: Digest,
    /// Those before it, the latest first.
    pub(super) earlier: Vec<Digest>,
}

impl Active {
    /// `index` instead of `before`.
    pub(super) fn instead_of(before: Option<Active>, index: Digest) -> Active {
        let Some(before) = before else { return Active { index, earlier: Vec::new() } };
        if before.index == index {
            return before;
        }
        let mut earlier = vec![before.index];
        earlier.extend(before.earlier.into_iter().filter(|it| *it != index && *it != before.index));
        earlier.truncate(HISTORY_MAX);
        Active { index, earlier }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_index_is_remembered_once() {
        let [a, b, c] = [b"a", b"b", b"c"].map(|bytes| Digest::of(bytes));
        let mut active = None;
        for index in [a, b, b, c, a] {
            active = Some(Active::instead_of(active, index));
        }
        assert_eq!(active, Some(Active { index: a, earlier: vec![c, b] }));
    }

    #[test]
    fn the_oldest_indexes_are_forgotten() {
        let index = |number: usize| Digest::of(number.to_string().as_bytes());
        let active = (0..HISTORY_MAX + 2).fold(None, |active, at| Some(Active::instead_of(active, index(at))));
        let Active { index: last, earlier } = active.expect("some were activated");
        assert_eq!((last, earlier.len()), (index(HISTORY_MAX + 1), HISTORY_MAX));
        assert_eq!((earlier[0], earlier[HISTORY_MAX - 1]), (index(HISTORY_MAX), index(1)));
    }

    #[test]
    fn a_trust_basis_has_its_words_and_its_weight() {
        let keys = TrustBasis::Keys(vec!["farm".to_owned(), "desk".to_owned()]);
        let all = [TrustBasis::Unsigned, TrustBasis::Digest, keys];
        assert_eq!(all.each_ref().map(ToString::to_string), ["unsigned", "digest", "farm, desk"]);
        assert!(all[0].weight() < all[1].weight() && all[1].weight() < all[2].weight());
    }

    #[test]
    fn documents_have_this_form() {
        let record = Record {
            from: "oci-dir:dist".to_owned(),
            at: "2026-11-23T00:00:00Z".to_owned(),
            trust_basis: TrustBasis::Keys(vec!["farm".to_owned()]),
            release: None,
            key_ids: Vec::new(),
        };
        let text = r#"{"at":"2026-11-23T00:00:00Z","from":"oci-dir:dist","trust-basis":{"keys":["farm"]}}"#;
        assert_eq!(isomer_contract::canonical_json(&record), text);
        assert_eq!(serde_json::from_str::<Record>(text).expect("as it was written"), record);
        let earlier = text.replace("trust-basis", "word");
        assert_eq!(serde_json::from_str::<Record>(&earlier).expect("as it was once written"), record);
        assert_eq!(isomer_contract::canonical_json(&TrustBasis::Unsigned), r#""unsigned""#);
    }
}
