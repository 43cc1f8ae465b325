//! `-f run.toml`: grants, limits and the guest's process in a file, whose keys are the names of options. In: the file. Out:
//! what it states, or the first problem with its line. Never here: which module is run, or why it is trusted.

use super::process::ProcessOptions;
use isomer_contract::{line_at, nearest, shorten};
use isomer_guest::{Grants, Limits};
use isomer_terminal::Failure;
use serde::Deserialize;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, Deserializer};

/// What a file states.
#[derive(Default)]
pub(super) struct RunFile {
    pub(super) grants: Grants,
    pub(super) limits: Limits,
    pub(super) process: ProcessOptions,
}

/// Reads the file at `path`; paths in it are relative to where it lies.
pub(super) fn read(path: &Path) -> Result<RunFile, Failure> {
    let text = crate::cli::input::read_text(path)?;
    let mut file = parse(&path.display().to_string(), &text)?;
    let directory = path.parent().unwrap_or(Path::new(""));
    file.grants.resolve_paths(directory);
    file.process.resolve_paths(directory);
    Ok(file)
}

fn parse(path: &str, text: &str) -> Result<RunFile, Failure> {
    let at = |span: Option<std::ops::Range<usize>>, message: &str| {
        let line = span.map(|span| format!(", line {}", line_at(text, span.start))).unwrap_or_default();
        Failure::new(format!("`{path}`{line}: {message}"))
    };
    let document = DeTable::parse(text).map_err(|error| at(error.span(), error.message()))?;
    let span = document.span();
    let (mut grants, mut limits, mut process) = (DeTable::new(), DeTable::new(), DeTable::new());
    for (key, value) in document.into_inner() {
        let name = key.get_ref().to_string();
        let table = match name.as_str() {
            name if Grants::KEYS.contains(&name) => &mut grants,
            name if Limits::KEYS.contains(&name) => &mut limits,
            name if ProcessOptions::KEYS.contains(&name) => &mut process,
            name => {
                let known = Grants::KEYS.into_iter().chain(Limits::KEYS).chain(ProcessOptions::KEYS);
                let nearest = nearest(name, known);
                let failure = at(Some(key.span()), &format!("unknown key `{}`", shorten(name)));
                return Err(failure.hint(match nearest {
                    Some(nearest) => format!("did you mean `{nearest}`?"),
                    None => "its keys are the names of `isomer-run run`'s options, without `--`".to_owned(),
                }));
            }
        };
        table.insert(key, value);
    }
    fn part<'a, T: Deserialize<'a>>(table: DeTable<'a>, span: &std::ops::Range<usize>) -> Result<T, toml::de::Error> {
        T::deserialize(Deserializer::from(Spanned::new(span.clone(), table)))
    }
    let wrong = |error: toml::de::Error| at(error.span(), error.message());
    Ok(RunFile {
        grants: part(grants, &span).map_err(wrong)?,
        limits: part(limits, &span).map_err(wrong)?,
        process: part(process, &span).map_err(wrong)?,
    })
}
