//! The measurement behind `measured.toml`: every operator, alone and in the combinations that code generators know, is
//! compiled with each extension on and off, and the code of each function is compared. `BLESS=1` writes the file.
//!
//! An extension is switched on top of three kinds of sets: the least that it implies; everything that does not imply
//! it; and each set on the way from one shipped profile to the next, one extension at a time. So the step between two
//! shipped profiles is a chain of steps that were all measured. Vector registers of 256 bits and more, which no shipped
//! profile requires, have no rows.

mod code;
mod fused;
mod moves;
mod pairs;
mod real;
mod samples;

use super::ingredients::{Ingredient, Ingredients};
use super::table::{self, Row};
use crate::express::express;
use crate::{Analysis, Compiler};
use isomer_contract::profile::{ProfileText, find_shipped, shipped_names};
use isomer_contract::proposals::PROPOSALS;
use isomer_contract::{Arch, Digest, Profile, isa};
use rayon::prelude::*;
use samples::{Function, Sample};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

type Isa = BTreeSet<&'static str>;

/// One extension, switched on.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    arch: Arch,
    extension: &'static str,
    without: Point,
    with: Point,
}

/// What code is generated for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    arch: Arch,
    isa: Isa,
    settings: &'static str,
}

/// The settings that change what code is made of.
const PLAIN: &str = "";
const EXPLICIT: &str = "
[optimize]
opt-level = 'none'
signals-based-traps = false
memory-reservation = '0'
memory-guard-size = '0'
[codegen]
heap-access-spectre-mitigation = false
table-access-spectre-mitigation = false
nan-canonicalization = true
[wasm]
fuel = true
epoch-interruption = true
";

impl Point {
    /// With the proposals that shipped profiles have.
    fn shipped_proposals(&self) -> Profile {
        let root = shipped_names().find(|name| Profile::shipped(name).unwrap().arch == self.arch).unwrap();
        let mut profile = Profile::shipped(root).unwrap();
        profile.isa = self.isa.iter().map(|name| (*name, "step".to_owned())).collect();
        profile
    }

    /// With every proposal that the architecture takes.
    fn profile(&self) -> Profile {
        let root = shipped_names().find(|name| Profile::shipped(name).unwrap().arch == self.arch).unwrap();
        let resolve = |lines: &str| {
            let wasm = if self.settings.contains("[wasm]") { "" } else { "[wasm]\n" };
            let text = format!("inherits = '{root}'\n{}{wasm}{lines}", self.settings);
            let text = ProfileText { name: "sweep".to_owned(), path: "sweep.toml".to_owned(), text };
            Profile::resolve(&text, &find_shipped)
        };
        let features = Profile::shipped(root).unwrap().features;
        let off = PROPOSALS.iter().filter(|proposal| !features.contains(proposal.feature));
        let accepted = off.map(|proposal| format!("{} = true\n", proposal.key)).filter(|line| resolve(line).is_ok());
        let lines: String = accepted.collect();
        let mut profile = resolve(&lines).unwrap_or_else(|error| panic!("{error}"));
        profile.isa = self.isa.iter().map(|name| (*name, "sweep".to_owned())).collect();
        profile
    }
}

/// Every extension that has a flag to switch.
fn extensions(arch: Arch) -> impl Iterator<Item = &'static str> {
    let long = |name: &str| name.strip_prefix("zvl").is_some_and(|bits| !matches!(bits, "32b" | "64b" | "128b"));
    isa::all(arch).filter(move |row| row.flag.is_some() && !row.baseline && !long(row.name)).map(|row| row.name)
}

fn closure(arch: Arch, extension: &'static str) -> Isa {
    isa::closure(arch, &Isa::from([extension]))
}

fn step(arch: Arch, without: &Isa, extension: &'static str, settings: &'static str) -> Step {
    let mut with = without.clone();
    with.insert(extension);
    let point = |isa: Isa| Point { arch, isa, settings };
    Step { arch, extension, without: point(without.clone()), with: point(with) }
}

