//! `isomer targets list | show NAME | check`.

use crate::wording;
use clap::Subcommand;
use isomer_compile::targets;
use isomer_contract::isa;
use isomer_contract::name::split_target;
use isomer_contract::profile::{self, Origin, Overlay};
use isomer_contract::proposals::PROPOSALS;
use isomer_contract::settings::{self, Section};
use isomer_contract::{Arch, Profile};
use isomer_terminal::{Failure, Failures, Text, aligned, print, print_json};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// The shipped profiles, a line each
    List,
    /// The overlays that any target takes, `x86-64-v3+epoch`, with all that each sets
    Overlays {
        /// Your own, instead of the shipped ones: files of overlays, or directories of them
        #[arg(value_name = "FILE|DIR")]
        paths: Vec<PathBuf>,
    },
    /// Every effective setting of a profile, and where it comes from
    Show {
        /// A shipped profile or a file, with overlays behind it: `x86-64-v3+epoch`, `x86-64-v3+./own.toml`
        #[arg(value_name = "NAME|FILE")]
        name: String,
    },
    /// Check profiles: all shipped ones, and those in the files or directories named
    Check {
        /// Profile files, or directories of them
        #[arg(value_name = "FILE|DIR")]
        paths: Vec<PathBuf>,
    },
}

pub(super) fn run(args: &Args) -> Result<(), Failures> {
    match &args.command {
        None | Some(Command::List) => list(args.json)?,
        Some(Command::Overlays { paths }) => overlays(paths, args.json)?,
        Some(Command::Show { name }) => show(name, args.json)?,
        Some(Command::Check { paths }) => check(paths, args.json)?,
    }
    Ok(())
}

fn list(json: bool) -> Result<(), Failure> {
    let profiles: Vec<_> = targets::shipped().collect();
    if json {
        return print_json(&profiles.iter().map(summary).collect::<Vec<_>>());
    }
    let rows = profiles
        .iter()
        .map(|profile| vec![profile.name.clone(), profile.triple.to_string(), profile.description.clone()]);
    print(&aligned(rows))
}

fn overlays(paths: &[PathBuf], json: bool) -> Result<(), Failures> {
    let (mut overlays, mut failures) = (Vec::new(), Vec::new());
    if paths.is_empty() {
        overlays.extend(profile::overlays());
    }
    for path in files(paths, "overlay", "isomer targets overlays")? {
        match targets::overlay_from_file(&path) {
            Ok(overlay) => overlays.push(overlay),
            Err(error) => failures.push(wording::failure(error)),
        }
    }
    print_overlays(overlays, json)?;
    if failures.is_empty() { Ok(()) } else { Err(Failures(failures)) }
}

fn print_overlays(overlays: Vec<Overlay>, json: bool) -> Result<(), Failure> {
    if json {
        let values = |overlay: &Overlay| -> Vec<_> {
            let values = overlay.values();
            values.map(|(section, key, value)| json!({"table": section.name(), "key": key, "value": value})).collect()
        };
        let json = |overlay: Overlay| json!({"name": overlay.name, "description": overlay.description, "settings": values(&overlay)});
        return print_json(&overlays.into_iter().map(json).collect::<Vec<_>>());
    }
    let mut text = Text::new();
    for overlay in overlays {
        text.push_head(format!("+{}", overlay.name)).push(": ").push_line(&overlay.description);
        text.push_rows(
            overlay
                .values()
                .map(|(section, key, value)| vec![format!("  {}.{key}", section.name()), value.to_string()]),
        );
    }
    print(text)
}

fn summary(profile: &Profile) -> Value {
    json!({
        "name": profile.name,
        "aliases": profile.aliases,
        "description": profile.description,
        "triple": profile.triple.to_string(),
        "isa": profile.isa.keys().collect::<Vec<_>>(),
    })
}

fn origin(profile: &Profile, key: &str) -> String {
    match profile.origin(key) {
        Origin::Default => "wasmtime's default".to_owned(),
        Origin::Profile(name) => name,
        Origin::Overlay(name) => format!("+{name}"),
    }
}

fn show(name: &str, json: bool) -> Result<(), Failures> {
    let profile = targets::resolve(&[name.to_owned()], Path::new("")).map_err(wording::failure)?;
    let [profile] = profile.as_slice() else {
        return Err(Failure::new("`all` is not a single profile")
            .hint("name one of `isomer targets`".to_owned())
            .into());
    };
    if json {
        print_json(&show_json(profile))?;
        return Ok(());
    }
    let mut text = Text::new();
    text.push_head(&profile.name).push(": ").push_line(&profile.description);
    let (own, _) = split_target(&profile.name);
    let chain: Vec<_> = std::iter::once(own).chain(profile.inherits.iter().map(String::as_str)).collect();
    let facts = [
        ("file", profile.path.clone()),
        ("triple", profile.triple.to_string()),
        ("aliases", profile.aliases.join(", ")),
        ("inherits", chain.join(" -> ")),
        ("overlays", overlays_of(profile)),
        ("priority", if profile.priority == 0 { String::new() } else { profile.priority.to_string() }),
        ("digest", profile.digest().to_string()),
    ];
    let facts = facts.into_iter().filter(|(key, value)| !value.is_empty() || *key == "aliases");
    text.push_rows(facts.map(|(key, value)| vec![format!("  {key}"), value]));
    text.push("\n").push_head("isa").push(" ").push_dim("beyond the baseline");
    text.push(format!(": {}\n", baseline(profile.arch)));
    let rows = profile.isa.iter().map(|(name, from)| {
        let row = isa::by_name(profile.arch, name).expect("profiles hold rows of the table");
        vec![format!("  {name}"), from.clone(), row.doc.to_owned()]
    });
    text.push_rows(rows);
    for section in [Section::Optimize, Section::Codegen, Section::Wasm] {
        text.push("\n").push_head(format!("[{}]", section.name())).push("\n");
        text.push_rows(section_rows(profile, section));
    }
    print(text)?;
    Ok(())
}

