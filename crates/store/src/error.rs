//! Why a store does not do what it was asked for. Each names the file, what was found and what was expected.

use crate::Weakness;
use crate::documents::STORE_SCHEMA;
use isomer_contract::manifest::ManifestError;
use isomer_contract::{Digest, Hinted};
use isomer_layout::{LayoutError, SourceError};
use isomer_runtime::{FetchError, SelectError, TrustError, VerifyError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// What went wrong with a store. What was in it before is as it was.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is none.
    #[error("there is no store in `{}`", .dir.display())]
    NoStore {
        /// Where.
        dir: PathBuf,
    },
    /// The directory holds other things.
    #[error("`{}` is no store: {found}", .dir.display())]
    NotAStore {
        /// The directory.
        dir: PathBuf,
        /// What was found.
        found: String,
    },
    /// A store of another isomer.
    #[error("`{}` says schema {found}, expected {STORE_SCHEMA}", .file.display())]
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
    /// An installed module of which something does not parse, or is gone.
    #[error("the installed index {index} is damaged: {source}")]
    Damaged {
        /// The digest of its index.
        index: Digest,
        /// What is wrong with it.
        source: Box<StoreError>,
    },
    /// Others can change what says that a module was installed.
    #[error("nothing in `{}` is believed: {weakness}", .dir.display())]
    NotBelieved {
        /// The store.
        dir: PathBuf,
        /// Who can change what.
        weakness: Weakness,
    },
    /// Others can change what says which version of a module is active, and which were.
    #[error("what says that a version of `{module}` is active is not believed: {weakness}")]
    ActiveNotBelieved {
        /// The module.
        module: String,
        /// Who can change what.
        weakness: Weakness,
    },
    /// Others can change what says how a module was installed.
    #[error("the installed index {index} is not believed: {weakness}")]
    InstalledNotBelieved {
        /// The digest of its index.
        index: Digest,
        /// Who can change what.
        weakness: Weakness,
    },
    /// Others decide what is in the store.
    #[error("nothing is written to `{}`: {weakness}", .dir.display())]
    NotOurs {
        /// The store.
        dir: PathBuf,
        /// Who can change what.
        weakness: Weakness,
    },
    /// Another module is offered where one was asked for.
    #[error("`{from}` holds the module `{found}`, expected `{expected}`")]
    OtherModule {
        /// What was pulled.
        from: String,
        /// The name that its index says.
        found: String,
        /// The name that was asked for.
        expected: String,
    },
    /// Another version than the requested one is offered.
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
    /// What was pulled is no index.
    #[error("`{from}` is one manifest and no index of a module's forms")]
    NoIndex {
        /// What was pulled.
        from: String,
    },
    /// Nothing of that name is installed.
    #[error("`{what}` is not installed in `{}`{}", .dir.display(), list("; installed are ", .installed))]
    NotInstalled {
        /// What was asked for.
        what: String,
        /// The store.
        dir: PathBuf,
        /// The name that it was probably meant to be.
        nearest: Option<String>,
        /// What is there.
        installed: Vec<String>,
    },
    /// It is installed, and no version of it was activated.
    #[error("no version of `{module}` is active in `{}`{}", .dir.display(), list("; installed are ", .installed))]
    NotActive {
        /// The module.
        module: String,
        /// The store.
        dir: PathBuf,
        /// Its versions that are there.
        installed: Vec<String>,
        /// The command that makes one of them active.
        instead: Option<String>,
    },
    /// Several are called so.
    #[error("`{what}` may be {}", .choices.join(", "))]
    Ambiguous {
        /// What was asked for.
        what: String,
        /// What it may be.
        choices: Vec<String>,
    },
    /// Nothing was active before.
    #[error("no version of `{module}` that was active before is still installed and whole")]
    NothingEarlier {
        /// The module.
        module: String,
    },
    /// The disk is too small.
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
    /// An artifact is not what the release says of it.
    #[error("the variant for {target} is not what the release promises")]
    Verify {
        /// The variant's target.
        target: String,
        /// Why.
        source: VerifyError,
    },
    /// It was removed again and again while it was being installed.
    #[error("`{reference}` was removed by another process while it was being installed")]
    Removed {
        /// The module.
        reference: String,
    },
    /// The source does not give it.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// What it gives is no release, or what is installed is damaged.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// It is not trusted.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// None of its variants is wanted here.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// Its bytes are not to be had.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// An installed artifact can't be opened.
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
        /// What was tried, a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Its words.
        source: io::Error,
    },
}

