//! In: the targets of a command line or of a manifest. Out: their profiles. Never here: a profile that is not a regular
//! file, or a large one; the same for overlays.

use isomer_contract::name::{OVERLAY, ProfileName};
use isomer_contract::profile::{
    Overlay, OverlayError, Problem, ProfileText, find_shipped, overlay_names, shipped_names,
};
use isomer_contract::{Hinted, Profile, ProfileError, nearest};
use isomer_file::FileError;
use std::cell::RefCell;
use std::path::Path;

/// The largest profile that is read. The shipped ones have some hundred bytes.
pub const PROFILE_SIZE_BYTES_MAX: u64 = 1 << 20;

/// The name for all shipped profiles.
pub const ALL: &str = "all";

/// Why a target has no profile.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// No such shipped profile.
    #[error("unknown target `{name}`")]
    Unknown {
        /// As typed.
        name: String,
        /// The name that was probably meant.
        nearest: Option<String>,
    },
    /// The profile's file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The profile is invalid.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The overlays behind its name do not fit.
    #[error(transparent)]
    Overlay(#[from] OverlayError),
    /// Two different profiles of one name: their artifacts could not be told apart.
    #[error("two targets are called `{name}`: {first} and {second}")]
    SameName {
        /// The name.
        name: String,
        /// The file of the first.
        first: String,
        /// The file of the second.
        second: String,
    },
}

impl Hinted for TargetError {
    fn hint(&self) -> Option<String> {
        match self {
            TargetError::Unknown { name, .. } if overlay_names().any(|overlay| overlay == name) => {
                Some(format!("it is an overlay, which goes behind a target: `x86-64-v3{OVERLAY}{name}`"))
            }
            TargetError::Unknown { nearest: Some(nearest), .. } => Some(format!("did you mean `{nearest}`?")),
            TargetError::Unknown { .. } => Some("name a shipped profile, or a file with its `.toml`".to_owned()),
            TargetError::Profile(error) => error.hint(),
            TargetError::Overlay(error) => error.hint(),
            TargetError::SameName { .. } => Some("rename one of the files".to_owned()),
            TargetError::File(error) => error.hint(),
        }
    }
}

/// Every shipped profile, in the shipped order.
pub fn shipped() -> impl Iterator<Item = Profile> {
    shipped_names().map(|name| Profile::shipped(name).expect("the list names what is shipped"))
}

/// The profiles that `targets` name, each once, in that order: shipped ones, `all`, or files, which are relative to `base`.
/// Behind each may be overlays, shipped ones or files: `x86-64-v3+epoch`, `all+epoch`, `profiles/edge-box.toml+epoch`,
/// `x86-64-v3+./small.toml`.
///
/// # Errors
/// When one names no profile, or an invalid one.
pub fn resolve(targets: &[String], base: &Path) -> Result<Vec<Profile>, TargetError> {
    let mut profiles: Vec<Profile> = Vec::new();
    for target in targets {
        let (name, overlays) = split(target);
        let found: Vec<Profile> = if name == ALL { shipped().collect() } else { vec![resolve_one(name, base)?] };
        let (files, names): (Vec<&str>, Vec<&str>) = overlays.into_iter().partition(|overlay| is_file(overlay));
        let own = files.iter().map(|file| overlay_from_file(&base.join(file))).collect::<Result<Vec<_>, _>>()?;
        let with = |profile: &Profile| profile.with_overlays(names.iter().copied())?.put_on(own.iter().cloned());
        let found = found.iter().map(with).collect::<Result<Vec<_>, _>>()?;
        for profile in found {
            match profiles.iter().find(|known| known.name == profile.name) {
                None => profiles.push(profile),
                Some(known) if known.path == profile.path => {}
                Some(known) => {
                    let (first, second) = (known.path.clone(), profile.path);
                    return Err(TargetError::SameName { name: profile.name, first, second });
                }
            }
        }
    }
    Ok(profiles)
}

/// A target's name or file, and its overlays, which are names or files too. In a path with `/`, `+` is the path's unless it
/// follows `.toml`.
fn split(target: &str) -> (&str, Vec<&str>) {
    let mut parts = Vec::new();
    let mut rest = Some(target);
    while let Some(text) = rest {
        let (part, more) = first_part(text);
        parts.push(part);
        rest = more;
    }
    let overlays = parts.split_off(1);
    (parts[0], overlays)
}

