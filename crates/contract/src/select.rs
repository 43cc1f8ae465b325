//! In: the variants of a module and a host. Out: the best variant that runs there, and every other with every reason.
//! Pure, and the same for every order of the variants.

use crate::isa::{self, Arch};
use crate::{Digest, Host, Mismatch, Requirements, check};
use std::cmp::{Ordering, Reverse};

/// One compiled form of a module, as the index of a release describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// The profile that it was compiled for.
    pub target: String,
    /// The profiles that it serves: `target`, and those whose own code came out equal.
    pub serves: Vec<String>,
    /// The exact version of the engine that compiled it.
    pub engine: String,
    /// What it needs.
    pub requirements: Requirements,
    /// The manifest that holds it.
    pub manifest: Digest,
}

/// A variant that was not chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejected {
    /// It does not run on the host; every reason.
    Incompatible(Vec<Mismatch>),
    /// It runs, and another is better; why.
    Outranked(String),
}

/// The outcome of a selection.
#[derive(Debug)]
pub struct Selection<'a> {
    /// The variant to run, or none when no variant runs on the host.
    pub chosen: Option<&'a Variant>,
    /// Every other variant, best first, with why it was not chosen.
    pub rejected: Vec<(&'a Variant, Rejected)>,
}

impl<'a> Selection<'a> {
    /// The variants for the host's own kind of machine that would have been better but do not run on it. Not empty
    /// means that a server runs a lesser form than the release could offer.
    pub fn steps_down(&self) -> impl Iterator<Item = (&'a Variant, &[Mismatch])> {
        self.rejected.iter().filter_map(|(variant, rejected)| match (self.chosen, rejected) {
            (Some(chosen), Rejected::Incompatible(mismatches))
                if rank(variant, chosen).is_lt() && same_machine(mismatches) =>
            {
                Some((*variant, mismatches.as_slice()))
            }
            _ => None,
        })
    }
}

fn same_machine(mismatches: &[Mismatch]) -> bool {
    let other = |mismatch: &Mismatch| {
        matches!(mismatch, Mismatch::Architecture { .. } | Mismatch::OperatingSystem { .. } | Mismatch::Engine { .. })
    };
    !mismatches.iter().any(other)
}

/// Chooses among `variants` for `host`.
pub fn select<'a>(variants: &'a [Variant], host: &Host) -> Selection<'a> {
    let mut ranked: Vec<&Variant> = variants.iter().collect();
    ranked.sort_by(|a, b| rank(a, b));
    let mut chosen: Option<&Variant> = None;
    let mut rejected = Vec::new();
    for variant in ranked {
        let mismatches = check(&variant.requirements, host);
        match chosen {
            _ if !mismatches.is_empty() => rejected.push((variant, Rejected::Incompatible(mismatches))),
            None => chosen = Some(variant),
            Some(better) => rejected.push((variant, Rejected::Outranked(why_outranked(better, variant)))),
        }
    }
    Selection { chosen, rejected }
}

/// Better variants are less: native before Pulley, more extensions before fewer, fewer other demands, the newer
/// engine, then by name and digest so that the order is total.
fn rank(a: &Variant, b: &Variant) -> Ordering {
    key(a)
        .cmp(&key(b))
        .then_with(|| newer(&b.engine, &a.engine))
        .then_with(|| (&a.target, &a.requirements.arch, a.manifest).cmp(&(&b.target, &b.requirements.arch, b.manifest)))
}

fn key(variant: &Variant) -> (bool, Reverse<usize>, usize) {
    let Requirements { arch, isa, wasm_features, .. } = &variant.requirements;
    (arch.is_pulley(), Reverse(isa_weight(*arch, isa.iter().map(String::as_str))), wasm_features.len())
}

/// How many extensions a set stands for, with all that they imply: lists that spell implications out and lists that
/// leave them away count the same.
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

/// What is no version is older than every version: compared as text with some and as a version with others, the order
/// would go round in a circle.
fn newer(a: &str, b: &str) -> Ordering {
    let key = |text: &str| semver::Version::parse(text).ok();
    key(a).cmp(&key(b)).then_with(|| a.cmp(b))
}

fn why_outranked(better: &Variant, variant: &Variant) -> String {
    let (a, b) = (&better.requirements, &variant.requirements);
    let name = &better.target;
    if a.arch.is_pulley() != b.arch.is_pulley() {
        return format!("runs here, but {name} is native code");
    }
    let unused: Vec<_> = a.isa.difference(&b.isa).map(String::as_str).collect();
    if key(better).1 != key(variant).1 && !unused.is_empty() {
        return format!("runs here, but {name} also uses {}", unused.join(", "));
    }
    if a.wasm_features.len() != b.wasm_features.len() {
        return format!("runs here, but {name} asks the engine for fewer proposals");
    }
    if better.engine != variant.engine {
        return format!("runs here, but {name} was made by the newer wasmtime {}", better.engine);
    }
    format!("runs here as well as {name}, which comes first by name")
}
