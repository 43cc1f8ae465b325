//! In: a [`Profile`]. Out: what is in effect, by key, with its digest, the difference from another, and the same as one
//! file that inherits from nothing. Never here: names, descriptions, aliases, or where a setting comes from.

use super::Profile;
use crate::Digest;
use crate::proposals::PROPOSALS;
use crate::settings::{Section, Value};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Every key of a profile with its effective value: `triple`, `isa.avx2`, `optimize.opt-level`, `wasm.simd`. An
/// extension that the profile does not have has no key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Effective(pub BTreeMap<String, Value>);

/// A key whose effective value changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// The key with its table.
    pub key: String,
    /// The value before, if the key had one.
    pub from: Option<Value>,
    /// The value now, if the key has one.
    pub to: Option<Value>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |value: &Option<Value>| value.as_ref().map_or_else(|| "absent".to_owned(), Value::to_string);
        write!(f, "`{}` changed from {} to {}", self.key, show(&self.from), show(&self.to))
    }
}

impl Effective {
    /// Profiles of equal digests generate equal code, whatever their names.
    pub fn digest(&self) -> Digest {
        Digest::of_json(self)
    }

    /// What is different from `before`.
    pub fn changes_since(&self, before: &Effective) -> Vec<Change> {
        let keys: BTreeSet<&String> = self.0.keys().chain(before.0.keys()).collect();
        let change = |key: &String| {
            let (from, to) = (before.0.get(key).cloned(), self.0.get(key).cloned());
            (from != to).then(|| Change { key: key.clone(), from, to })
        };
        keys.into_iter().filter_map(change).collect()
    }
}

impl Profile {
    /// What is in effect.
    pub fn effective(&self) -> Effective {
        let mut keys: BTreeMap<String, Value> = [("triple".to_owned(), Value::Text(self.triple.to_string()))].into();
        keys.extend(self.isa.keys().map(|name| (format!("isa.{name}"), Value::Bool(true))));
        let settings = self.settings.values();
        keys.extend(settings.map(|(row, value)| (format!("{}.{}", row.section.name(), row.key), value)));
        let proposal = |key: &str, enabled| (format!("{}.{key}", Section::Wasm.name()), Value::Bool(enabled));
        keys.extend(PROPOSALS.iter().map(|row| proposal(row.key, self.features.contains(row.feature))));
        Effective(keys)
    }

    /// The digest of what is in effect.
    pub fn digest(&self) -> Digest {
        self.effective().digest()
    }

    /// A profile file with everything that is in effect, which inherits from no other: for another process or machine.
    pub fn to_toml(&self) -> String {
        let names: Vec<_> = self.isa.keys().map(|name| format!("\"{name}\"")).collect();
        let mut text = format!("triple = \"{}\"\nisa = [{}]\n", self.triple, names.join(", "));
        for section in [Section::Optimize, Section::Codegen, Section::Wasm] {
            text += &format!("\n[{}]\n", section.name());
            for (row, value) in self.settings.shown().filter(|(row, _)| row.section == section) {
                text += &format!("{} = {value}\n", row.key);
            }
        }
        for row in PROPOSALS {
            text += &format!("{} = {}\n", row.key, self.features.contains(row.feature));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{ProfileText, find_shipped, shipped_names};

    fn profile(text: &str) -> Profile {
        let text = ProfileText { name: "p".to_owned(), path: "p.toml".to_owned(), text: text.to_owned() };
        Profile::resolve(&text, &find_shipped).unwrap()
    }

    #[test]
    fn as_one_file_it_means_the_same() {
        let own = profile("inherits = 'x86-64-v3'\n[wasm]\nfuel = true\nthreads = false\n[codegen]\ncollector = 'drc'");
        for before in shipped_names().map(|name| Profile::shipped(name).unwrap()).chain([own]) {
            let after = profile(&before.to_toml());
            assert_eq!(after.effective(), before.effective());
            assert_eq!(after.features, before.features, "{}: a proposal has no row", before.name);
            assert_eq!(after.settings, before.settings);
            assert_eq!(after.isa.keys().collect::<Vec<_>>(), before.isa.keys().collect::<Vec<_>>());
        }
    }

    #[test]
    fn each_difference_is_named() {
        let before = profile("inherits = 'x86-64-v3'");
        let after = profile("inherits = 'x86-64-v3'\nisa = ['avxvnni']\n[optimize]\nopt-level = 'none'");
        let changes: Vec<_> =
            after.effective().changes_since(&before.effective()).iter().map(Change::to_string).collect();
        let expected = ["`isa.avxvnni` changed from absent to true", "`optimize.opt-level` changed from speed to none"];
        assert_eq!(changes, expected);
        assert_ne!(after.digest(), before.digest());
    }
}
