//! In: directories with releases, or with parts of one. Out: one release of all their variants. Never here: a compiler,
//! a module or an artifact that was not in one of them.
//!
//! Parts of one release join to the bytes that one machine would have written: equal code is found by the digests that each
//! variant records. Releases of different versions of isomer or wasmtime keep all their forms, so that each server finds
//! the one for its engine.

use crate::collapse::{Form, collapse};
use crate::records::{Record, Records};
use isomer_contract::name::Version;
use isomer_contract::{Cost, Digest, Hinted};
use isomer_layout::{
    Identity, Layout, LayoutError, Manifest, Part, ReleasedModule, Summary, WriteError, Writer, check_owner,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Why releases were not joined. Nothing is written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// One cannot be read.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The result cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// No release was named.
    #[error("no release to join was named")]
    Nothing,
    /// Another tool wrote it.
    #[error("`{}` does not declare the name and version of its release", .0.display())]
    NoIdentity(PathBuf),
    /// They are not of one release.
    #[error("`{}` is {found}, expected {expected} as in `{}`", .dir.display(), .first.display())]
    OtherRelease {
        /// The one.
        dir: PathBuf,
        /// Its name and version.
        found: String,
        /// The other.
        first: PathBuf,
        /// Its name and version.
        expected: String,
    },
    /// The output would overwrite an input.
    #[error("the output `{}` is also the input `{}`", .output.display(), .input.display())]
    OutputIsInput {
        /// The output, as it was named.
        output: PathBuf,
        /// The release or part that it is.
        input: PathBuf,
    },
    /// Some parts are missing.
    #[error("{} of {count} {} missing", parts(.missing), if .missing.len() == 1 { "is" } else { "are" })]
    MissingParts {
        /// How many there should be.
        count: u32,
        /// The numbers of the missing ones.
        missing: Vec<u32>,
    },
    /// The parts do not fit together.
    #[error("`{}` and `{}` are parts of different builds", .0.display(), .1.display())]
    OtherPlan(PathBuf, PathBuf),
    /// Two releases differ where they should not.
    #[error("`{}` and `{}` hold different {what}", .first.display(), .second.display())]
    Conflict {
        /// The one.
        first: PathBuf,
        /// The other.
        second: PathBuf,
        /// Of what.
        what: String,
    },
    /// The WebAssembly is missing.
    #[error("`{}` has no WebAssembly of `{module}`", .dir.display())]
    NoWasm {
        /// The release.
        dir: PathBuf,
        /// The module.
        module: String,
    },
}

fn parts(numbers: &[u32]) -> String {
    let list: Vec<_> = numbers.iter().map(u32::to_string).collect();
    format!("{} {}", if numbers.len() == 1 { "part" } else { "parts" }, list.join(", "))
}

impl Hinted for MergeError {
    fn hint(&self) -> Option<String> {
        match self {
            MergeError::Layout(error) => error.hint(),
            MergeError::Write(error) => error.hint(),
            MergeError::NoIdentity(_) => Some("join the original releases, not copies by other tools".to_owned()),
            MergeError::OtherRelease { .. } => Some("only releases of one name and version are joined".to_owned()),
            MergeError::MissingParts { missing, count } => {
                let first = missing.first()?;
                Some(format!("build part {first} of {count}, and name all parts here"))
            }
            MergeError::OtherPlan(..) => {
                let same = "manifest, counter, modules, profiles, compression and version of isomer";
                Some(format!("build every part with the same {same}"))
            }
            MergeError::Conflict { .. } => {
                Some("compile both from the same sources, with one isomer for each engine".to_owned())
            }
            MergeError::OutputIsInput { .. } => Some("write into a new directory".to_owned()),
            MergeError::NoWasm { .. } | MergeError::Nothing => None,
        }
    }
}

/// A release to join.
struct Source {
    layout: Layout,
    identity: Identity,
}

/// A variant, and the release that holds it.
struct Found<'a> {
    source: &'a Source,
    manifest: Manifest,
}