/// Each overlay with what it is for.
fn overlays_of(profile: &Profile) -> String {
    let overlay = |overlay: &Overlay| match overlay.description.as_str() {
        "" => overlay.name.clone(),
        description => format!("{} ({description})", overlay.name),
    };
    profile.overlays.iter().map(overlay).collect::<Vec<_>>().join(", ")
}

fn baseline(arch: Arch) -> String {
    let names: Vec<_> = isa::all(arch).filter(|row| row.baseline).map(|row| row.name).collect();
    if names.is_empty() { "none, bytecode".to_owned() } else { names.join(", ") }
}

fn section_rows(profile: &Profile, section: Section) -> Vec<Vec<String>> {
    let row =
        |key: &str, value: String, doc: &str| vec![format!("  {key} = {value}"), origin(profile, key), doc.to_owned()];
    let settings = profile.settings.shown().filter(|(setting, _)| setting.section == section);
    let mut rows: Vec<_> = settings.map(|(setting, value)| row(setting.key, value, setting.doc)).collect();
    if section == Section::Wasm {
        rows.extend(
            PROPOSALS.iter().map(|proposal| {
                row(proposal.key, profile.features.contains(proposal.feature).to_string(), proposal.doc)
            }),
        );
    }
    rows
}

fn show_json(profile: &Profile) -> Value {
    let settings = profile.settings.values().map(|(row, value)| {
        json!({"table": row.section.name(), "key": row.key, "value": value, "from": origin(profile, row.key)})
    });
    let proposals = PROPOSALS.iter().map(|proposal| {
        let value = profile.features.contains(proposal.feature);
        json!({"table": "wasm", "key": proposal.key, "value": value, "from": origin(profile, proposal.key)})
    });
    let mut shown = summary(profile);
    shown["inherits"] = json!(profile.inherits);
    shown["overlays"] = profile.overlays.iter().map(|overlay| overlay.name.as_str()).collect();
    shown["priority"] = json!(profile.priority);
    shown["digest"] = json!(profile.digest());
    let extension = |(name, from): (&&'static str, &String)| {
        let flag = isa::by_name(profile.arch, name).and_then(|row| row.flag);
        json!({"name": name, "flag": flag, "from": from})
    };
    shown["isa"] = profile.isa.iter().map(extension).collect();
    shown["settings"] = settings.chain(proposals).collect();
    shown
}

fn check(paths: &[PathBuf], json: bool) -> Result<(), Failures> {
    let (mut own, mut failures) = (Vec::new(), Vec::new());
    for path in files(paths, "profile", "isomer targets")? {
        match targets::from_file(&path) {
            Ok(profile) => own.push(profile),
            Err(error) => failures.push(wording::failure(error)),
        }
    }
    // Own profiles are compared with the shipped ones too. Remarks about the shipped ones are for those who check them.
    let asked = if paths.is_empty() { targets::shipped().collect() } else { own.clone() };
    let names: Vec<_> = asked.iter().map(|profile| profile.name.as_str()).collect();
    // A copy of a shipped one replaces it, and is not a duplicate.
    let copied = |shipped: &Profile| paths.iter().len() > 0 && names.contains(&shipped.name.as_str());
    let all: Vec<_> = targets::shipped().filter(|shipped| !copied(shipped)).chain(own.clone()).collect();
    let remarks: Vec<_> = profile::lint(&all).into_iter().filter(|remark| names.contains(&remark.profile())).collect();
    if json {
        let remarks: Vec<_> = remarks.iter().map(ToString::to_string).collect();
        let errors: Vec<_> = failures.iter().map(ToString::to_string).collect();
        print_json(&json!({"profiles": asked.len(), "errors": errors, "remarks": remarks}))?;
    } else {
        let lines: String = remarks.iter().map(|remark| format!("note: {remark}\n")).collect();
        let settings = settings::ROWS.len() + PROPOSALS.len();
        let right = match asked.len() {
            0 => String::new(),
            1 => format!("1 valid profile: {settings} settings\n"),
            count => format!("{count} valid profiles: {settings} settings each\n"),
        };
        print(&format!("{lines}{right}"))?;
    }
    if failures.is_empty() { Ok(()) } else { Err(Failures(failures)) }
}

/// The files among `paths` and in the directories among them, each of which holds a `kind`; `list` prints the shipped ones.
fn files(paths: &[PathBuf], kind: &str, list: &str) -> Result<Vec<PathBuf>, Failures> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let unreadable = |error: std::io::Error| {
            Failure::new(format!("cannot read the directory {}", path.display())).caused_by(error.to_string())
        };
        let mut inside = Vec::new();
        for entry in fs::read_dir(path).map_err(unreadable)? {
            inside.push(entry.map_err(unreadable)?.path());
        }
        inside.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
        if inside.is_empty() {
            let failure = Failure::new(format!("{} holds no {kind}", path.display()));
            return Err(failure
                .hint(format!("each {kind} is a file NAME.toml; `{list}` lists the shipped ones"))
                .into());
        }
        inside.sort();
        files.extend(inside);
    }
    Ok(files)
}
