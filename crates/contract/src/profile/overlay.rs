//! Overlays: small sets of settings that any profile takes. The shipped ones are the files of `targets/overlays/`, compiled
//! in; a user's own is a file. In: a profile, and overlays or their names. Out: the profile with their settings, or why they
//! do not fit together. Never here: a platform or an ISA extension, which only profiles have; a file that is opened.

use super::parse::{self, Parsed};
use super::{Origin, Problem, Profile, ProfileError, ProfileText};
use crate::name::{OVERLAY, ProfileName, with_overlay};
use crate::settings::{Section, Value};
use crate::{Hinted, nearest, proposals};
use std::collections::BTreeMap;

macro_rules! overlays {
    ($($name:literal),+ $(,)?) => {
        /// Name and text of each shipped overlay, in the order of names.
        const OVERLAYS: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../targets/overlays/", $name, ".toml")))),+];
    };
}

overlays!["debug", "default", "epoch", "fuel", "portable-collector"];

/// What a profile's file has, and an overlay's has not.
const OF_PROFILES: [&str; 5] = ["aliases", "inherits", "priority", "triple", "isa"];

/// A set of settings that any profile takes.
#[derive(Clone, Debug)]
pub struct Overlay {
    /// Its name: the part after `+` in the name of a target.
    pub name: String,
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
        first: String,
        /// Its value.
        first_value: Value,
        /// The other.
        second: String,
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
                Some(format!(
                    "the overlays are {}; one of your own is a file, `{OVERLAY}./NAME.toml`",
                    names.join(", ")
                ))
            }
            OverlayError::Twice { .. } => Some("name it once".to_owned()),
            OverlayError::Contradiction { .. } => Some("leave one of them out".to_owned()),
            OverlayError::Profile { source, .. } => source.hint(),
        }
    }
}

/// The names of the shipped overlays, sorted.
pub fn overlay_names() -> impl Iterator<Item = &'static str> {
    OVERLAYS.iter().map(|(name, _)| *name)
}

/// Every shipped overlay, in the order of [`overlay_names`].
pub fn overlays() -> impl Iterator<Item = Overlay> {
    OVERLAYS.iter().map(|(name, text)| shipped(name, text))
}

fn shipped_path(name: &str) -> String {
    format!("targets/overlays/{name}.toml (shipped)")
}

fn shipped(name: &str, text: &str) -> Overlay {
    let text = ProfileText { name: name.to_owned(), path: shipped_path(name), text: text.to_owned() };
    Overlay::read(text).expect("a test parses every overlay")
}

impl Overlay {
    /// The shipped overlay of that name.
    pub fn shipped(name: &str) -> Option<Overlay> {
        OVERLAYS.iter().find(|(known, _)| *known == name).map(|(name, text)| shipped(name, text))
    }

    /// Reads the text of a user's own overlay.
    ///
    /// ```
    /// use isomer_contract::profile::{Overlay, ProfileText};
    /// use isomer_contract::Profile;
    ///
    /// let text = "description = \"small memories\"\n[optimize]\nmemory-reservation = \"64MiB\"\n".to_owned();
    /// let small = Overlay::parse(ProfileText { name: "small".to_owned(), path: "small.toml".to_owned(), text })?;
    /// let plain = Profile::shipped("x86-64-v3").expect("a shipped profile");
    /// assert_eq!(plain.put_on([small])?.name, "x86-64-v3+small");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When it is not valid, or has what only profiles have, no setting, or the name of a shipped overlay.
    pub fn parse(text: ProfileText) -> Result<Overlay, ProfileError> {
        text.name.parse::<ProfileName>().map_err(|error| text.error(None, error.into()))?;
        if overlay_names().any(|name| name == text.name) {
            return Err(text.error(None, Problem::ShippedOverlay { name: text.name.clone() }));
        }
        Overlay::read(text)
    }

    fn read(text: ProfileText) -> Result<Overlay, ProfileError> {
        let parsed = parse::parse(&text)?;
        if let Some((key, line)) = parsed.first_of(&OF_PROFILES) {
            return Err(text.error(Some(line), Problem::NotOfOverlays { key }));
        }
        let overlay = Overlay { name: text.name.clone(), description: parsed.description.clone(), text, parsed };
        if overlay.values().next().is_none() {
            return Err(overlay.text.error(None, Problem::NoSetting));
        }
        Ok(overlay)
    }

