//! In: the counters of the releases that a server installed, as JSON. Out: the counter that a later release must reach, for
//! the key that signed it and the module. Never here: a file; one key's counter applied to another key, or to a module
//! that it did not sign.
//!
//! A counter is a claim of the key that signed it. It is kept by key and module, so that a key which may sign one module
//! cannot raise it for any other key or module, and by the release's name, since a key may sign a module in two lines of
//! releases that count separately.

use crate::key::KeyId;
use crate::strict_json::{self, JsonError};
use isomer_contract::name::{ModuleName, ReleaseName};
use isomer_contract::{Hinted, canonical_json, shorten};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// The largest document that is read and written, in bytes: a few thousand modules.
pub const COUNTERS_SIZE_BYTES_MAX: usize = 1 << 20;
/// How many names of releases are remembered for one key and module.
pub const RELEASES_MAX: usize = 16;

/// The counters of the releases that a server installed.
///
/// ```
/// use isomer_trust::{Algorithm, Counters, SigningKey};
///
/// let [farm, desk] = [(); 2].map(|()| SigningKey::generate(Algorithm::Ed25519).unwrap().public_key().id());
/// let mut counters = Counters::default();
/// counters.set(farm, &"resize".parse()?, &"acme".parse()?, 7);
/// assert_eq!(counters.least(farm, "resize", "acme"), Some(7));
/// assert_eq!(counters.least(desk, "resize", "acme"), None);
/// assert_eq!(Counters::from_json(counters.to_json().as_bytes())?, counters);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(BTreeMap<Scope, u64>);

/// What a counter applies to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope {
    /// The key that signed it. None for all keys: written by an isomer that did not record the key.
    pub key: Option<KeyId>,
    /// The module. None for all modules, as above.
    pub module: Option<ModuleName>,
    /// The release's name.
    pub release: ReleaseName,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Scope { key, module, release } = self;
        write!(f, "the release {release}")?;
        module.iter().try_for_each(|module| write!(f, " with the module {module}"))?;
        key.iter().try_for_each(|key| write!(f, " signed by the key {key}"))
    }
}

/// Why a document does not hold counters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CountersError {
    /// It is not JSON, or not of the expected shape: a name that no release or module can have included.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Two counters for the same.
    #[error("it has two counters for {0}")]
    Duplicate(Box<Scope>),
}

impl Hinted for CountersError {
    fn hint(&self) -> Option<String> {
        Some(
            "it keeps older releases out: restore it from a backup, or repair it, and pull the newest releases before \
             anything else"
                .to_owned(),
        )
    }
}

/// An entry that [`Counters::repair`] could not keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// The entry, fit to be shown; the whole document where it is not JSON.
    pub entry: String,
    /// Why.
    pub reason: CountersError,
}

#[derive(Serialize)]
struct Document {
    counters: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a counter")]
struct Entry {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<KeyId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    module: Option<ModuleName>,
    release: ReleaseName,
    counter: u64,
}

impl Counters {
    /// Reads what [`Counters::to_json`] wrote, or an isomer before it: an object of counters by the release's name.
    ///
    /// # Errors
    /// When any of it is not valid.
    pub fn from_json(bytes: &[u8]) -> Result<Counters, CountersError> {
        Counters::from_value(strict_json::read(bytes, COUNTERS_SIZE_BYTES_MAX)?)
    }

    fn from_value(document: Value) -> Result<Counters, CountersError> {
        let mut counters = Counters::default();
        entries(document).into_iter().try_for_each(|entry| counters.add(entry))?;
        Ok(counters)
    }

