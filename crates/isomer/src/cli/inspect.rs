//! `isomer inspect FILE|DIR`.

use isomer_compile::inspect::{Inspection, inspect};
use isomer_contract::artifact::Import;
use isomer_contract::limits::ARTIFACT_SIZE_BYTES_MAX;
use isomer_contract::{Hinted, Requirements, Variant};
use isomer_layout::{Identity, Layout, Manifest, Module, Part};
use isomer_terminal::{Failure, Failures, Text, bytes, print, print_json};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub(super) struct Args {
    /// An artifact (.cwasm), or the directory of a release
    #[arg(value_name = "FILE|DIR")]
    path: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failures> {
    if args.path.is_dir() { directory(args) } else { file(args) }
}

fn file(args: &Args) -> Result<(), Failures> {
    let file = isomer_file::open(&args.path)?;
    // Of what is no artifact, however large, no more is read than says so.
    let head = file.first_bytes(64)?;
    let artifact = if head.starts_with(b"\x7fELF") { file.read(ARTIFACT_SIZE_BYTES_MAX)? } else { head };
    let inspection = inspect(&artifact).map_err(|error| {
        let hint = error.hint();
        Failure::new(format!("{}: {error}", args.path.display())).hint(hint)
    })?;
    if args.json {
        print_json(&inspection)?;
    } else {
        print(file_text(&args.path, &inspection))?;
    }
    Ok(())
}

fn file_text(path: &Path, inspection: &Inspection) -> Text {
    let Inspection { digest, size_bytes, triple, requirements, compat, code, flags, sections, imports } = inspection;
    let facts = [
        ("digest", digest.to_string()),
        ("size", bytes(*size_bytes)),
        ("kind", requirements.kind.to_string()),
        ("triple", triple.clone()),
        ("compat", compat.to_string()),
        ("code", code.to_string()),
    ];
    let mut text = Text::new();
    text.push_head(path.display()).push("\n");
    text.push_rows(facts.into_iter().map(|(key, value)| vec![format!("  {key}"), value]));
    text.push("\n").push_head("needs").push("\n").push_rows(requirements_rows(requirements));
    let shown = flags.iter().map(|(name, value)| vec![format!("  {name}"), value.clone()]);
    text.push("\n").push_head("code generator flags").push("\n").push_rows(shown);
    let shown = sections
        .iter()
        .map(|section| vec![format!("  {}", section.name), bytes(section.size_bytes), section.digest.to_string()]);
    text.push("\n").push_head("sections").push("\n").push_rows(shown);
    if !imports.is_empty() {
        let row = |import: &Import| {
            let provided = if import.provided { "provided by `isomer-run run`" } else { "not provided" };
            vec![format!("  {import}"), provided.to_owned()]
        };
        text.push("\n").push_head("imports").push("\n").push_rows(imports.iter().map(row));
    }
    text
}

fn requirements_rows(requirements: &Requirements) -> Vec<Vec<String>> {
    let Requirements { engine, kind: _, arch, os, isa, tunables, recorded, wasm_features, refused_flags } =
        requirements;
    let list = |names: &std::collections::BTreeSet<String>| {
        if names.is_empty() { "none".to_owned() } else { names.iter().cloned().collect::<Vec<_>>().join(", ") }
    };
    let mut rows = vec![
        vec!["  engine".to_owned(), format!("wasmtime {engine}")],
        vec!["  platform".to_owned(), format!("{arch} {os}")],
        vec!["  extensions beyond the baseline".to_owned(), list(isa)],
        vec!["  wasm features".to_owned(), list(wasm_features)],
    ];
    rows.extend(tunables.iter().chain(recorded).map(|(key, value)| vec![format!("  {key}"), value.to_string()]));
    rows.extend(
        refused_flags.iter().map(|(flag, value)| vec![format!("  {flag} (no engine accepts it)"), value.clone()]),
    );
    rows
}

fn directory(args: &Args) -> Result<(), Failures> {
    let layout = Layout::open(&args.path)?;
    let part = layout.identity().and_then(|Identity { name, version, part, .. }| Some((name, version, part?)));
    let mut text = Text::new();
    if let Some((name, version, Part { number, count, .. })) = &part {
        text.push_line(format!("part {number} of {count} of {name} {version}; `isomer merge` joins the parts"))
            .push("\n");
    }
    let part = part.map(|(.., Part { number, count, .. })| json!({"number": number, "count": count}));
    let mut json = Vec::new();
    for entry in layout.modules() {
        let module = layout.module(&entry.reference)?;
        layout.check(&module)?;
        let mut variants = Vec::new();
        for variant in &module.variants {
            variants.push((variant, layout.manifest(variant)?));
        }
        push_module(&mut text, &module, &variants);
        json.push(module_json(&module, &variants, part.as_ref()));
    }
    if args.json {
        print_json(&json)?;
    } else {
        print(text)?;
    }
    Ok(())
}

fn push_module(text: &mut Text, module: &Module, variants: &[(&Variant, Manifest)]) {
    text.push_head(&module.reference).push(format!(" {}\n", module.digest));
    if let Some(wasm) = &module.wasm {
        text.push(format!("  plain WebAssembly, {}, for every other runtime\n", bytes(wasm.size_bytes)));
    }
    let head = ["  variant", "engine", "size", "stored", "serves", "needs"].map(str::to_owned).to_vec();
    let row = |(variant, manifest): &(&Variant, Manifest)| {
        let Variant { target, serves, engine, requirements, .. } = variant;
        let isa: Vec<_> = requirements.isa.iter().map(String::as_str).collect();
        let needs = if isa.is_empty() { "the baseline".to_owned() } else { isa.join(",") };
        vec![
            format!("  {target}"),
            engine.clone(),
            bytes(manifest.config.artifact.size_bytes),
            bytes(manifest.layer.blob.size_bytes),
            serves.join(","),
            format!("{} {}: {needs}{}", requirements.arch, requirements.os, ranking(variant)),
        ]
    };
    text.push_rows(std::iter::once(head).chain(variants.iter().map(row))).push("\n");
}

/// What ranks the variant beside its extensions, where that is anything.
fn ranking(variant: &Variant) -> String {
    let costs: Vec<_> = variant.costs().iter().map(ToString::to_string).collect();
    let costs = if costs.is_empty() { String::new() } else { format!("; with {}", costs.join(", ")) };
    if variant.priority == 0 { costs } else { format!("{costs}; priority {}", variant.priority) }
}

fn module_json(module: &Module, variants: &[(&Variant, Manifest)], part: Option<&Value>) -> Value {
    let variant = |(variant, manifest): &(&Variant, Manifest)| {
        json!({
            "manifest": variant.manifest,
            "costs": variant.costs(),
            "priority": variant.priority,
            "layer": manifest.layer.blob,
            "config": manifest.config,
        })
    };
    json!({
        "reference": module.reference,
        "digest": module.digest,
        "wasm": module.wasm.as_ref().map(|wasm| json!({"manifest": wasm.manifest, "size-bytes": wasm.size_bytes})),
        "part": part,
        "variants": variants.iter().map(variant).collect::<Vec<_>>(),
    })
}
