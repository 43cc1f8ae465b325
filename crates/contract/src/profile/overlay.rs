//! The overlays: small sets of settings that any profile takes, the files of `targets/overlays/`, compiled in. In: a profile
//! and the names of overlays. Out: the profile with their settings, or why they do not fit together. Never here: a platform
//! or an ISA extension, which only profiles have.

use super::parse::{self, Parsed};
use super::{Origin, Problem, Profile, ProfileError, ProfileText};
use crate::name::{OVERLAY, with_overlay};
use crate::settings::{Section, Value};
use crate::{Hinted, nearest, proposals};
use std::collections::BTreeMap;

macro_rules! overlays {
    ($($name:literal),+ $(,)?) => {
        /// Name and text of each overlay, in the order of names.
        const OVERLAYS: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../targets/overlays/", $name, ".toml")))),+];
    };
}

overlays!["debug", "default", "epoch", "fuel", "portable-collector"];

/// A set of settings that any profile takes.
pub struct Overlay {
    /// Its name: the part after `+` in the name of a target.
    pub name: &'static str,
    /// One line for people.
    pub description: String,
    text: ProfileText,
    parsed: Parsed,
}

/// Why overlays cannot be put on a profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OverlayError {
    /// No such overlay.
    #[error("unknown overlay `{name}` in the target `{target}`")]
    Unknown {
        /// As typed.
        name: String,
        /// The target as typed.
        target: String,
        /// The nearest overlay.
        nearest: Option<String>,
    },
    /// One is named twice.
    #[error("the target `{target}` has the overlay `{name}` twice")]
    Twice {
        /// The overlay.
        name: String,
        /// The target as typed.
        target: String,
    },
    /// Two overlays give one setting different values.
    #[error("the overlays `{first}` and `{second}` contradict each other: `{key}` is {first_value} and {second_value}")]
    Contradiction {
        /// The setting or proposal.
        key: &'static str,
        /// The one overlay.
        first: &'static str,
        /// Its value.
        first_value: Value,
        /// The other.
        second: &'static str,
        /// Its value.
        second_value: Value,
    },
    /// The result is not a valid profile.
    #[error("the target `{target}` is not valid")]
    Profile {
        /// The target as typed.
        target: String,
        /// Why.
        source: Box<ProfileError>,
    },
}

impl Hinted for OverlayError {
    fn hint(&self) -> Option<String> {
        match self {
            OverlayError::Unknown { nearest: Some(nearest), .. } => Some(format!("did you mean `{OVERLAY}{nearest}`?")),
            OverlayError::Unknown { .. } => {
                let names: Vec<_> = overlay_names().map(|name| format!("`{OVERLAY}{name}`")).collect();
                Some(format!("the overlays are {}", names.join(", ")))
            }
            OverlayError::Twice { .. } => Some("name it once".to_owned()),
            OverlayError::Contradiction { .. } => Some("leave one of them out".to_owned()),
            OverlayError::Profile { source, .. } => source.hint(),
        }
    }
}

/// The names of the overlays, sorted.
pub fn overlay_names() -> impl Iterator<Item = &'static str> {
    OVERLAYS.iter().map(|(name, _)| *name)
}

/// Every overlay, in the order of [`overlay_names`].
pub fn overlays() -> impl Iterator<Item = Overlay> {
    OVERLAYS.iter().map(|(name, text)| overlay(name, text))
}

fn overlay(name: &'static str, text: &str) -> Overlay {
    let path = format!("targets/overlays/{name}.toml (shipped)");
    let text = ProfileText { name: name.to_owned(), path, text: text.to_owned() };
    let parsed = parse::parse(&text).expect("a test parses every overlay");
    Overlay { name, description: parsed.description.clone(), text, parsed }
}

impl Overlay {
    /// Every setting and proposal that it states, by key.
    pub fn values(&self) -> impl Iterator<Item = (Section, &'static str, Value)> {
        let settings = self.parsed.settings.values().map(|(row, value)| (row.section, row.key, value));
        let proposals = self.parsed.proposals.iter().map(|(row, on, _)| (Section::Wasm, row.key, Value::Bool(*on)));
        settings.chain(proposals)
    }
}

impl Profile {
    /// This profile with the settings of `names` on top, under a name that has each of them: `x86-64-v3+debug+epoch`.
    ///
    /// ```
    /// use isomer_contract::Profile;
    ///
    /// let plain = Profile::shipped("x86-64-v3").expect("a shipped profile");
    /// let metered = plain.with_overlays(["fuel", "epoch"])?;
    /// assert_eq!(metered.name, "x86-64-v3+epoch+fuel");
    /// assert!(metered.settings.fuel && metered.settings.epoch_interruption);
    /// # Ok::<(), isomer_contract::profile::OverlayError>(())
    /// ```
    ///
    /// # Errors
    /// When one does not exist or is named twice, when two contradict each other or one the profile.
    pub fn with_overlays<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<Profile, OverlayError> {
        let names: Vec<&str> = names.into_iter().collect();
        let target = || {
            let typed: Vec<_> = std::iter::once(self.name.as_str()).chain(names.iter().copied()).collect();
            typed.join(&OVERLAY.to_string())
        };
        let mut found = self.overlays.iter().filter_map(|name| find(name)).collect::<Vec<_>>();
        for name in &names {
            let overlay = find(name).ok_or_else(|| OverlayError::Unknown {
                name: (*name).to_owned(),
                target: target(),
                nearest: nearest(name, overlay_names()).map(str::to_owned),
            })?;
            if found.iter().any(|other| other.name == overlay.name) {
                return Err(OverlayError::Twice { name: overlay.name.to_owned(), target: target() });
            }
            found.push(overlay);
        }
        found.sort_by_key(|overlay| overlay.name);
        check_agreement(&found)?;
        let mut profile = self.clone();
        for overlay in found.iter().filter(|overlay| names.contains(&overlay.name)) {
            profile
                .put(overlay)
                .map_err(|source| OverlayError::Profile { target: target(), source: Box::new(source) })?;
        }
        Ok(profile)
    }