    /// Reads all that is valid, and says what is not.
    pub fn repair(bytes: &[u8]) -> (Counters, Vec<Forgotten>) {
        let mut counters = Counters::default();
        let value = match strict_json::read::<Value>(bytes, usize::MAX) {
            Ok(value) => value,
            Err(error) => {
                let entry = shorten(&String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]));
                return (counters, vec![Forgotten { entry, reason: error.into() }]);
            }
        };
        let mut forgotten = Vec::new();
        for entry in entries(value) {
            let shown = shorten(&entry.to_string());
            forgotten.extend(counters.add(entry).err().map(|reason| Forgotten { entry: shown, reason }));
        }
        (counters, forgotten)
    }

    fn add(&mut self, entry: Value) -> Result<(), CountersError> {
        let Entry { key, module, release, counter } = strict_json::from_value(entry)?;
        let scope = Scope { key, module, release };
        match self.0.insert(scope.clone(), counter) {
            None => Ok(()),
            Some(before) => {
                // Of two, the larger one keeps more out.
                self.0.insert(scope.clone(), before.max(counter));
                Err(CountersError::Duplicate(Box::new(scope)))
            }
        }
    }

    /// Its canonical JSON.
    pub fn to_json(&self) -> String {
        canonical_json(self)
    }

    fn document(&self) -> Document {
        let entry = |(Scope { key, module, release }, counter): (&Scope, &u64)| Entry {
            key: *key,
            module: module.clone(),
            release: release.clone(),
            counter: *counter,
        };
        Document { counters: self.0.iter().map(entry).collect() }
    }

    /// The least counter that the releases called `release` with `module` must have when `key` signed them.
    pub fn least(&self, key: KeyId, module: &str, release: &str) -> Option<u64> {
        let applies = |scope: &&Scope| {
            scope.release.as_str() == release
                && scope.key.is_none_or(|of| of == key)
                && scope.module.as_ref().is_none_or(|of| of.as_str() == module)
        };
        self.0.iter().filter(|(scope, _)| applies(scope)).map(|(_, counter)| *counter).max()
    }

    /// Whether a counter of releases called `release` can be remembered: there are less than [`RELEASES_MAX`] other names
    /// for this key and module.
    pub fn has_room(&self, key: KeyId, module: &str, release: &str) -> bool {
        let same =
            |scope: &&Scope| scope.key == Some(key) && scope.module.as_ref().is_some_and(|of| of.as_str() == module);
        self.0.keys().filter(same).filter(|scope| scope.release.as_str() != release).count() < RELEASES_MAX
    }

    /// Remembers that `key` signed `module` in a release with this counter, which is the least one from now on, also
    /// where it was higher: the caller allowed an older release. Counters for all keys or modules are lowered to it. A
    /// first counter of 0 keeps nothing out, and is not remembered.
    pub fn set(&mut self, key: KeyId, module: &ModuleName, release: &ReleaseName, counter: u64) {
        for (scope, wider) in &mut self.0 {
            let applies = scope.release == *release
                && scope.key.is_none_or(|of| of == key)
                && scope.module.as_ref().is_none_or(|of| of == module);
            if applies {
                *wider = counter.min(*wider);
            }
        }
        let scope = Scope { key: Some(key), module: Some(module.clone()), release: release.clone() };
        if counter > 0 || self.0.contains_key(&scope) {
            self.0.insert(scope, counter);
        }
    }

    /// Raises the counter of `scope` to at least `counter`.
    pub fn raise(&mut self, scope: Scope, counter: u64) {
        let least = self.0.entry(scope).or_default();
        *least = counter.max(*least);
    }

    /// Adds those of `others` for which there is no counter.
    pub fn complete(&mut self, others: &Counters) {
        let covers = |own: &Scope, other: &Scope| {
            own.release == other.release
                && (own.module.is_none() || own.module == other.module)
                && (own.key.is_none() || other.key.is_none() || own.key == other.key)
        };
        let missing = others.0.iter().filter(|(other, _)| !self.0.keys().any(|own| covers(own, other)));
        let missing: Vec<_> = missing.map(|(scope, counter)| (scope.clone(), *counter)).collect();
        self.0.extend(missing);
    }

    /// All of `others`, each where it is higher.
    pub fn merge(&mut self, others: &Counters) {
        for (scope, counter) in &others.0 {
            self.raise(scope.clone(), *counter);
        }
    }

    /// Removes the counters of `module`, for whichever key, and says what they applied to.
    pub fn forget(&mut self, module: &str) -> Vec<(Scope, u64)> {
        let of_it = |scope: &Scope| scope.module.as_ref().is_some_and(|of| of.as_str() == module);
        let forgotten: Vec<_> =
            self.iter().filter(|(scope, _)| of_it(scope)).map(|(it, at)| (it.clone(), at)).collect();
        self.0.retain(|scope, _| !of_it(scope));
        forgotten
    }

    /// Every counter with what it applies to.
    pub fn iter(&self) -> impl Iterator<Item = (&Scope, u64)> {
        self.0.iter().map(|(scope, counter)| (scope, *counter))
    }
}

impl Serialize for Counters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.document().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Counters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Counters, D::Error> {
        Counters::from_value(Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// The entries of a document of either form.
fn entries(document: Value) -> Vec<Value> {
    match document {
        Value::Object(mut object) if object.get("counters").is_some_and(Value::is_array) && object.len() == 1 => {
            match object.remove("counters") {
                Some(Value::Array(entries)) => entries,
                _ => Vec::new(),
            }
        }
        // By the release's name, for all keys and modules.
        Value::Object(object) => {
            let entry = |(release, counter)| serde_json::json!({ "release": release, "counter": counter });
            object.into_iter().map(entry).collect()
        }
        // Neither form: an entry that is not valid.
        other => vec![other],
    }
}

#[cfg(test)]
mod tests;