impl StoreError {
    /// That this is what is wrong with the installed `index`, where it says anything about that.
    pub(crate) fn damages(self, index: Digest) -> StoreError {
        if self.is_damage() { StoreError::Damaged { index, source: Box::new(self) } } else { self }
    }

    /// Whether what is there was seen to be wrong, or seen to be gone. All else is nothing to remove or to replace
    /// anything for: a descriptor that is missing, a permission, a disk that does not answer, a form that a newer isomer
    /// writes.
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

/// Whether the operating system's words are about what is there, not about who asks.
pub(crate) fn is_damage(error: &io::Error) -> bool {
    match error.raw_os_error() {
        Some(code) => matches!(code, libc::ENOENT | libc::ENOTDIR | libc::EISDIR | libc::ELOOP | libc::ENXIO),
        // Our own.
        None => matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Other),
    }
}

/// What was read; nothing where that is damaged.
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
            StoreError::NoStore { .. } => {
                "`isomer-run pull` makes it; `--store DIR` or ISOMER_STORE names another".to_owned()
            }
            StoreError::NotAStore { .. } => "name a new or empty directory".to_owned(),
            StoreError::Schema { .. } => {
                "it was made by another version of isomer-run: use that one, or another directory".to_owned()
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
                format!(
                    "it was damaged or changed by hand: `isomer-run activate {module}:VERSION` says anew which version \
                     is active, and forgets those before"
                )
            }
            StoreError::Malformed { .. } => "it was damaged or changed by hand: remove it and pull again".to_owned(),
            StoreError::Damaged { .. } => {
                "pull it again; or `isomer-run gc --damaged` removes it, and all that is damaged beside it".to_owned()
            }
            StoreError::NotBelieved { weakness: Weakness::Writable { path, .. }, .. } => {
                let path = path.display();
                format!("`chmod go-w {path}`, or say whom you trust with `--key`, `--trust` or `--digest`")
            }
            StoreError::NotBelieved { .. } => {
                "say whom you trust with `--key`, `--trust` or `--digest`, or use a store of your own with `--store`"
                    .to_owned()
            }
            StoreError::ActiveNotBelieved { module, .. } => format!(
                "`isomer-run activate {module}:VERSION` says anew which one is, and forgets those before; `isomer-run \
                 list` shows what is installed"
            ),
            StoreError::InstalledNotBelieved { .. } => "pull it again: that replaces it".to_owned(),
            StoreError::NotOurs { weakness: Weakness::Writable { path, .. }, .. } => {
                format!("`chmod go-w {}`, or use a store of your own with `--store`", path.display())
            }
            StoreError::NotOurs { .. } => {
                "run it as the user who owns the store, or use one of your own with `--store`".to_owned()
            }
            StoreError::NotInstalled { nearest: Some(nearest), .. } => format!("did you mean `{nearest}`?"),
            StoreError::NotInstalled { .. } => "install it with `isomer-run pull`".to_owned(),
            StoreError::NotActive { instead, .. } => format!("`isomer-run {}`", instead.as_ref()?),
            StoreError::Ambiguous { choices, .. } => format!("name one of them, for example `{}`", choices.first()?),
            StoreError::NothingEarlier { .. } => {
                "`isomer-run list` shows what is installed; `isomer-run activate` takes any of it".to_owned()
            }
            StoreError::Space { .. } => {
                "what is installed is as it was; `isomer-run gc` removes what is not needed".to_owned()
            }
            StoreError::OtherArtifact { .. } => "make the release again".to_owned(),
            StoreError::Removed { .. } => "pull it again".to_owned(),
            StoreError::Verify { source, .. } => return source.hint(),
            StoreError::Source(error) => return error.hint(),
            StoreError::Layout(error) => return error.hint(),
            StoreError::Trust(error) => return error.hint(),
            StoreError::Fetch(error) => return error.hint(),
            StoreError::Select(_) => return None,
            StoreError::Open { source, .. } if is_damage(source) => "pull it again".to_owned(),
            StoreError::Open { source, path, .. } if source.kind() == ErrorKind::PermissionDenied => {
                format!("whoever runs it must be able to read `{}`, and to enter all directories above", path.display())
            }
            StoreError::Open { .. } => return None,
            StoreError::Io { source, .. } => match source.kind() {
                ErrorKind::StorageFull => "the disk is full; what is installed is as it was".to_owned(),
                ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => {
                    "run it as the user who owns the store, or name another with `--store`".to_owned()
                }
                ErrorKind::NotADirectory => {
                    "a part of that path is no directory: name another with `--store`".to_owned()
                }
                _ => return None,
            },
        })
    }
}