    fn put(&mut self, overlay: &Overlay) -> Result<(), ProfileError> {
        let Overlay { name, description: _, text, parsed } = overlay;
        parsed.settings.apply(&mut self.settings, |key| {
            self.origins.insert(key, Origin::Overlay((*name).to_owned()));
        });
        for (proposal, enable, line) in &parsed.proposals {
            let unsupported = proposals::unsupported_on(self.arch);
            if *enable && let Some((_, reason)) = unsupported.iter().find(|(feature, _)| *feature == proposal.feature) {
                let problem = Problem::Unsupported { key: proposal.key, reason: (*reason).to_owned() };
                return Err(text.error(Some(*line), problem));
            }
            self.features.set(proposal.feature, *enable);
            self.origins.insert(proposal.key, Origin::Overlay((*name).to_owned()));
        }
        self.name = with_overlay(&self.name, name);
        for alias in &mut self.aliases {
            *alias = with_overlay(alias, name);
        }
        self.overlays.push((*name).to_owned());
        self.overlays.sort();
        self.check_consistent(text, parsed)
    }
}

fn find(name: &str) -> Option<Overlay> {
    OVERLAYS.iter().find(|(known, _)| *known == name).map(|(name, text)| overlay(name, text))
}

fn check_agreement(overlays: &[Overlay]) -> Result<(), OverlayError> {
    let mut values: BTreeMap<&'static str, (&'static str, Value)> = BTreeMap::new();
    for overlay in overlays {
        for (_, key, value) in overlay.values() {
            match values.get(key) {
                Some((first, first_value)) if *first_value != value => {
                    return Err(OverlayError::Contradiction {
                        key,
                        first,
                        first_value: first_value.clone(),
                        second: overlay.name,
                        second_value: value,
                    });
                }
                _ => drop(values.insert(key, (overlay.name, value))),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::TargetName;
    use crate::profile::shipped_names;

    fn shipped(name: &str) -> Profile {
        Profile::shipped(name).expect("a shipped profile")
    }

    fn error(names: &[&str]) -> (String, String) {
        let error = shipped("x86-64-v3").with_overlays(names.iter().copied()).expect_err("they do not fit");
        (error.to_string(), error.hint().expect("a hint"))
    }

    /// An overlay states settings and nothing else, and every profile takes each.
    #[test]
    fn every_profile_takes_every_overlay() {
        for overlay in overlays() {
            let Parsed { description, aliases, inherits, triple, isa, .. } = &overlay.parsed;
            assert!(!description.is_empty() && aliases.is_empty() && isa.is_empty(), "{}", overlay.name);
            assert!(inherits.is_none() && triple.is_none() && overlay.values().count() > 0, "{}", overlay.name);
            for name in shipped_names() {
                let plain = shipped(name);
                let profile = plain.with_overlays([overlay.name]).expect("it fits");
                assert_eq!(profile.name, format!("{name}+{}", overlay.name));
                profile.name.parse::<TargetName>().expect("a valid name");
                for (section, key, value) in overlay.values() {
                    let key = format!("{}.{key}", section.name());
                    assert_eq!(profile.effective().0.get(&key), Some(&value), "{} {key}", profile.name);
                }
                assert_eq!(profile.isa, plain.isa);
            }
        }
    }

    #[test]
    fn a_target_has_one_name_whatever_the_order_of_its_overlays() {
        let at_once = shipped("x86-64-v3").with_overlays(["fuel", "debug", "epoch"]).expect("they fit");
        let one_by_one = shipped("haswell").with_overlays(["fuel"]).and_then(|it| it.with_overlays(["epoch", "debug"]));
        let one_by_one = one_by_one.expect("they fit");
        assert_eq!(at_once.name, "x86-64-v3+debug+epoch+fuel");
        assert_eq!((&one_by_one.name, one_by_one.digest()), (&at_once.name, at_once.digest()));
        assert_eq!(one_by_one.overlays, ["debug", "epoch", "fuel"]);
        assert_eq!(at_once.aliases[0], "haswell+debug+epoch+fuel");
        assert_eq!(at_once.origin("fuel"), Origin::Overlay("fuel".to_owned()));
        assert_eq!(at_once.origin("simd"), Origin::Default);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let pair = |message: &str, hint: &str| (message.to_owned(), hint.to_owned());
        assert_eq!(
            error(&["epohc"]),
            pair("unknown overlay `epohc` in the target `x86-64-v3+epohc`", "did you mean `+epoch`?")
        );
        assert_eq!(
            error(&["telepathy"]),
            pair(
                "unknown overlay `telepathy` in the target `x86-64-v3+telepathy`",
                "the overlays are `+debug`, `+default`, `+epoch`, `+fuel`, `+portable-collector`"
            )
        );
        assert_eq!(
            error(&["epoch", "fuel", "epoch"]),
            pair("the target `x86-64-v3+epoch+fuel+epoch` has the overlay `epoch` twice", "name it once")
        );
        assert_eq!(
            error(&["epoch", "default"]),
            pair(
                "the overlays `default` and `epoch` contradict each other: `epoch-interruption` is false and true",
                "leave one of them out"
            )
        );
        let twice = shipped("z14").with_overlays(["fuel"]).and_then(|it| it.with_overlays(["fuel"]));
        assert!(matches!(twice, Err(OverlayError::Twice { .. })));
    }
}
