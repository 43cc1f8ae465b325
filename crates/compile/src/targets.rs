//! In: what stands behind `--target` or in a manifest's `targets`. Out: the profiles that it means.

use isomer_contract::profile::{ProfileText, find_shipped, shipped_names};
use isomer_contract::{Hinted, Profile, ProfileError, nearest};
use std::cell::RefCell;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The word for all shipped profiles.
pub const ALL: &str = "all";

/// Why a target means nothing.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// No such shipped profile.
    #[error("unknown target `{name}`")]
    Unknown {
        /// As typed.
        name: String,
        /// The names that were probably meant.
        nearest: Option<String>,
    },
    /// The profile's file cannot be read.
    #[error("cannot read the profile {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The profile is wrong.
    #[error("{0}")]
    Profile(#[from] ProfileError),
    /// Two different profiles of one name: their artifacts could not be told apart.
    #[error("two targets are called `{name}`: {first} and {second}")]
    SameName {
        /// The name.
        name: String,
        /// Where the first is from.
        first: String,
        /// Where the second is from.
        second: String,
    },
}

impl Hinted for TargetError {
    fn hint(&self) -> Option<String> {
        match self {
            TargetError::Unknown { nearest: Some(nearest), .. } => Some(format!("did you mean `{nearest}`?")),
            TargetError::Unknown { .. } => {
                Some("`isomer targets` lists the shipped ones; a file is named with its `.toml`".to_owned())
            }
            TargetError::Profile(error) => error.hint(),
            TargetError::SameName { .. } => Some("rename one of the files".to_owned()),
            TargetError::Read { .. } => None,
        }
    }
}

/// Every shipped profile, in the shipped order.
pub fn shipped() -> impl Iterator<Item = Profile> {
    shipped_names().map(|name| Profile::shipped(name).expect("the list names what is shipped"))
}

/// The profiles that `words` mean, each once, in the order named. Files are relative to `base`.
pub fn resolve(words: &[String], base: &Path) -> Result<Vec<Profile>, TargetError> {
    let mut profiles: Vec<Profile> = Vec::new();
    for word in words {
        let found = if word == ALL { shipped().collect() } else { vec![resolve_one(word, base)?] };
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

fn resolve_one(word: &str, base: &Path) -> Result<Profile, TargetError> {
    if word.ends_with(".toml") || word.contains('/') {
        return from_file(&base.join(word));
    }
    Profile::shipped(word).ok_or_else(|| {
        let aliases: Vec<_> = shipped().flat_map(|profile| profile.aliases).collect();
        let mut known: Vec<&str> = shipped_names().collect();
        known.push(ALL);
        known.extend(aliases.iter().map(String::as_str));
        TargetError::Unknown { name: word.to_owned(), nearest: nearest(word, known).map(str::to_owned) }
    })
}

/// The profile in the file at `path`, which may inherit from a file beside it or from a shipped profile.
pub fn from_file(path: &Path) -> Result<Profile, TargetError> {
    let text = read(path).map_err(|source| TargetError::Read { path: path.to_owned(), source })?;
    let directory = path.parent().unwrap_or(Path::new("")).to_owned();
    let unreadable = RefCell::new(None);
    // A file beside it comes before a shipped profile of that name; a name with a slash would leave the directory.
    let find = |name: &str| {
        let beside = directory.join(format!("{name}.toml"));
        match if name.contains('/') { Err(io::ErrorKind::NotFound.into()) } else { read(&beside) } {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => find_shipped(name),
            Err(source) => {
                unreadable.replace(Some(TargetError::Read { path: beside, source }));
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

fn read(path: &Path) -> io::Result<ProfileText> {
    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
    Ok(ProfileText { name, path: path.display().to_string(), text: fs::read_to_string(path)? })
}
