//! In: the variants of a module and a host. Out: the best variant that runs there, and every other with every reason.
//! Pure, and the same for every order of the variants.

use crate::isa::{self, Arch};
use crate::{Digest, Host, Mismatch, Requirements, check};
use std::cmp::{Ordering, Reverse};

/// One compiled form of a module, as a module's index describes it.
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
    /// The digest of its manifest.
    pub manifest: Digest,
}

/// A variant that was not chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejected {
    /// It does not run on the host: every reason.
    Incompatible(Vec<Mismatch>),
    /// It runs on the host, but the chosen one is better: why, in words.
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
    /// The variants for the host's architecture, operating system and engine that rank before the chosen one but do not
    /// run on the host. If there are any, the host runs a lesser form than the release offers.
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

/// Chooses among `variants` for `host`: native code before Pulley, more extensions before fewer, fewer proposals before
/// more, the newer engine before the older, then by name.
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

/// The better variant is less. Architecture and digest after the name make the order total.
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

fn why_outranked(better: &Variant, variant: &Variant) -> String {
    let (a, b) = (&better.requirements, &variant.requirements);
    let name = &better.target;
    if a.arch.is_pulley() != b.arch.is_pulley() {
        return format!("compatible, but {name} is native code");
    }
    if key(better).1 != key(variant).1 {
        let unused: Vec<_> = a.isa.difference(&b.isa).map(String::as_str).collect();
        return format!("compatible, but {name} also uses {}", unused.join(", "));
    }
    if a.wasm_features.len() != b.wasm_features.len() {
        return format!("compatible, but {name} requires fewer proposals");
    }
    if better.engine != variant.engine {
        return format!("compatible, but {name} was compiled by the newer wasmtime {}", better.engine);
    }
    format!("compatible, but {name} comes first by name")
}
