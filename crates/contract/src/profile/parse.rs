//! In: the text of one profile file. Out: its content, with lines, or the first problem. Never here: inheritance.

use super::error::{Problem, ProfileError};
use crate::isa::{self, Arch, Extension};
use crate::proposals::{self, Proposal};
use crate::settings::{self, PartialSettings, Section, SetError};
use crate::{line_at, nearest};
use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use target_lexicon::Triple;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The text of a profile file.
#[derive(Clone, Debug)]
pub struct ProfileText {
    /// The file's stem.
    pub name: String,
    /// The file, for messages.
    pub path: String,
    /// Its content.
    pub text: String,
}

impl ProfileText {
    pub(super) fn error(&self, line: Option<usize>, problem: Problem) -> ProfileError {
        ProfileError { path: self.path.clone(), line, problem }
    }

    fn line_at(&self, span: Range<usize>) -> usize {
        line_at(&self.text, span.start)
    }
}

/// The content of one file. Every part that can be wrong later has its line.
#[derive(Clone, Debug)]
pub(super) struct Parsed {
    pub(super) description: String,
    pub(super) aliases: Vec<String>,
    pub(super) priority: i32,
    pub(super) inherits: Option<(String, usize)>,
    pub(super) triple: Option<(Triple, usize)>,
    pub(super) isa: Vec<(String, usize)>,
    pub(super) settings: PartialSettings,
    pub(super) proposals: Vec<(&'static Proposal, bool, usize)>,
    lines: BTreeMap<(Section, String), usize>,
    top_lines: BTreeMap<String, usize>,
}

impl Parsed {
    /// The first of these keys of the top level that this file has, with its line.
    pub(super) fn first_of(&self, keys: &[&'static str]) -> Option<(&'static str, usize)> {
        let found = keys.iter().filter_map(|key| Some((*key, *self.top_lines.get(*key)?)));
        found.min_by_key(|(_, line)| *line)
    }

    /// The line of a key, where this file has it.
    pub(super) fn line(&self, section: Section, key: &str) -> Option<usize> {
        self.lines.get(&(section, key.to_owned())).copied()
    }
}

const TOP_KEYS: [&str; 9] =
    ["description", "aliases", "inherits", "priority", "triple", "isa", "optimize", "codegen", "wasm"];

/// The priorities that a profile can have.
const PRIORITIES: RangeInclusive<i32> = -1000..=1000;

/// The platforms that the shipped profiles are for, and the others that wasmtime 48 compiles for.
const TRIPLES: [&str; 14] = [
    "x86_64-unknown-linux-gnu",
    "x86_64-unknown-linux-musl",
    "x86_64-pc-windows-msvc",
    "x86_64-apple-darwin",
    "x86_64-unknown-freebsd",
    "aarch64-unknown-linux-gnu",
    "aarch64-unknown-linux-musl",
    "aarch64-apple-darwin",
    "aarch64-pc-windows-msvc",
    "aarch64-linux-android",
    "riscv64gc-unknown-linux-gnu",
    "s390x-unknown-linux-gnu",
    "pulley64-unknown-unknown-elf",
    "pulley64be-unknown-unknown-elf",
];

pub(super) fn parse(text: &ProfileText) -> Result<Parsed, ProfileError> {
    let document = DeTable::parse(&text.text).map_err(|error| {
        let line = error.span().map(|span| text.line_at(span));
        text.error(line, Problem::Toml(error.message().to_owned()))
    })?;
    let mut parsed = Parsed {
        description: String::new(),
        aliases: Vec::new(),
        priority: 0,
        inherits: None,
        triple: None,
        isa: Vec::new(),
        settings: PartialSettings::default(),
        proposals: Vec::new(),
        lines: BTreeMap::new(),
        top_lines: BTreeMap::new(),
    };
    for (key, value) in document.get_ref() {
        let line = text.line_at(key.span());
        let at = |problem| text.error(Some(line), problem);
        parsed.top_lines.insert(key.get_ref().to_string(), line);
        match key.get_ref().as_ref() {
            "description" => parsed.description = string("description", value).map_err(at)?,
            "aliases" => parsed.aliases = strings("aliases", value, text)?.into_iter().map(|(name, _)| name).collect(),
            "inherits" => parsed.inherits = Some((string("inherits", value).map_err(at)?, line)),
            "priority" => parsed.priority = priority(value).map_err(at)?,
            "triple" => parsed.triple = Some((triple(&string("triple", value).map_err(at)?).map_err(at)?, line)),
            "isa" => parsed.isa = strings("isa", value, text)?,
            "optimize" => table(text, Section::Optimize, value, &mut parsed)?,
            "codegen" => table(text, Section::Codegen, value, &mut parsed)?,
            "wasm" => table(text, Section::Wasm, value, &mut parsed)?,
            other => return Err(at(unknown_top_key(other))),
        }
    }
    Ok(parsed)
}

fn table(
    text: &ProfileText,
    section: Section,
    value: &Spanned<DeValue<'_>>,
    parsed: &mut Parsed,
) -> Result<(), ProfileError> {
    let DeValue::Table(entries) = value.get_ref() else {
        let problem = wrong(section.name(), value, "a table");
        return Err(text.error(Some(text.line_at(value.span())), problem));
    };
    for (key, value) in entries {
        let line = text.line_at(key.span());
        let key = key.get_ref().as_ref();
        parsed.lines.insert((section, key.to_owned()), line);
        if section == Section::Wasm
            && let Some(proposal) = proposals::by_key(key)
        {
            let enable = value.get_ref().as_bool();
            let enable = enable.ok_or_else(|| text.error(Some(line), wrong(key, value, "true or false")))?;
            parsed.proposals.push((proposal, enable, line));
            continue;
        }
        parsed.settings.set(section, key, value.get_ref()).map_err(|error| {
            let problem = match error {
                SetError::UnknownKey => unknown_key(section, key),
                SetError::Wrong { found, expected } => Problem::WrongValue { key: key.to_owned(), found, expected },
            };
            text.error(Some(line), problem)
        })?;
    }
    Ok(())
}

fn unknown_top_key(key: &str) -> Problem {
    let nearest = nearest(key, TOP_KEYS).map(|near| format!("`{near}`")).or_else(|| place_of(key));
    Problem::UnknownKey { key: key.to_owned(), table: "", nearest }
}

fn unknown_key(section: Section, key: &str) -> Problem {
    let proposals = proposals::PROPOSALS.iter().map(|proposal| proposal.key).filter(|_| section == Section::Wasm);
    let here = nearest(key, settings::keys(section).chain(proposals)).map(|near| format!("`{near}`"));
    // For a valid key in the wrong table, the message names the right table instead of the nearest key.
    let nearest = place_of(key).or(here);
    Problem::UnknownKey { key: key.to_owned(), table: section.name(), nearest }
}

/// The table that has exactly this key.
fn place_of(key: &str) -> Option<String> {
    let setting = settings::ROWS.iter().find(|row| row.key == key).map(|row| row.section);
    let section = setting.or_else(|| proposals::by_key(key).map(|_| Section::Wasm))?;
    Some(format!("`{key}` in [{}]", section.name()))
}

fn wrong(key: &str, value: &Spanned<DeValue<'_>>, expected: &str) -> Problem {
    let found = format!("a {}", value.get_ref().type_str());
    Problem::WrongValue { key: key.to_owned(), found, expected: expected.to_owned() }
}

fn string(key: &str, value: &Spanned<DeValue<'_>>) -> Result<String, Problem> {
    value.get_ref().as_str().map(str::to_owned).ok_or_else(|| wrong(key, value, "a string"))
}

fn priority(value: &Spanned<DeValue<'_>>) -> Result<i32, Problem> {
    let number = value.get_ref().as_integer();
    let parsed = number.and_then(|number| i32::from_str_radix(number.as_str(), number.radix()).ok());
    parsed.filter(|priority| PRIORITIES.contains(priority)).ok_or_else(|| Problem::WrongValue {
        key: "priority".to_owned(),
        found: number.map_or_else(|| format!("a {}", value.get_ref().type_str()), |number| number.as_str().to_owned()),
        expected: format!("a whole number from {} to {}", PRIORITIES.start(), PRIORITIES.end()),
    })
}

fn strings(key: &str, value: &Spanned<DeValue<'_>>, text: &ProfileText) -> Result<Vec<(String, usize)>, ProfileError> {
    let at = |value: &Spanned<DeValue<'_>>, problem| text.error(Some(text.line_at(value.span())), problem);
    let DeValue::Array(items) = value.get_ref() else {
        return Err(at(value, wrong(key, value, "a list of strings")));
    };
    let item = |item: &Spanned<DeValue<'_>>| match item.get_ref().as_str() {
        Some(text_of_item) => Ok((text_of_item.to_owned(), text.line_at(item.span()))),
        None => Err(at(item, wrong(key, item, "a list of strings"))),
    };
    items.iter().map(item).collect()
}

fn triple(found: &str) -> Result<Triple, Problem> {
    if let (true, Ok(triple)) = (TRIPLES.contains(&found), found.parse()) {
        return Ok(triple);
    }
    let canonical = found.parse::<Triple>().map(|triple| triple.to_string()).unwrap_or_default();
    if canonical != found && TRIPLES.contains(&canonical.as_str()) {
        return Err(Problem::TripleNotCanonical { found: found.to_owned(), canonical });
    }
    Err(Problem::UnknownTriple { found: found.to_owned(), nearest: nearest_triple(found) })
}

/// The nearest triple of the named architecture, which may be in another tool's spelling.
fn nearest_triple(found: &str) -> Option<String> {
    let (arch, rest) = found.split_once('-').unwrap_or((found, "unknown-linux-gnu"));
    let arch = match arch {
        "amd64" | "x64" | "x86-64" => "x86_64",
        "arm64" => "aarch64",
        "riscv64" => "riscv64gc",
        other => nearest(other, TRIPLES.iter().filter_map(|triple| Some(triple.split_once('-')?.0)))?,
    };
    let of_arch = TRIPLES.iter().copied().filter(|triple| triple.starts_with(&format!("{arch}-")));
    nearest(&format!("{arch}-{rest}"), of_arch).map(str::to_owned)
}

/// The table's row for a name in `isa`.
pub(super) fn extension(arch: Arch, name: &str) -> Result<&'static Extension, Problem> {
    if let Some(extension) = isa::by_name(arch, name) {
        return Ok(extension);
    }
    // An alias is another tool's spelling of the very extension.
    let alias = isa::by_alias(arch, name).first().map(|row| row.name);
    if isa::is_unused(arch, name) {
        return Err(Problem::UnusedExtension { name: name.to_owned(), arch });
    }
    if alias.is_none()
        && let Some(row) = isa::in_other_arch(arch, name).first()
    {
        return Err(Problem::OtherArchitecture { name: name.to_owned(), of: row.arch, arch });
    }
    let nearest = alias.or_else(|| nearest(name, isa::all(arch).map(|row| row.name)));
    Err(Problem::UnknownExtension { name: name.to_owned(), arch, nearest: nearest.map(str::to_owned) })
}