/// A name or file, and what follows the `+` behind it.
fn first_part(text: &str) -> (&str, Option<&str>) {
    const END: &str = ".toml";
    let Some((part, more)) = text.split_once(OVERLAY) else { return (text, None) };
    if !part.contains('/') {
        return (part, Some(more));
    }
    match text.find(&format!("{END}{OVERLAY}")) {
        Some(at) => (&text[..at + END.len()], Some(&text[at + END.len() + OVERLAY.len_utf8()..])),
        None => (text, None),
    }
}

fn is_file(target: &str) -> bool {
    target.ends_with(".toml") || target.contains('/')
}

fn resolve_one(target: &str, base: &Path) -> Result<Profile, TargetError> {
    if is_file(target) {
        return from_file(&base.join(target));
    }
    Profile::shipped(target).ok_or_else(|| {
        let aliases: Vec<_> = shipped().flat_map(|profile| profile.aliases).collect();
        let mut known: Vec<&str> = shipped_names().collect();
        known.push(ALL);
        known.extend(aliases.iter().map(String::as_str));
        TargetError::Unknown { name: target.to_owned(), nearest: nearest(target, known).map(str::to_owned) }
    })
}

/// The profile in the file at `path`, which may inherit from a file in the same directory or from a shipped profile.
///
/// # Errors
/// When a file cannot be read, or a profile is invalid.
pub fn from_file(path: &Path) -> Result<Profile, TargetError> {
    let text = read(path)?;
    text.name.parse::<ProfileName>().map_err(|error| {
        let (path, problem) = (text.path.clone(), Problem::Name(error));
        ProfileError { path, line: None, problem }
    })?;
    let directory = path.parent().unwrap_or(Path::new("")).to_owned();
    let unreadable = RefCell::new(None);
    // A file in the directory comes before a shipped profile of that name; a name with a slash would leave the directory.
    let find = |name: &str| {
        let file = directory.join(format!("{name}.toml"));
        if name.contains('/') {
            return find_shipped(name);
        }
        match read(&file) {
            Ok(text) => Some(text),
            Err(error) if error.is_missing() => find_shipped(name),
            Err(error) => {
                unreadable.replace(Some(error.into()));
                None
            }
        }
    };
    let profile = Profile::resolve(&text, &find);
    match unreadable.take() {
        Some(error) => Err(error),
        None => Ok(profile?),
    }
}

/// The overlay in the file at `path`.
///
/// # Errors
/// When the file cannot be read, or holds no valid overlay.
pub fn overlay_from_file(path: &Path) -> Result<Overlay, TargetError> {
    Ok(Overlay::parse(read(path)?)?)
}

fn read(path: &Path) -> Result<ProfileText, FileError> {
    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
    Ok(ProfileText {
        name,
        path: path.display().to_string(),
        text: isomer_file::read_text(path, PROFILE_SIZE_BYTES_MAX)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_split_into_names_and_files() {
        for (target, profile, overlays) in [
            ("x86-64-v3", "x86-64-v3", vec![]),
            ("x86-64-v3+epoch+fuel", "x86-64-v3", vec!["epoch", "fuel"]),
            ("x86-64-v3+./small.toml", "x86-64-v3", vec!["./small.toml"]),
            ("x86-64-v3+small.toml+epoch", "x86-64-v3", vec!["small.toml", "epoch"]),
            ("all+a/small.toml+epoch+b/c.toml", "all", vec!["a/small.toml", "epoch", "b/c.toml"]),
            ("edge.toml+fuel", "edge.toml", vec!["fuel"]),
            ("./a+b/edge.toml", "./a+b/edge.toml", vec![]),
            ("./a+b/edge.toml+./c+d/small.toml+fuel", "./a+b/edge.toml", vec!["./c+d/small.toml", "fuel"]),
            ("x86-64-v3+", "x86-64-v3", vec![""]),
            ("", "", vec![]),
        ] {
            assert_eq!(split(target), (profile, overlays), "{target}");
        }
    }
}
