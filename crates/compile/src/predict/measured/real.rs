//! Predictions held against what is compiled: the guests always, real modules of the corpus on demand. Each extension on
//! the way between shipped profiles is switched on by itself, so that none hides behind another.

use super::{Isa, PLAIN, Point, Step, shipped_steps};
use crate::express::express;
use crate::predict::{Operators, Prediction, representatives, same_code};
use crate::{Analysis, Compiler, Input};
use isomer_contract::profile::shipped_names;
use isomer_contract::{Arch, Digest, Profile};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Modules of `tests/corpus.toml` that compile in seconds: every language and proposal in it, scalar and with vectors.
const CORPUS: &[&str] = &[
    "icepll",
    "preview1-adapter",
    "webp-dec",
    "tree-sitter",
    "lua",
    "gofmt",
    "tfjs",
    "webp-enc-simd",
    "icebram",
    "tfjs-simd",
    "tfjs-threaded-simd",
    "quickjs",
    "dart-fmt",
    "sqlite",
];

/// How predictions of one extension did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    /// Predicted to be equal, and equal.
    same: usize,
    /// Predicted to differ, and different.
    different: usize,
    /// Predicted to be equal, and different: code that is slower than it could be.
    wrong: usize,
    /// Predicted to differ, and equal: compiled needlessly.
    missed: usize,
}

/// How much of a release's work was left out.
#[derive(Debug, Default, Clone, Copy)]
struct Cells {
    /// Modules for profiles, without those that cannot express them.
    expressible: usize,
    /// What is left when profiles of equal settings share.
    jobs: usize,
    /// What is left to compile by prediction.
    compiled: usize,
    /// What is different.
    distinct: usize,
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/corpus")
}

fn guests() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests");
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut guests: Vec<_> = files.filter(|path| path.extension().is_some_and(|of| of == "wasm")).collect();
    guests.sort();
    guests
}

/// Code of one module for every point that can express it.
fn compile(input: &Input, points: &[(Point, Profile)]) -> BTreeMap<Point, Digest> {
    let analysis = Analysis::of(&input.wasm);
    let code = |(point, profile): &(Point, Profile)| {
        matches!(express(&analysis, profile), Ok(Ok(()))).then(|| {
            let compiled = Compiler::new(profile).unwrap().compile(input).unwrap();
            (point.clone(), compiled.artifact().code_digest())
        })
    };
    points.par_iter().filter_map(code).collect()
}

struct Judgement {
    tallies: BTreeMap<(Arch, &'static str), Tally>,
    cells: Cells,
    scan: Duration,
    wrong: Vec<String>,
}

fn judge(paths: &[PathBuf]) -> Judgement {
    // One architecture after another is quicker to look at.
    let names = std::env::var("ISOMER_ARCHITECTURES").unwrap_or_default();
    let chosen = |arch: Arch| names.is_empty() || names.split(',').any(|name| name == arch.name());
    let steps: BTreeSet<_> = shipped_steps(PLAIN).into_iter().filter(|step| chosen(step.arch)).collect();
    let points: BTreeSet<_> = steps.iter().flat_map(|step| [&step.without, &step.with]).collect();
    let points: Vec<_> = points.into_iter().map(|point| (point.clone(), point.shipped_proposals())).collect();
    let mut judgement =
        Judgement { tallies: BTreeMap::new(), cells: Cells::default(), scan: Duration::ZERO, wrong: Vec::new() };
    for path in paths {
        let name = path.file_stem().unwrap().to_string_lossy();
        let input = Input::from_bytes(path, &name, std::fs::read(path).unwrap()).unwrap();
        let started = Instant::now();
        let operators = Operators::of(&input.wasm);
        judgement.scan += started.elapsed();
        let codes = compile(&input, &points);
        let profile = |point: &Point| &points.iter().find(|(other, _)| other == point).unwrap().1;
        for Step { arch, extension, without, with } in &steps {
            let (Some(before), Some(after)) = (codes.get(without), codes.get(with)) else { continue };
            let tally = judgement.tallies.entry((*arch, extension)).or_default();
            let predicted = same_code(&operators, profile(without), profile(with));
            match (&predicted, before == after) {
                (Prediction::Same, true) => tally.same += 1,
                (Prediction::Same, false) => {
                    tally.wrong += 1;
                    let wrong = format!("{name}: {arch} {extension} after {:?}", without.isa);
                    println!("wrong: {wrong}");
                    judgement.wrong.push(wrong);
                }
                (Prediction::Differs(_), false) => tally.different += 1,
                (Prediction::Differs(difference), true) => {
                    tally.missed += 1;
                    println!("{name}: {arch}: {difference}, but it is the same");
                }
            }
        }
        let before = judgement.cells;
        judgement.cells.add(&operators, &codes, &points);
        let Cells { expressible, jobs, compiled, distinct } = judgement.cells;
        println!(
            "{name}: {} cells, {} jobs, {} compiled, {} distinct",
            expressible - before.expressible,
            jobs - before.jobs,
            compiled - before.compiled,
            distinct - before.distinct
        );
    }
    judgement
}

impl Cells {
    /// Counts a module's cells over all shipped native profiles.
    fn add(&mut self, operators: &Operators, codes: &BTreeMap<Point, Digest>, points: &[(Point, Profile)]) {
        let mut shipped: Vec<(&Profile, Digest)> = Vec::new();
        for profile in shipped_names().map(|name| Profile::shipped(name).unwrap()) {
            let isa: Isa = profile.isa.keys().copied().collect();
            let fits = |(point, _): &(Point, Profile)| point.arch == profile.arch && point.isa == isa;
            let Some((point, of)) = points.iter().find(|pair| fits(pair)) else { continue };
            shipped.extend(codes.get(point).map(|code| (of, *code)));
        }
        let profiles: Vec<&Profile> = shipped.iter().map(|(profile, _)| *profile).collect();
        self.expressible += shipped.len();
        self.jobs += profiles.iter().map(|profile| profile.digest()).collect::<BTreeSet<_>>().len();
        self.compiled += representatives(operators, &profiles).into_iter().collect::<BTreeSet<_>>().len();
        self.distinct += shipped.iter().map(|(profile, code)| (profile.arch, *code)).collect::<BTreeSet<_>>().len();
    }
}

fn report(Judgement { tallies, cells, scan, .. }: &Judgement) {
    for ((arch, extension), Tally { same, different, wrong, missed }) in tallies {
        println!("{arch:8} {extension:28} same {same:3}  different {different:3}  wrong {wrong:3}  missed {missed:3}");
    }
    println!("{cells:?}, operators read in {scan:?}");
}

#[test]
fn predictions_hold_for_the_guests() {
    let judgement = judge(&guests());
    report(&judgement);
    assert_eq!(
        judgement.wrong, [""; 0],
        "mark the extension `unpredicted` in measured.toml, or measure what it affects"
    );
}

/// `cargo xtask corpus --download-only` gets the modules.
#[test]
#[ignore = "compiles real modules, which takes minutes; they are downloaded first"]
fn predictions_hold_for_real_modules() {
    let chosen = std::env::var("ISOMER_CORPUS");
    let names: Vec<&str> = chosen.as_ref().map_or_else(|_| CORPUS.to_vec(), |names| names.split(',').collect());
    let paths: Vec<_> = names.iter().map(|name| corpus().join(format!("{name}.wasm"))).collect();
    let judgement = judge(&paths);
    report(&judgement);
    assert_eq!(
        judgement.wrong, [""; 0],
        "mark the extension `unpredicted` in measured.toml, or measure what it affects"
    );
}
