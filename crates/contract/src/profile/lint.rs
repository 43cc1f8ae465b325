//! In: resolved profiles. Out: what is valid but probably a mistake.

use super::Profile;
use crate::cost::{GUARD_MIN, RESERVATION_MIN};
use crate::settings::OptLevel;
use std::collections::BTreeMap;
use std::fmt;

/// Something that is valid but probably a mistake.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remark {
    /// No description.
    NoDescription {
        /// The profile.
        profile: String,
    },
    /// Two profiles that generate the same code.
    SameSettings {
        /// The profile.
        profile: String,
        /// The other.
        other: String,
    },
    /// A name or alias of two profiles.
    SharedName {
        /// The profile.
        profile: String,
        /// The other.
        other: String,
        /// The name.
        name: String,
    },
    /// Explicit bounds checks, or code that is not optimised.
    Slow {
        /// The profile.
        profile: String,
        /// What costs and what to set.
        reason: String,
    },
}

impl Remark {
    /// The name of the profile that it is about.
    pub fn profile(&self) -> &str {
        match self {
            Remark::NoDescription { profile }
            | Remark::SameSettings { profile, .. }
            | Remark::SharedName { profile, .. }
            | Remark::Slow { profile, .. } => profile,
        }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remark::NoDescription { profile } => write!(f, "{profile}: no `description`"),
            Remark::SameSettings { profile, other } => {
                write!(f, "{profile}: the same effective settings as {other}; one of them can be an alias")
            }
            Remark::SharedName { profile, other, name } => write!(f, "{profile}: `{name}` also names {other}"),
            Remark::Slow { profile, reason } => write!(f, "{profile}: {reason}"),
        }
    }
}

/// Every remark on `profiles`.
pub fn lint(profiles: &[Profile]) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    for (index, profile) in profiles.iter().enumerate() {
        let name = || profile.name.clone();
        if profile.description.is_empty() {
            remarks.push(Remark::NoDescription { profile: name() });
        }
        remarks.extend(slow(profile).into_iter().map(|reason| Remark::Slow { profile: name(), reason }));
        if let Some(other) = profiles[..index].iter().find(|other| same_settings(other, profile)) {
            remarks.push(Remark::SameSettings { profile: name(), other: other.name.clone() });
        }
        for claimed in std::iter::once(&profile.name).chain(&profile.aliases) {
            if let Some(other) = names.insert(claimed, &profile.name) {
                remarks.push(Remark::SharedName { profile: name(), other: other.to_owned(), name: claimed.clone() });
            }
        }
    }
    remarks
}

fn same_settings(a: &Profile, b: &Profile) -> bool {
    a.triple == b.triple && a.isa.keys().eq(b.isa.keys()) && a.settings == b.settings && a.features == b.features
}

/// What keeps native code below the speed that wasmtime's guide to fast execution describes.
fn slow(profile: &Profile) -> Vec<String> {
    if profile.arch.is_pulley() {
        return Vec::new();
    }
    let settings = &profile.settings;
    let mut reasons = Vec::new();
    if !settings.signals_based_traps {
        reasons.push("signals-based-traps is off, so every memory access is checked explicitly".to_owned());
    }
    if settings.memory_reservation < RESERVATION_MIN {
        reasons.push(format!(
            "memory-reservation is {}; below 4GiB every memory access is checked explicitly",
            settings.memory_reservation
        ));
    }
    if settings.memory_guard_size < GUARD_MIN {
        reasons.push(format!(
            "memory-guard-size is {}; below 32MiB accesses with a larger offset are checked explicitly",
            settings.memory_guard_size
        ));
    }
    if settings.opt_level == OptLevel::None {
        reasons.push("opt-level is none".to_owned());
    }
    reasons
}
