//! Lists and tables of a TOML file, as options are repeated: one value or several; pairs of names and values.

use super::GrantError;
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer, StrDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

/// Names and their values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct KeyValuePairs {
    /// The values, by name.
    pub pairs: BTreeMap<String, String>,
}

impl KeyValuePairs {
    /// Adds `NAME=VALUE`.
    ///
    /// # Errors
    /// When there is no name or no value.
    pub fn insert(&mut self, text: &str) -> Result<(), GrantError> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => self.pairs.insert(name.to_owned(), value.to_owned()),
            _ => return Err(GrantError::new(format!("`{text}`; expected NAME=VALUE"))),
        };
        Ok(())
    }

    /// Adds others, which replace those of the same name.
    pub fn extend(&mut self, more: KeyValuePairs) {
        self.pairs.extend(more.pairs);
    }
}

/// `"a"` or `["a", "b"]`.
pub(super) fn one_or_many<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    struct OneOrMany<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMany<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string or a list of strings")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<T>, E> {
            T::deserialize(StrDeserializer::new(text)).map(|item| vec![item])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Vec<T>, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(items))
        }
    }

    from.deserialize_any(OneOrMany(PhantomData))
}

/// `true`, `false`, or a table.
pub(super) fn optional<'de, D: Deserializer<'de>>(from: D) -> Result<Option<KeyValuePairs>, D::Error> {
    struct Optional;

    impl<'de> Visitor<'de> for Optional {
        type Value = Option<KeyValuePairs>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("true, false, or a table of names and values")
        }

        fn visit_bool<E>(self, granted: bool) -> Result<Option<KeyValuePairs>, E> {
            Ok(granted.then(KeyValuePairs::default))
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<KeyValuePairs>, A::Error> {
            KeyValuePairs::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }
    }

    from.deserialize_any(Optional)
}