/// Joins the releases in `directories` to one in `output`. A module is this user's work in `records` if it was that in
/// each of them.
///
/// # Errors
/// When they do not fit together, one cannot be read, or `output` is another user's or cannot be written.
pub fn merge(directories: &[PathBuf], output: &Path, records: Option<&Records>) -> Result<Summary, MergeError> {
    check_owner(output)?;
    // Called again, it would join its own result with the other parts.
    let is_output =
        |input: &&PathBuf| matches!((input.canonicalize(), output.canonicalize()), (Ok(a), Ok(b)) if a == b);
    if let Some(input) = directories.iter().find(is_output) {
        return Err(MergeError::OutputIsInput { output: output.to_owned(), input: input.clone() });
    }
    let sources = directories.iter().map(|dir| open(dir)).collect::<Result<Vec<_>, _>>()?;
    let identity = identity_of(&sources)?;
    check_parts(&sources)?;
    let mut references = BTreeSet::new();
    for source in &sources {
        references.extend(source.layout.modules().iter().map(|entry| entry.reference.clone()));
    }
    let writer = Writer::open(output)?;
    let modules = references.iter().map(|reference| module(&sources, reference, &identity.version, &writer));
    let modules = modules.collect::<Result<Vec<_>, _>>()?;
    let summary = writer.finish(&identity, modules)?;
    if let Some(records) = records {
        for module in &summary.modules {
            let joined = joined_record(&sources, &module.reference, records);
            // Without its record it can be signed only as contents that are trusted as they are.
            let _ = joined.map(|record| records.put(module.digest, record));
        }
    }
    Ok(summary)
}

/// Who made a module, where this user released all of its parts.
fn joined_record(sources: &[Source], reference: &str, records: &Records) -> Option<Record> {
    let mut joined = Record::default();
    for entry in sources.iter().flat_map(|source| source.layout.modules()).filter(|it| it.reference == reference) {
        joined.remote.extend(records.find(entry.digest)?.remote);
    }
    Some(joined)
}

fn open(dir: &Path) -> Result<Source, MergeError> {
    let layout = Layout::open(dir)?;
    let identity = layout.identity().ok_or_else(|| MergeError::NoIdentity(dir.to_owned()))?;
    Ok(Source { layout, identity })
}

/// The name and version that all share, and the largest counter.
fn identity_of(sources: &[Source]) -> Result<Identity, MergeError> {
    let show = |identity: &Identity| format!("{} {}", identity.name, identity.version);
    let first = sources.first().ok_or(MergeError::Nothing)?;
    for source in sources {
        if show(&source.identity) != show(&first.identity) {
            return Err(MergeError::OtherRelease {
                dir: source.layout.dir().to_owned(),
                found: show(&source.identity),
                first: first.layout.dir().to_owned(),
                expected: show(&first.identity),
            });
        }
    }
    let counter = sources.iter().map(|source| source.identity.counter).max().unwrap_or_default();
    Ok(Identity { counter, part: None, ..first.identity.clone() })
}

/// Checks that the parts among them are all parts of one build.
fn check_parts(sources: &[Source]) -> Result<(), MergeError> {
    let parts: Vec<(&Source, Part)> =
        sources.iter().filter_map(|source| Some((source, source.identity.part?))).collect();
    let Some((first, Part { count, plan, .. })) = parts.first().copied() else { return Ok(()) };
    if let Some((other, _)) = parts.iter().find(|(_, part)| part.plan != plan || part.count != count) {
        return Err(MergeError::OtherPlan(first.layout.dir().to_owned(), other.layout.dir().to_owned()));
    }
    let present: BTreeSet<_> = parts.iter().map(|(_, part)| part.number).collect();
    let missing: Vec<_> = (1..=count).filter(|number| !present.contains(number)).collect();
    if missing.is_empty() { Ok(()) } else { Err(MergeError::MissingParts { count, missing }) }
}

