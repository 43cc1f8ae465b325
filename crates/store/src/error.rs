//! Why an operation on a store fails. Each error names the file, what was found and what was expected.

use crate::Weakness;
use crate::documents::STORE_SCHEMA;
use isomer_contract::manifest::ManifestError;
use isomer_contract::{Digest, Hinted};
use isomer_layout::{LayoutError, SourceError};
use isomer_runtime::{FetchError, SelectError, TrustError, VerifyError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Why an operation on a store failed. The store is unchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The directory does not exist, or holds no store yet.
    #[error("there is no store in `{}`", .dir.display())]
    NoStore {
        /// Where.
        dir: PathBuf,
    },
    /// The directory holds other things.
    #[error("`{}` is not a store: {found}", .dir.display())]
    NotAStore {
        /// The directory.
        dir: PathBuf,
        /// What was found.
        found: String,
    },
    /// A store of another version of isomer.
    #[error("`{}` has the schema {found}, expected {STORE_SCHEMA}", .file.display())]
    Schema {
        /// Its `store.json`.
        file: PathBuf,
        /// The schema in it.
        found: u64,
    },
    /// A file of the store that does not parse.
    #[error("`{}` is malformed: {reason}", .file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What was found and expected.
        reason: String,
    },
    /// An installed module of which something is malformed or missing.
    #[error("the installed index {index} is damaged")]
    Damaged {
        /// The digest of its index.
        index: Digest,
        /// What is wrong with it.
        source: Box<StoreError>,
    },
    /// Another user can change the records that a module was installed.
    #[error("the store `{}` is not trusted: {weakness}", .dir.display())]
    NotTrusted {
        /// The store.
        dir: PathBuf,
        /// Which user can change what.
        weakness: Weakness,
    },
    /// Another user can change the record of the active version of a module.
    #[error("the record of the active version of `{module}` is not trusted: {weakness}")]
    ActiveNotTrusted {
        /// The module.
        module: String,
        /// Which user can change what.
        weakness: Weakness,
    },
    /// Another user can change the record of how a module was installed.
    #[error("the record of the installed index {index} is not trusted: {weakness}")]
    InstalledNotTrusted {
        /// The digest of its index.
        index: Digest,
        /// Which user can change what.
        weakness: Weakness,
    },
    /// Another user can change the store.
    #[error("nothing is written to `{}`: {weakness}", .dir.display())]
    NotOurs {
        /// The store.
        dir: PathBuf,
        /// Which user can change what.
        weakness: Weakness,
    },
    /// The source offers another module than the requested one.
    #[error("`{from}` holds the module `{found}`, expected `{expected}`")]
    OtherModule {
        /// What was pulled.
        from: String,
        /// The name that its index declares.
        found: String,
        /// The name that was requested.
        expected: String,
    },
    /// The source offers another version than the requested one.
    #[error("`{from}` holds the version {found}, expected {expected}")]
    OtherVersion {
        /// What was pulled.
        from: String,
        /// The version that its index declares, which is the one that was signed.
        found: String,
        /// The version that was requested.
        expected: String,
    },
    /// There are more counters than the file can hold.
    #[error("`{}` would be too large", .file.display())]
    CountersFull {
        /// The file.
        file: PathBuf,
    },
    /// What was pulled is not an index.
    #[error("`{from}` is a single manifest, expected the index of a module's variants")]
    NoIndex {
        /// What was pulled.
        from: String,
    },
    /// What was pulled has signatures, and none of them can be read.
    #[error("no signature of `{from}` can be read: {}", .unreadable.join("; "))]
    UnreadableSignatures {
        /// What was pulled.
        from: String,
        /// For each, which it is and why.
        unreadable: Vec<String>,
    },
    /// No module of that name is installed.
    #[error("`{what}` is not installed in `{}`{}", .dir.display(), list("; installed are ", .installed))]
    NotInstalled {
        /// What was requested.
        what: String,
        /// The store.
        dir: PathBuf,
        /// The name that it was probably meant to be.
        nearest: Option<String>,
        /// What is installed.
        installed: Vec<String>,
    },
    /// It is installed, and no version of it was activated.
    #[error("no version of `{module}` is active in `{}`{}", .dir.display(), list("; installed are ", .installed))]
    NotActive {
        /// The module.
        module: String,
        /// The store.
        dir: PathBuf,
        /// Its installed versions.
        installed: Vec<String>,
        /// What activates one of them.
        instead: Option<Instead>,
    },
    /// Several installed modules match the name.
    #[error("`{what}` is ambiguous: {}", .choices.join(", "))]
    Ambiguous {
        /// What was requested.
        what: String,
        /// The names that it matches.
        choices: Vec<String>,
    },
    /// No earlier active version is left.
    #[error("no version of `{module}` that was active earlier is still installed and intact")]
    NothingEarlier {
        /// The module.
        module: String,
    },
    /// The disk has too little free space.
    #[error(
        "`{}` needs {needed_bytes} bytes of free space and has {available_bytes}: {} are missing",
        .dir.display(), needed_bytes.saturating_sub(*.available_bytes)
    )]
    Space {
        /// The store.
        dir: PathBuf,
        /// How many bytes are to be written yet.
        needed_bytes: u64,
        /// How many are free.
        available_bytes: u64,
    },
    /// A layer does not hold the artifact that its config promises.
    #[error("the layer for {target} holds an artifact with the digest {found}, expected {expected}")]
    OtherArtifact {
        /// The variant's target.
        target: String,
        /// Of what was in the layer.
        found: Digest,
        /// The one in the config.
        expected: Digest,
    },
    /// An artifact is not what the release declares.
    #[error("the variant for {target} is not what the release promises")]
    Verify {
        /// The variant's target.
        target: String,
        /// Why.
        source: VerifyError,
    },
    /// Other processes removed it repeatedly while it was being installed.
    #[error("`{reference}` was removed by another process while it was being installed")]
    Removed {
        /// The module.
        reference: String,
    },
    /// The source cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The source offers no valid release, or an installed layout is damaged.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// It is not trusted.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// None of its variants is chosen.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// Its bytes cannot be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// An installed artifact cannot be opened.
    #[error("cannot open `{}`, the variant for {target}", .path.display())]
    Open {
        /// The variant's target.
        target: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The operating system refused.
    #[error("cannot {action} `{}`", .path.display())]
    Io {
        /// The action, a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// How to activate a version of a module that has no active one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instead {
    /// By rolling back the module with this name.
    RollBack(String),
    /// By activating this name and version.
    Activate(String),
}

impl StoreError {
    /// The same as the damage of the installed `index`, if it is damage.
    pub(crate) fn damages(self, index: Digest) -> StoreError {
        if self.is_damage() { StoreError::Damaged { index, source: Box::new(self) } } else { self }
    }

    /// Whether a file was seen to be wrong or missing. No other error is a reason to remove or replace anything: no free
    /// descriptor, a permission, a disk that does not answer, a form that a newer isomer writes.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            StoreError::Damaged { .. } | StoreError::Malformed { .. } => true,
            StoreError::Layout(LayoutError::Io { source, .. }) | StoreError::Io { source, .. } => is_damage(source),
            StoreError::Layout(LayoutError::Variant { source: ManifestError::Newer { .. }, .. }) => false,
            StoreError::Layout(_) => true,
            _ => false,
        }
    }
}

