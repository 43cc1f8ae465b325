//! What a host requires of a form, besides that it runs there: limits that it must keep, and the target that it must be
//! for. In: a [`Demand`] and a form. Out: every reason why the form does not meet it. Never here: which form is chosen.

use crate::{Cost, Limit, Mismatch, Requirements, Variant};

/// How much a host depends on a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Not at all: a form that keeps it is slower for nothing.
    #[default]
    None,
    /// A form that keeps it comes before one that does not.
    Preferred,
    /// Only a form that keeps it is chosen.
    Required,
}

/// What a host requires of a form, besides that it runs there. By default nothing: the fastest form is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// How much it depends on a deadline by which guests end.
    pub deadline: Urgency,
    /// How much it depends on guests that end when their fuel is used up.
    pub fuel: Urgency,
    /// The target that the form must serve, by its name in the release.
    pub target: Option<String>,
}

impl Demand {
    /// A demand that requires `limits`.
    pub fn required(limits: &[Limit]) -> Demand {
        let urgency = |limit| if limits.contains(&limit) { Urgency::Required } else { Urgency::None };
        Demand { deadline: urgency(Limit::Deadline), fuel: urgency(Limit::Fuel), target: None }
    }

    /// How much the host depends on `limit`.
    pub fn urgency(&self, limit: Limit) -> Urgency {
        match limit {
            Limit::Deadline => self.deadline,
            Limit::Fuel => self.fuel,
        }
    }

    /// Every required limit that an artifact with these requirements does not keep.
    pub fn unmet(&self, requirements: &Requirements) -> Vec<Mismatch> {
        self.unmet_limits(requirements, None)
    }

    /// Every reason why `variant` does not meet the demand.
    pub(crate) fn unmet_by(&self, variant: &Variant) -> Vec<Mismatch> {
        let mut unmet = Vec::new();
        if let Some(expected) = &self.target
            && !variant.is_for(expected)
        {
            unmet.push(Mismatch::Target { has: variant.target.clone(), expected: expected.clone() });
        }
        unmet.extend(self.unmet_limits(&variant.requirements, Some(&variant.target)));
        unmet
    }

    fn unmet_limits(&self, requirements: &Requirements, target: Option<&str>) -> Vec<Mismatch> {
        let required = Limit::ALL.into_iter().filter(|limit| self.urgency(*limit) == Urgency::Required);
        let missing = required.filter(|limit| !limit.is_kept_by(requirements));
        missing.map(|limit| Mismatch::Limit { limit, target: target.map(str::to_owned) }).collect()
    }

    /// The preferred limits that `variant` does not keep.
    pub(crate) fn not_preferred(&self, variant: &Variant) -> Vec<Limit> {
        let preferred = Limit::ALL.into_iter().filter(|limit| self.urgency(*limit) == Urgency::Preferred);
        preferred.filter(|limit| !limit.is_kept_by(&variant.requirements)).collect()
    }

    /// The costs of `variant` for which the host did not ask.
    pub(crate) fn costs_of(&self, variant: &Variant) -> Vec<Cost> {
        let is_asked =
            |cost: &Cost| Limit::ALL.iter().any(|limit| limit.cost() == *cost && self.urgency(*limit) > Urgency::None);
        variant.costs().into_iter().filter(|cost| !is_asked(cost)).collect()
    }
}
