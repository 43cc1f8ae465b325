//! The forms in which a manifest ships each target. In: the words of `limits`, and profiles. Out: each profile in each form,
//! or the first problem.

use super::Problem;
use isomer_contract::name::OVERLAY;
use isomer_contract::profile::OverlayError;
use isomer_contract::{Limit, Profile, nearest};
use std::collections::BTreeSet;
use std::ops::Range;
use std::str::FromStr;
use toml::Spanned;

/// The limits that one form of a target keeps. A release may ship several forms of a target side by side, and each server
/// takes the one that keeps what it asks for.
///
/// ```
/// use isomer_compile::release_manifest::FormLimits;
///
/// let forms: Result<Vec<FormLimits>, _> = ["none", "epoch", "epoch+fuel"].iter().map(|text| text.parse()).collect();
/// let overlays = forms.unwrap().iter().map(|form| form.overlays().collect()).collect::<Vec<Vec<_>>>();
/// assert_eq!(overlays, [vec![], vec!["epoch"], vec!["epoch", "fuel"]]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FormLimits(BTreeSet<Limit>);

impl FormLimits {
    /// The word for a form that keeps none.
    const NONE: &str = "none";

    /// The overlays of the form.
    pub fn overlays(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|limit| limit.overlay())
    }
}

impl FromStr for FormLimits {
    type Err = Problem;

    fn from_str(text: &str) -> Result<FormLimits, Problem> {
        if text == FormLimits::NONE {
            return Ok(FormLimits::default());
        }
        let mut limits = BTreeSet::new();
        for word in text.split(OVERLAY) {
            let limit = Limit::ALL.into_iter().find(|limit| limit.overlay() == word).ok_or_else(|| {
                let known = Limit::ALL.iter().map(|limit| limit.overlay()).chain([FormLimits::NONE]);
                Problem::UnknownLimit { name: text.to_owned(), nearest: nearest(word, known).map(str::to_owned) }
            })?;
            if !limits.insert(limit) {
                return Err(Problem::LimitTwice(text.to_owned()));
            }
        }
        Ok(FormLimits(limits))
    }
}

/// The forms; an empty list, and one that names a form twice, are errors.
pub(super) fn form_limits(
    typed: Vec<Spanned<String>>,
    of: &dyn Fn() -> String,
) -> Result<Vec<FormLimits>, (Option<Range<usize>>, Problem)> {
    let mut forms: Vec<FormLimits> = Vec::new();
    for word in &typed {
        let form: FormLimits = word.get_ref().parse().map_err(|problem| (Some(word.span()), problem))?;
        if forms.contains(&form) {
            return Err((Some(word.span()), Problem::LimitTwice(word.get_ref().clone())));
        }
        forms.push(form);
    }
    if forms.is_empty() { Err((None, Problem::NoLimits(of()))) } else { Ok(forms) }
}

/// Each of `profiles` in each of these forms, without repetition: a profile may have the overlay of a limit already.
///
/// # Errors
/// When a profile does not take the overlay of a limit.
pub(crate) fn with_limits(profiles: &[Profile], limits: &[FormLimits]) -> Result<Vec<Profile>, OverlayError> {
    let mut forms: Vec<Profile> = Vec::new();
    for profile in profiles {
        for limits in limits {
            let is_new = |overlay: &&str| !profile.overlays.iter().any(|known| known.name == *overlay);
            let form = profile.with_overlays(limits.overlays().filter(is_new))?;
            if !forms.iter().any(|known| known.name == form.name) {
                forms.push(form);
            }
        }
    }
    Ok(forms)
}