fn module(
    sources: &[Source],
    reference: &str,
    version: &Version,
    writer: &Writer,
) -> Result<ReleasedModule, MergeError> {
    let mut wasm: Option<(Vec<u8>, &Path)> = None;
    let mut found: Vec<Found<'_>> = Vec::new();
    let mut name = String::new();
    for source in sources {
        let layout = &source.layout;
        if !layout.modules().iter().any(|entry| entry.reference == reference) {
            continue;
        }
        let module = layout.module(reference)?;
        layout.check(&module)?;
        let no_wasm = || MergeError::NoWasm { dir: layout.dir().to_owned(), module: module.name.clone() };
        let bytes = layout.wasm(&module)?.ok_or_else(no_wasm)?;
        match &wasm {
            None => wasm = Some((bytes, layout.dir())),
            Some((first, _)) if *first == bytes => {}
            Some((_, first)) => {
                return Err(conflict(first, layout.dir(), format!("WebAssembly of `{}`", module.name)));
            }
        }
        for variant in &module.variants {
            add(&mut found, Found { source, manifest: layout.manifest(variant)? })?;
        }
        name = module.name;
    }
    let (wasm, _) = wasm.expect("a reference comes from a release that has it");
    let variants = joined(&found)?.into_iter().map(|(from, config)| {
        let layer = from.manifest.layer;
        writer.add_packed(from.source.layout.open_layer(&from.manifest)?, layer)?;
        Ok((config, layer))
    });
    let variants = variants.collect::<Result<_, MergeError>>()?;
    let name = name.parse().map_err(WriteError::from)?;
    Ok(ReleasedModule { name, version: version.clone(), wasm: writer.add_wasm(&wasm)?, variants })
}

/// Adds a variant, unless another release has the same.
fn add<'a>(found: &mut Vec<Found<'a>>, new: Found<'a>) -> Result<(), MergeError> {
    let config = &new.manifest.config;
    let same = |other: &&mut Found<'a>| {
        let other = &other.manifest.config;
        (&other.target, &other.engine) == (&config.target, &config.engine)
    };
    let Some(known) = found.iter_mut().find(same) else {
        found.push(new);
        return Ok(());
    };
    if (known.manifest.config.artifact, &known.manifest.config.isomer) != (config.artifact, &config.isomer) {
        let what = format!("artifacts of `{}` for {} and wasmtime {}", config.module, config.target, config.engine);
        return Err(conflict(known.source.layout.dir(), new.source.layout.dir(), what));
    }
    known.manifest.config.serves.extend(new.manifest.config.serves);
    Ok(())
}

fn conflict(first: &Path, second: &Path, what: String) -> MergeError {
    MergeError::Conflict { first: first.to_owned(), second: second.to_owned(), what }
}

/// The variants that are shipped, each with all that it serves now.
fn joined<'a, 'b>(
    found: &'b [Found<'a>],
) -> Result<Vec<(&'b Found<'a>, isomer_contract::manifest::VariantConfig)>, MergeError> {
    let mut by_engine: BTreeMap<(&str, &str), Vec<&Found<'a>>> = BTreeMap::new();
    for variant in found {
        let config = &variant.manifest.config;
        by_engine.entry((&config.engine, &config.isomer)).or_default().push(variant);
    }
    let mut joined = Vec::new();
    for variants in by_engine.into_values() {
        let forms: Vec<_> = variants
            .iter()
            .map(|variant| {
                let config = &variant.manifest.config;
                let costs = Cost::of(&config.requirements, &config.code_generation);
                let cost_percent = costs.into_iter().map(Cost::percent).sum();
                Form { target: &config.target, requirements: &config.requirements, cost_percent, code: config.code }
            })
            .collect();
        let representatives = collapse(&forms);
        let mut served: BTreeMap<&str, (Digest, &Found<'a>)> = BTreeMap::new();
        for (index, variant) in variants.iter().enumerate().filter(|(index, _)| representatives[*index] == *index) {
            let mut config = variant.manifest.config.clone();
            let others = variants.iter().enumerate().filter(|(other, _)| representatives[*other] == index);
            config.serves = others.flat_map(|(_, other)| other.manifest.config.serves.clone()).collect();
            // What one release predicted and another compiled was compiled.
            config.serves.sort_by(|a, b| (&a.target, a.job, a.predicted).cmp(&(&b.target, b.job, b.predicted)));
            config.serves.dedup_by(|next, first| (&next.target, next.job) == (&first.target, first.job));
            joined.push((*variant, config));
        }
        // A target that two variants serve, or one serves twice, must have had the same job.
        for variant in &variants {
            for it in &variant.manifest.config.serves {
                let (job, first) = served.entry(&it.target).or_insert((it.job, variant));
                if *job != it.job {
                    let what = format!("jobs of `{}` for {}", variant.manifest.config.module, it.target);
                    return Err(conflict(first.source.layout.dir(), variant.source.layout.dir(), what));
                }
            }
        }
    }
    Ok(joined)
}