/// The steps from each shipped profile to the ones that inherit from it.
fn shipped_steps(settings: &'static str) -> BTreeSet<Step> {
    let mut steps = BTreeSet::new();
    for name in shipped_names() {
        let profile = Profile::shipped(name).unwrap();
        let Some(parent) = profile.inherits.first() else { continue };
        let mut isa: Isa = Profile::shipped(parent).unwrap().isa.into_keys().collect();
        let mut left: Isa = profile.isa.keys().copied().filter(|name| !isa.contains(name)).collect();
        while !left.is_empty() {
            let closed = |name: &&'static str| {
                let mut least = closure(profile.arch, name);
                least.remove(name);
                least.is_subset(&isa)
            };
            let next = left.iter().copied().find(closed).expect("shipped profiles are closed");
            steps.insert(step(profile.arch, &isa, next, settings));
            isa.insert(next);
            left.remove(next);
        }
    }
    steps
}

/// Each extension alone, and on top of all that do not imply it: many rules require two at once.
fn single_steps() -> BTreeSet<Step> {
    let mut steps = BTreeSet::new();
    for (arch, extension) in Arch::ALL.into_iter().flat_map(|arch| extensions(arch).map(move |name| (arch, name))) {
        let mut least = closure(arch, extension);
        least.remove(extension);
        steps.insert(step(arch, &least, extension, PLAIN));
        let others = extensions(arch).filter(|other| !closure(arch, other).contains(extension));
        steps.insert(step(arch, &others.collect(), extension, PLAIN));
    }
    steps
}

/// What one function turned out as, by its symbol; and all else in the artifact.
type Outcome = BTreeMap<String, Digest>;

fn compile(points: &BTreeSet<&Point>, samples: &[Sample]) -> BTreeMap<Point, Vec<Option<Outcome>>> {
    let shipped: BTreeSet<Point> =
        shipped_steps(PLAIN).into_iter().flat_map(|step| [step.without, step.with]).collect();
    let compile = |point: &&Point| {
        let profile = point.profile();
        let compiler = Compiler::new(&profile).unwrap();
        let on_the_way = shipped.contains(point);
        let outcome = |sample: &Sample| {
            if sample.shipped_only && !on_the_way {
                return None;
            }
            if !matches!(express(&Analysis::of(&sample.input.wasm), &profile), Ok(Ok(()))) {
                return None;
            }
            let compiled =
                compiler.compile(&sample.input).unwrap_or_else(|error| panic!("{}: {error}", sample.input.name));
            Some(code::functions(point.arch, compiled.bytes()))
        };
        ((*point).clone(), samples.iter().map(outcome).collect())
    };
    points.par_iter().map(compile).collect()
}

/// What is not told of a function: operators that only order others.
const ORDER: [&str; 8] = ["End", "LocalGet", "LocalSet", "LocalTee", "Drop", "Nop", "Return", "Unreachable"];

/// Whether the operator's name tells what it works on: not so for calls, globals, choices.
fn has_own_type(operator: Ingredient) -> bool {
    ["I32", "I64", "F32", "F64", "V128", "I8x16", "I16x8"].iter().any(|of| operator.name().starts_with(of))
}

/// What a symbol of a sample is made of, as far as it can make a difference.
fn suspects(sample: &Sample, symbol: &str) -> Ingredients {
    let number = |text: &str| text.split(']').next().and_then(|number| number.parse::<usize>().ok());
    if let Some(number) = symbol.split("array_to_wasm_trampoline[").nth(1).and_then(number) {
        return sample.functions[number].signature.clone();
    }
    let Some(number) = symbol.split("::function[").nth(1).and_then(number) else {
        // What surrounds functions: anything in the sample may be the reason.
        let mut all = Ingredients::default();
        for Function { signature, body } in &sample.functions {
            all.add(signature);
            all.add(&body.iter().filter(|of| !ORDER.contains(&of.name())).collect());
        }
        return all;
    };
    let Function { signature, body } = &sample.functions[number];
    let operators = || body.iter().filter(|of| of.proposal().is_some() && !ORDER.contains(&of.name()));
    let mut everything = body.clone();
    everything.add(signature);
    let types = |of: &Ingredient| match of.name() {
        "constant of 16 bits" => true,
        "type f32" | "type f64" | "type v128" => !operators().all(has_own_type),
        _ => operators().next().is_none(),
    };
    operators().chain(everything.iter().filter(|of| of.proposal().is_none()).filter(types)).collect()
}

