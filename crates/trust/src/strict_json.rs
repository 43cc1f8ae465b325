//! In: bytes that should be JSON. Out: a value whose objects have each key once. Never here: what the value means.
//!
//! Readers disagree on which of two equal keys counts, so that one signed document could mean different things to them.
//! A document with such keys at any depth is refused, as are deep nesting and bytes after its end.

use isomer_contract::shorten;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::RefCell;
use std::fmt;

/// How deep arrays and objects may be nested.
pub const DEPTH_MAX: usize = 32;

/// Why bytes are not a valid JSON document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// Larger than any document of its kind.
    #[error("expected at most {limit_bytes} bytes, found {found_bytes}")]
    TooLarge {
        /// Its size.
        found_bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// An object with two values for one key.
    #[error("the key `{0}` occurs twice in one object")]
    DuplicateKey(String),
    /// Nested deeper than any document of its kind.
    #[error("it is nested more than {DEPTH_MAX} levels deep")]
    TooDeep,
    /// Not JSON, or not the expected fields.
    #[error("{0}")]
    Malformed(String),
}

/// Reads `bytes`, at most `size_bytes_max` of them.
///
/// ```
/// # use isomer_trust::strict_json::{JsonError, read};
/// assert_eq!(read::<Vec<u8>>(b"[1, 2]", 100), Ok(vec![1, 2]));
/// let twice = read::<serde_json::Value>(br#"{"a": 1, "\u0061": 2}"#, 100);
/// assert_eq!(twice, Err(JsonError::DuplicateKey("a".to_owned())));
/// ```
///
/// # Errors
/// When they are more, not JSON, or JSON with a key twice in an object, too deep, or of another shape than `T`'s.
pub fn read<T: DeserializeOwned>(bytes: &[u8], size_bytes_max: usize) -> Result<T, JsonError> {
    from_value(value(bytes, size_bytes_max)?)
}

pub(crate) fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, JsonError> {
    serde_json::from_value(value).map_err(|error| JsonError::Malformed(shorten(&error.to_string())))
}

fn value(bytes: &[u8], size_bytes_max: usize) -> Result<Value, JsonError> {
    if bytes.len() > size_bytes_max {
        return Err(JsonError::TooLarge { found_bytes: bytes.len(), limit_bytes: size_bytes_max });
    }
    let problem = RefCell::new(None);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: 0, problem: &problem }.deserialize(&mut reader);
    value.and_then(|value| reader.end().map(|()| value)).map_err(|error| {
        let problem = problem.take();
        problem.unwrap_or_else(|| JsonError::Malformed(shorten(&error.to_string())))
    })
}

/// Reads one value at some depth; a problem that serde's error cannot carry is left in `problem`.
#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    problem: &'a RefCell<Option<JsonError>>,
}

impl Strict<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == DEPTH_MAX {
            return Err(self.fail(JsonError::TooDeep));
        }
        Ok(Strict { depth: self.depth + 1, ..self })
    }

    fn fail<E: serde::de::Error>(self, problem: JsonError) -> E {
        let error = E::custom(&problem);
        *self.problem.borrow_mut() = Some(problem);
        error
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inside = self.deeper()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inside)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inside = self.deeper()?;
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(self.fail(JsonError::DuplicateKey(shorten(&key))));
            }
            object.insert(key, entries.next_value_seed(inside)?);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn strict(text: &str) -> Result<Value, JsonError> {
        value(text.as_bytes(), 1 << 20)
    }

    #[test]
    fn a_key_may_occur_once_in_each_object() {
        assert!(strict(r#"{"a": {"a": [{"a": 1}, {"a": 2}]}, "b": {"a": 3}}"#).is_ok());
        let twice = Err(JsonError::DuplicateKey("a".to_owned()));
        for text in [r#"{"a":1,"a":1}"#, r#"[{"b":[{"a":1,"c":0,"a":2}]}]"#, r#"{"a":1,"\u0061":2}"#] {
            assert_eq!(strict(text), twice, "{text}");
        }
    }

    #[test]
    fn nesting_and_size_have_limits() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(strict(&nested(DEPTH_MAX)).is_ok());
        assert_eq!(strict(&nested(DEPTH_MAX + 1)), Err(JsonError::TooDeep));
        assert_eq!(strict(&nested(100_000)), Err(JsonError::TooDeep));
        let objects = format!("{}1{}", r#"{"a":"#.repeat(DEPTH_MAX + 1), "}".repeat(DEPTH_MAX + 1));
        assert_eq!(strict(&objects), Err(JsonError::TooDeep));
        let too_large = JsonError::TooLarge { found_bytes: 3, limit_bytes: 2 };
        assert_eq!(value(b"[1]", 2), Err(too_large));
    }

    #[test]
    fn bytes_after_the_end_are_refused() {
        assert!(strict(" {} \n").is_ok());
        for text in ["", "{} {}", "{}x", "{}\0", "[1],", "\u{feff}{}", "{'a':1}", "[1,]", "NaN", "1e999", "\"\u{1}\""] {
            assert!(matches!(strict(text), Err(JsonError::Malformed(_))), "{text:?}");
        }
        assert!(matches!(value(b"\"\xff\"", 100), Err(JsonError::Malformed(_))));
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
                prop::collection::btree_map(".*", inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn reads_what_serde_json_writes(value in json()) {
            prop_assert_eq!(strict(&value.to_string()), Ok(value));
        }

        #[test]
        fn refuses_what_serde_json_refuses(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(read) = value(&bytes, 1000) {
                prop_assert_eq!(serde_json::from_slice::<Value>(&bytes).ok(), Some(read));
            }
        }
    }
}
