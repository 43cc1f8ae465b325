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
            assert!(!overlay.description.is_empty() && overlay.is_shipped(), "{}", overlay.name);
            for name in shipped_names() {
                let plain = shipped(name);
                let profile = plain.with_overlays([overlay.name.as_str()]).expect("it fits");
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
        let names: Vec<_> = one_by_one.overlays.iter().map(|overlay| overlay.name.as_str()).collect();
        assert_eq!(names, ["debug", "epoch", "fuel"]);
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
                "the overlays are `+debug`, `+default`, `+epoch`, `+fuel`, `+portable-collector`; one of your own is a file, \
                 `+./NAME.toml`"
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

    fn own(name: &str, text: &str) -> Result<Overlay, ProfileError> {
        Overlay::parse(ProfileText { name: name.to_owned(), path: format!("own/{name}.toml"), text: text.to_owned() })
    }

    #[test]
    fn an_overlay_of_ones_own_is_put_on_as_the_shipped_ones_are() {
        let small = || own("small", "[optimize]\nmemory-reservation = '64MiB'\n[wasm]\nfuel = false").expect("valid");
        let profile =
            shipped("haswell").put_on([small()]).and_then(|it| it.with_overlays(["epoch"])).expect("they fit");
        assert_eq!((profile.name.as_str(), profile.settings.memory_reservation.0), ("x86-64-v3+epoch+small", 64 << 20));
        assert_eq!(profile.origin("memory-reservation"), Origin::Overlay("small".to_owned()));
        assert_eq!(profile.path, "targets/x86-64-v3.toml (shipped) + own/small.toml");
        // In whichever order they come, they agree or they do not.
        let first = shipped("x86-64-v3").put_on([small()]).and_then(|it| it.with_overlays(["fuel"]));
        let second = shipped("x86-64-v3").with_overlays(["fuel"]).and_then(|it| it.put_on([small()]));
        let message = "the overlays `fuel` and `small` contradict each other: `fuel` is true and false";
        assert_eq!(first.expect_err("they do not fit").to_string(), message);
        assert_eq!(second.expect_err("they do not fit").to_string(), message);
        let twice = shipped("z14").put_on([small(), small()]).expect_err("it is there twice");
        assert!(matches!(twice, OverlayError::Twice { .. }));
    }

    #[test]
    fn what_is_no_overlay_is_refused_with_its_line() {
        for (name, text, expected) in [
            (
                "my",
                "isa = ['avx']\n",
                "own/my.toml:1: `isa` is for profiles; an overlay has a description and settings",
            ),
            ("my", "[wasm]\nful = true\n", "own/my.toml:2: unknown key `ful` in [wasm]"),
            ("my", "description = 'nothing'\n", "own/my.toml: the overlay states no setting"),
            ("fuel", "[wasm]\nfuel = true\n", "own/fuel.toml: `fuel` is the name of a shipped overlay"),
            ("a+b", "[wasm]\nfuel = true\n", "own/a+b.toml: invalid profile name `a+b`"),
        ] {
            let error = own(name, text).expect_err(expected);
            assert!(error.to_string().starts_with(expected) && error.hint().is_some(), "{error}");
        }
        // What fits no platform has the overlay's line.
        let signals = own("signals", "\n[optimize]\nsignals-based-traps = true").expect("a valid overlay");
        let error = shipped("pulley64").put_on([signals]).expect_err("Pulley has no signals");
        let OverlayError::Profile { source, .. } = error else { panic!("{error}") };
        assert!(source.to_string().starts_with("own/signals.toml:3: `signals-based-traps` clashes"), "{source}");
    }
}
