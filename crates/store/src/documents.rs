//! What a store says of itself in JSON. In: text. Out: what it means, and back. Never here: a file.

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

/// On whose word a module was installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// Nobody's: its user took whatever was there.
    Unsigned,
    /// Its user's, who named the index's digest.
    Digest,
    /// That of the keys with these names.
    Keys(Vec<String>),
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Word::Unsigned => f.write_str("unsigned"),
            Word::Digest => f.write_str("digest"),
            Word::Keys(names) => f.write_str(&names.join(", ")),
        }
    }
}

impl Word {
    /// Signatures say more than a digest, and a digest more than nothing.
    pub(super) fn weight(&self) -> u8 {
        match self {
            Word::Unsigned => 0,
            Word::Digest => 1,
            Word::Keys(_) => 2,
        }
    }
}

/// `install.json`: how a module came here. A newer isomer may write more keys into it: what makes those here mean something
/// else raises [`STORE_SCHEMA`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    /// What it was pulled as.
    pub from: String,
    /// When it was pulled last, in RFC 3339.
    pub at: String,
    /// On whose word.
    pub word: Word,
    /// The release that its signatures name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Release>,
    /// The ids of the keys that signed it, whose counters for the module this is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_ids: Vec<KeyId>,
}

/// `active/MODULE.json`: which of a module's indexes runs, and which ran before. As with [`Record`], there may be more.
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
    fn the_documents_are_these() {
        let record = Record {
            from: "oci-dir:dist".to_owned(),
            at: "2026-11-23T00:00:00Z".to_owned(),
            word: Word::Keys(vec!["farm".to_owned()]),
            release: None,
            key_ids: Vec::new(),
        };
        let text = r#"{"at":"2026-11-23T00:00:00Z","from":"oci-dir:dist","word":{"keys":["farm"]}}"#;
        assert_eq!(isomer_contract::canonical_json(&record), text);
        assert_eq!(serde_json::from_str::<Record>(text).expect("as it was written"), record);
        assert_eq!(isomer_contract::canonical_json(&Word::Unsigned), r#""unsigned""#);
    }
}