    /// The file, as it is named in messages.
    pub fn path(&self) -> &str {
        &self.text.path
    }

    /// Whether it is one of [`overlays`].
    pub fn is_shipped(&self) -> bool {
        self.text.path == shipped_path(&self.name)
    }

    /// Every setting and proposal that it states, by key.
    pub fn values(&self) -> impl Iterator<Item = (Section, &'static str, Value)> {
        let settings = self.parsed.settings.values().map(|(row, value)| (row.section, row.key, value));
        let proposals = self.parsed.proposals.iter().map(|(row, on, _)| (Section::Wasm, row.key, Value::Bool(*on)));
        settings.chain(proposals)
    }
}

impl Profile {
    /// This profile with the settings of the shipped overlays `names` on top, under a name that has each of them:
    /// `x86-64-v3+debug+epoch`.
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
        let overlay = |name: &&str| {
            Overlay::shipped(name).ok_or_else(|| OverlayError::Unknown {
                name: (*name).to_owned(),
                target: target(self, names.iter().copied()),
                nearest: nearest(name, overlay_names()).map(str::to_owned),
            })
        };
        self.put_on(names.iter().map(overlay).collect::<Result<Vec<_>, _>>()?)
    }

    /// This profile with the settings of `overlays` on top.
    ///
    /// # Errors
    /// When one is on it already or given twice, when two contradict each other or one the profile.
    pub fn put_on(&self, overlays: impl IntoIterator<Item = Overlay>) -> Result<Profile, OverlayError> {
        let mut overlays: Vec<Overlay> = overlays.into_iter().collect();
        let target = target(self, overlays.iter().map(|overlay| overlay.name.as_str()));
        let mut all = self.overlays.clone();
        for overlay in &overlays {
            if all.iter().any(|other| other.name == overlay.name) {
                return Err(OverlayError::Twice { name: overlay.name.clone(), target });
            }
            all.push(overlay.clone());
        }
        all.sort_by(|one, other| one.name.cmp(&other.name));
        check_agreement(&all)?;
        overlays.sort_by(|one, other| one.name.cmp(&other.name));
        let mut profile = self.clone();
        for overlay in overlays {
            profile.put(&overlay).map_err(|source| {
                let (target, source) = (target.clone(), Box::new(source));
                OverlayError::Profile { target, source }
            })?;
        }
        profile.overlays = all;
        Ok(profile)
    }

    fn put(&mut self, overlay: &Overlay) -> Result<(), ProfileError> {
        let Overlay { name, description: _, text, parsed } = overlay;
        parsed.settings.apply(&mut self.settings, |key| {
            self.origins.insert(key, Origin::Overlay(name.clone()));
        });
        for (proposal, enable, line) in &parsed.proposals {
            let unsupported = proposals::unsupported_on(self.arch);
            if *enable && let Some((_, reason)) = unsupported.iter().find(|(feature, _)| *feature == proposal.feature) {
                let problem = Problem::Unsupported { key: proposal.key, reason: (*reason).to_owned() };
                return Err(text.error(Some(*line), problem));
            }
            self.features.set(proposal.feature, *enable);
            self.origins.insert(proposal.key, Origin::Overlay(name.clone()));
        }
        self.name = with_overlay(&self.name, name);
        for alias in &mut self.aliases {
            *alias = with_overlay(alias, name);
        }
        if !overlay.is_shipped() {
            // Two files of one name are two overlays.
            self.path = format!("{} {OVERLAY} {}", self.path, text.path);
        }
        self.check_consistent(text, parsed)
    }
}

/// The target as typed.
fn target<'a>(profile: &'a Profile, overlays: impl Iterator<Item = &'a str>) -> String {
    let typed: Vec<_> = std::iter::once(profile.name.as_str()).chain(overlays).collect();
    typed.join(&OVERLAY.to_string())
}

fn check_agreement(overlays: &[Overlay]) -> Result<(), OverlayError> {
    let mut values: BTreeMap<&'static str, (&str, Value)> = BTreeMap::new();
    for overlay in overlays {
        for (_, key, value) in overlay.values() {
            match values.get(key) {
                Some((first, first_value)) if *first_value != value => {
                    return Err(OverlayError::Contradiction {
                        key,
                        first: (*first).to_owned(),
                        first_value: first_value.clone(),
                        second: overlay.name.clone(),
                        second_value: value,
                    });
                }
                _ => drop(values.insert(key, (overlay.name.as_str(), value))),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
