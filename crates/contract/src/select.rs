//! In: the variants of a module, a host and what it asks. Out: the best variant that runs there, and every other with
//! every reason. Pure, and the same for every order of the variants.
//!
//! What a form costs at run time comes before the extensions that it uses: a release may add metered, checked or debugging
//! forms of any profile, and no host that did not ask for one runs it instead of a plain native one.

use crate::isa::{self, Arch};
use crate::{Cost, Demand, Host, Mismatch, Requirements, Variant, check};
use std::cmp::{Ordering, Reverse};

/// A variant that was not chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejected {
    /// It does not run on the host, or does not meet the demand: every reason.
    Incompatible(Vec<Mismatch>),
    /// It runs on the host, but the chosen one is better: why, in words.
    Outranked(String),
}

/// The outcome of a selection.
#[derive(Debug)]
pub struct Selection<'a> {
    demand: Demand,
    /// The variant to run, or none when no variant runs on the host.
    pub chosen: Option<&'a Variant>,
    /// Every other variant, best first, with why it was not chosen.
    pub rejected: Vec<(&'a Variant, Rejected)>,
}

impl<'a> Selection<'a> {
    /// The variants for the host's architecture, operating system and engine that meet the demand and rank before the
    /// chosen one but do not run on the host. If there are any, the host runs a lesser form than the release offers.
    pub fn steps_down(&self) -> impl Iterator<Item = (&'a Variant, &[Mismatch])> {
        self.rejected.iter().filter_map(|(variant, rejected)| match (self.chosen, rejected) {
            (Some(chosen), Rejected::Incompatible(mismatches))
                if rank(variant, chosen, &self.demand).is_lt() && same_machine(mismatches) =>
            {
                Some((*variant, mismatches.as_slice()))
            }
            _ => None,
        })
    }
}

fn same_machine(mismatches: &[Mismatch]) -> bool {
    let other = |mismatch: &Mismatch| {
        matches!(
            mismatch,
            Mismatch::Architecture { .. }
                | Mismatch::OperatingSystem { .. }
                | Mismatch::Engine { .. }
                | Mismatch::Limit { .. }
                | Mismatch::Target { .. }
        )
    };
    !mismatches.iter().any(other)
}

/// Chooses among `variants` for `host`. Of those that run there and meet the demand: native code before Pulley, then what
/// keeps more of the preferred limits, then what [costs](Cost) less, apart from what the demand requires, then more extensions before
/// fewer, the higher priority, fewer proposals before more, the newer engine before the older, then by name.
pub fn select<'a>(variants: &'a [Variant], host: &Host, demand: &Demand) -> Selection<'a> {
    let mut ranked: Vec<&Variant> = variants.iter().collect();
    ranked.sort_by(|a, b| rank(a, b, demand));
    let mut chosen: Option<&Variant> = None;
    let mut rejected = Vec::new();
    for variant in ranked {
        let mut mismatches = check(&variant.requirements, host);
        mismatches.extend(demand.unmet_by(variant));
        match chosen {
            _ if !mismatches.is_empty() => rejected.push((variant, Rejected::Incompatible(mismatches))),
            None => chosen = Some(variant),
            Some(better) => rejected.push((variant, Rejected::Outranked(why_outranked(better, variant, demand)))),
        }
    }
    Selection { demand: demand.clone(), chosen, rejected }
}

/// The better variant is less. Architecture and digest after the name make the order total.
fn rank(a: &Variant, b: &Variant, demand: &Demand) -> Ordering {
    key(a, demand)
        .cmp(&key(b, demand))
        .then_with(|| newer(&b.engine, &a.engine))
        .then_with(|| (&a.target, &a.requirements.arch, a.manifest).cmp(&(&b.target, &b.requirements.arch, b.manifest)))
}

/// What ranks a variant before its engine and name do: the better one is less.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    is_pulley: bool,
    limits_missing: usize,
    cost_percent: u32,
    extensions: Reverse<usize>,
    priority: Reverse<i32>,
    proposals: usize,
}

fn key(variant: &Variant, demand: &Demand) -> Key {
    let Requirements { arch, isa, wasm_features, .. } = &variant.requirements;
    Key {
        is_pulley: arch.is_pulley(),
        limits_missing: demand.not_preferred(variant).len(),
        cost_percent: demand.costs_of(variant).into_iter().map(Cost::percent).sum(),
        extensions: Reverse(isa_weight(*arch, isa.iter().map(String::as_str))),
        priority: Reverse(variant.priority),
        proposals: wasm_features.len(),
    }
}

/// Whether nothing but the name decides between two variants of one engine on a host that runs both, for an empty demand.
pub fn only_name_differs(a: &Variant, b: &Variant) -> bool {
    let (x, y) = (&a.requirements, &b.requirements);
    let demand = Demand::default();
    (x.arch, &x.os, &a.engine) == (y.arch, &y.os, &b.engine) && key(a, &demand) == key(b, &demand)
}

/// How many extensions a set has, with all that they imply: a list that spells implications out counts the same as one
/// that does not.
fn isa_weight<'a>(arch: Arch, names: impl Iterator<Item = &'a str>) -> usize {
    let mut unknown = 0;
    let known = names.filter_map(|name| {
        let row = isa::by_name(arch, name);
        unknown += usize::from(row.is_none());
        row.map(|row| row.name)
    });
    let known = known.collect();
    isa::closure(arch, &known).len() + unknown
}

/// Text that is not a version is older than every version: compared as text with some and as a version with others, the
/// order would not be transitive.
fn newer(a: &str, b: &str) -> Ordering {
    let key = |text: &str| semver::Version::parse(text).ok();
    key(a).cmp(&key(b)).then_with(|| a.cmp(b))
}

fn why_outranked(better: &Variant, variant: &Variant, demand: &Demand) -> String {
    let (a, b) = (&better.requirements, &variant.requirements);
    let (better_key, key) = (key(better, demand), key(variant, demand));
    let name = &better.target;
    if better_key.is_pulley != key.is_pulley {
        return format!("compatible, but {name} is native code");
    }
    if better_key.limits_missing != key.limits_missing {
        let missing = demand.not_preferred(variant);
        let more = missing.iter().filter(|limit| limit.is_kept_by(a)).map(ToString::to_string);
        return format!("compatible, but {name} keeps {}", more.collect::<Vec<_>>().join(" and "));
    }
    if better_key.cost_percent != key.cost_percent {
        let kept = demand.costs_of(better);
        let saved =
            demand.costs_of(variant).into_iter().filter(|cost| !kept.contains(cost)).map(|cost| cost.to_string());
        return format!("compatible, but {name} has no {}", saved.collect::<Vec<_>>().join(", "));
    }
    if better_key.extensions != key.extensions {
        let unused: Vec<_> = a.isa.difference(&b.isa).map(String::as_str).collect();
        return format!("compatible, but {name} also uses {}", unused.join(", "));
    }
    if better.priority != variant.priority {
        return format!("compatible, but {name} has the priority {}, not {}", better.priority, variant.priority);
    }
    if a.wasm_features.len() != b.wasm_features.len() {
        return format!("compatible, but {name} requires fewer proposals");
    }
    if better.engine != variant.engine {
        return format!("compatible, but {name} was compiled by the newer wasmtime {}", better.engine);
    }
    format!("compatible, but {name} comes first by name")
}