/// For each extension, the least sets of ingredients that explain every difference.
fn measure(steps: &BTreeSet<Step>, samples: &[Sample]) -> BTreeMap<(Arch, &'static str), Vec<Ingredients>> {
    let points = steps.iter().flat_map(|step| [&step.without, &step.with]).collect();
    let outcomes = compile(&points, samples);
    let mut found: BTreeMap<(Arch, &'static str), BTreeSet<(usize, Ingredients)>> = BTreeMap::new();
    for step in steps {
        let found = found.entry((step.arch, step.extension)).or_default();
        let pairs = outcomes[&step.without].iter().zip(&outcomes[&step.with]);
        for (sample, pair) in samples.iter().zip(pairs) {
            let (Some(without), Some(with)) = pair else { continue };
            let symbols: BTreeSet<_> = without.keys().chain(with.keys()).collect();
            for symbol in symbols.into_iter().filter(|symbol| without.get(*symbol) != with.get(*symbol)) {
                let suspects = suspects(sample, symbol);
                found.insert((suspects.iter().count(), suspects));
            }
        }
    }
    let least = |suspected: BTreeSet<(usize, Ingredients)>| {
        let mut least: Vec<Ingredients> = Vec::new();
        for (_, suspects) in suspected {
            if !least.iter().any(|explained| suspects.includes(explained)) {
                least.push(suspects);
            }
        }
        least
    };
    found.into_iter().map(|(extension, suspected)| (extension, least(suspected))).collect()
}

#[test]
fn the_table_is_what_is_measured() {
    let samples = samples::all();
    let mut steps = single_steps();
    steps.extend(shipped_steps(PLAIN));
    steps.extend(shipped_steps(EXPLICIT));
    let points: BTreeSet<_> = steps.iter().flat_map(|step| [&step.without, &step.with]).collect();
    println!("{} steps, {} points, {} samples", steps.len(), points.len(), samples.len());
    let started = std::time::Instant::now();
    let measured = measure(&steps, &samples);
    println!("{:?}", started.elapsed());
    let written = write(&measured);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/predict/measured.toml");
    if std::env::var_os("BLESS").is_some() {
        return std::fs::write(path, written).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(written == committed, "run this test with BLESS=1 and look at what changes in {path}");
}

/// The table as a file. What people decided stays.
fn write(measured: &BTreeMap<(Arch, &'static str), Vec<Ingredients>>) -> String {
    let mut text = "# What each extension can affect: made by `BLESS=1 cargo test -p isomer-compile measured`, which also checks it.\n\
                    # `unpredicted` is written by hand.\n"
        .to_owned();
    for ((arch, extension), affected) in measured {
        write!(text, "\n[[extension]]\narch = \"{arch}\"\nname = \"{extension}\"\n").unwrap();
        if let Some(reason) = table::row(*arch, extension).and_then(|row: &Row| row.unpredicted.as_ref()) {
            writeln!(text, "unpredicted = {reason:?}").unwrap();
        }
        let items: Vec<_> = affected.iter().map(|ingredients| format!("\"{ingredients}\"")).collect();
        text += "affects = [";
        let mut width = 11;
        for item in items {
            if width + item.len() > 118 {
                text += "\n   ";
                width = 3;
            }
            text += &format!(" {item},");
            width += item.len() + 2;
        }
        text += if affected.is_empty() { "]\n" } else { " ]\n" };
    }
    text
}