/// Whether the system's error is about the file, not about the caller.
pub(crate) fn is_damage(error: &io::Error) -> bool {
    match error.raw_os_error() {
        Some(code) => matches!(code, libc::ENOENT | libc::ENOTDIR | libc::EISDIR | libc::ELOOP | libc::ENXIO),
        // Our own.
        None => matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Other),
    }
}

/// What was read; none if that is damaged.
pub(crate) fn unless_damaged<T>(read: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.is_damage() => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { action, path, source }
}

fn list(words: &str, existing: &[String]) -> String {
    if existing.is_empty() { String::new() } else { format!("{words}{}", existing.join(", ")) }
}

impl Hinted for StoreError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            StoreError::NoStore { .. } => "pull a module, which makes it, or name another directory".to_owned(),
            StoreError::NotAStore { .. } => "name a new or empty directory".to_owned(),
            StoreError::Schema { .. } => {
                "it was made by another version of isomer: use that one, or another directory".to_owned()
            }
            StoreError::OtherModule { found, .. } => {
                format!("if `{found}` is what you want, pull it by its digest, …@sha256:…")
            }
            StoreError::OtherVersion { found, .. } => {
                format!("the tag was moved or forged; if {found} is what you want, request that version, or its digest")
            }
            StoreError::CountersFull { .. } => "forget the counters of modules that are not used any more".to_owned(),
            StoreError::NoIndex { .. } => {
                "a tag that ends in `-wasm` is the plain WebAssembly, for other runtimes: leave that out".to_owned()
            }
            StoreError::Malformed { file, .. } if file.ends_with("counters.json") => {
                "it keeps older releases out: restore it from a backup, or repair it, which keeps what is valid"
                    .to_owned()
            }
            StoreError::Malformed { file, .. } if file.ends_with("store.json") => {
                format!("it was damaged or changed by hand: expected `{{\"schema\":{STORE_SCHEMA}}}`")
            }
            StoreError::Malformed { file, .. } if file.parent().is_some_and(|dir| dir.ends_with("active")) => {
                let module = file.file_stem().unwrap_or_default().to_string_lossy();
                format!("it was damaged or changed by hand: activate a version of `{module}` again")
            }
            StoreError::Malformed { .. } => "it was damaged or changed by hand: remove it and pull again".to_owned(),
            StoreError::Damaged { .. } => "pull it again, or collect what is damaged".to_owned(),
            StoreError::NotTrusted { weakness: Weakness::Writable { path, .. }, .. } => {
                format!("`chmod go-w {}`, or state which keys or digest are trusted", path.display())
            }
            StoreError::NotTrusted { .. } => {
                "state which keys or digest are trusted, or use a store of your own".to_owned()
            }
            StoreError::ActiveNotTrusted { module, .. } => format!("activate a version of `{module}` again"),
            StoreError::InstalledNotTrusted { .. } => "pull it again: that replaces it".to_owned(),
            StoreError::NotOurs { weakness: Weakness::Writable { path, .. }, .. } => {
                format!("`chmod go-w {}`, or use a store of your own", path.display())
            }
            StoreError::NotOurs { .. } => "do it as the user who owns the store, or use one of your own".to_owned(),
            StoreError::UnreadableSignatures { .. } => {
                "they were damaged there or in transit: remove them there, then push or copy the release with its signatures \
                 again"
                    .to_owned()
            }
            StoreError::NotInstalled { nearest: Some(nearest), .. } => format!("did you mean `{nearest}`?"),
            StoreError::NotInstalled { .. } => "pull it first".to_owned(),
            StoreError::NotActive { instead, .. } => match instead.as_ref()? {
                Instead::RollBack(module) => format!("roll `{module}` back"),
                Instead::Activate(reference) => format!("activate `{reference}`"),
            },
            StoreError::Ambiguous { choices, .. } => format!("name one of them, for example `{}`", choices.first()?),
            StoreError::NothingEarlier { .. } => "any version that is installed can be activated".to_owned(),
            StoreError::Space { .. } => "what is installed is as it was; collect what is not needed".to_owned(),
            StoreError::OtherArtifact { .. } => "build the release again".to_owned(),
            StoreError::Removed { .. } => "pull it again".to_owned(),
            StoreError::Verify { source, .. } => return source.hint(),
            StoreError::Source(error) => return error.hint(),
            StoreError::Layout(error) => return error.hint(),
            StoreError::Trust(error) => return error.hint(),
            StoreError::Fetch(error) => return error.hint(),
            StoreError::Select(_) => return None,
            StoreError::Open { source, .. } if is_damage(source) => "pull it again".to_owned(),
            StoreError::Open { source, path, .. } if source.kind() == ErrorKind::PermissionDenied => {
                format!(
                    "the user who runs it must be able to read `{}`, and to enter all directories above",
                    path.display()
                )
            }
            StoreError::Open { .. } => return None,
            StoreError::Io { source, .. } => match source.kind() {
                ErrorKind::StorageFull => "the disk is full; what is installed is as it was".to_owned(),
                ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => {
                    "do it as the user who owns the store, or use another".to_owned()
                }
                ErrorKind::NotADirectory => "a part of that path is not a directory: name another".to_owned(),
                _ => return None,
            },
        })
    }
}

#[cfg(test)]
mod tests;
