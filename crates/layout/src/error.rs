//! What can be wrong with a release, and with writing one. Each error names the file, what was found and what was expected;
//! an error of the operating system is its source.

use isomer_contract::limits::SIGNATURES_MAX;
use isomer_contract::manifest::{Blob, ManifestError};
use isomer_contract::name::NameError;
use isomer_contract::{Digest, Hinted};
use std::io;
use std::path::PathBuf;

/// Why a release, or a part of it, cannot be read.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// Not an OCI image layout.
    #[error("`{}` is not a release: {found}", .dir.display())]
    NotALayout {
        /// What was opened.
        dir: PathBuf,
        /// What it is instead, or what is missing.
        found: &'static str,
    },
    /// A layout of a version that this isomer does not know.
    #[error("`{}` has imageLayoutVersion `{found}`, expected `1.0.0`", .file.display())]
    LayoutVersion {
        /// The `oci-layout` file.
        file: PathBuf,
        /// The version in it.
        found: String,
    },
    /// A document that does not parse, or is not one of a release.
    #[error("`{}` is malformed: {reason}", .file.display())]
    Malformed {
        /// The document.
        file: PathBuf,
        /// What was found and expected.
        reason: String,
    },
    /// A variant's description does not parse.
    #[error("`{}` describes a variant that this isomer cannot read", .file.display())]
    Variant {
        /// The index or config.
        file: PathBuf,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// A file that exceeds the limit of its kind.
    #[error("`{}` has {found_bytes} bytes, expected at most {limit_bytes}", .file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// Its size, or the size that its descriptor claims.
        found_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// A symbolic link, device or the like where a release has plain files and directories.
    #[error("`{}` is {found}, expected {expected}", .file.display())]
    FileType {
        /// The path.
        file: PathBuf,
        /// What it is.
        found: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// A missing blob.
    #[error("`{}` is missing; `{}` names it", .file.display(), .named_by.display())]
    MissingBlob {
        /// Where it should be.
        file: PathBuf,
        /// The document with its descriptor.
        named_by: PathBuf,
    },
    /// A blob that is not of the size in its descriptor.
    #[error("`{}` has {found_bytes} bytes, expected {expected_bytes} as `{}` says", .file.display(), .named_by.display())]
    Size {
        /// The blob.
        file: PathBuf,
        /// Its size.
        found_bytes: u64,
        /// The size in its descriptor.
        expected_bytes: u64,
        /// The document with its descriptor.
        named_by: PathBuf,
    },
    /// A blob that does not have the digest in its name.
    #[error("`{}` was altered: its digest is {found}, expected {expected}", .file.display())]
    Digest {
        /// The blob.
        file: PathBuf,
        /// The digest of its bytes.
        found: Digest,
        /// The digest in its name.
        expected: Digest,
    },
    /// A digest of an unsupported algorithm.
    #[error("`{}` names a blob as `{found}`, expected a sha256 digest", .file.display())]
    DigestAlgorithm {
        /// The document.
        file: PathBuf,
        /// The digest.
        found: String,
    },
    /// No module of that name.
    #[error("`{}` holds no module `{name}`, only {}", .dir.display(), list(.existing))]
    UnknownModule {
        /// The release.
        dir: PathBuf,
        /// The name.
        name: String,
        /// The nearest existing name.
        nearest: Option<String>,
        /// The references of all modules.
        existing: Vec<String>,
    },
    /// A name without a version that matches several modules.
    #[error("`{}` holds several versions of `{name}`: {}", .dir.display(), .references.join(", "))]
    AmbiguousModule {
        /// The release.
        dir: PathBuf,
        /// The name.
        name: String,
        /// The matching references.
        references: Vec<String>,
    },
    /// No name was given, and there are several modules.
    #[error("`{}` holds several modules: {}", .dir.display(), .references.join(", "))]
    SeveralModules {
        /// The release.
        dir: PathBuf,
        /// All of them.
        references: Vec<String>,
    },
    /// Two entries of an index with the same name.
    #[error("`{}` lists {what} twice", .file.display())]
    Duplicate {
        /// The index.
        file: PathBuf,
        /// The name, and of what.
        what: String,
    },
    /// A part of a manifest with an unsupported media type.
    #[error("`{}`: the {what} is `{found}`, expected {expected}", .file.display())]
    MediaType {
        /// The manifest.
        file: PathBuf,
        /// The part.
        what: &'static str,
        /// Its media type or artifact type.
        found: String,
        /// The supported ones.
        expected: String,
    },
    /// Two documents that disagree on the same variant.
    #[error("`{}`: the {what} is {found}, expected {expected} as in the index", .file.display())]
    Disagreement {
        /// The manifest or config.
        file: PathBuf,
        /// What they disagree on.
        what: &'static str,
        /// The value in the file.
        found: String,
        /// The value in the index, or in the rest of the file.
        expected: String,
    },
    /// A layer that does not decompress to the artifact in its config.
    #[error("`{}` does not decompress to an artifact of {expected_bytes} bytes: {reason}", .file.display())]
    Decompress {
        /// The layer's blob.
        file: PathBuf,
        /// The artifact's size in the config.
        expected_bytes: u64,
        /// What happened instead.
        reason: String,
    },
    /// The operating system refused.
    #[error("cannot read `{}`", .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
}

fn list(existing: &[String]) -> String {
    if existing.is_empty() { "an index without modules".to_owned() } else { existing.join(", ") }
}

impl Hinted for LayoutError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            LayoutError::NotALayout { .. } => {
                "a release is a directory or tar file with an OCI image layout".to_owned()
            }
            LayoutError::LayoutVersion { .. } => "it was written by a later isomer or another tool".to_owned(),
            LayoutError::Variant { source: ManifestError::Newer { .. }, .. } => "update isomer".to_owned(),
            LayoutError::UnknownModule { nearest: Some(nearest), .. } => format!("did you mean `{nearest}`?"),
            LayoutError::SeveralModules { references, .. } => {
                format!("name one of them, for example `{}`", references.first()?)
            }
            LayoutError::AmbiguousModule { references, .. } => {
                format!("name the version too, for example `{}`", references.first()?)
            }
            LayoutError::MissingBlob { .. } => {
                "the release was copied in part, or is being replaced by a newer one: copy or open it again".to_owned()
            }
            LayoutError::Size { .. } | LayoutError::Digest { .. } => {
                "the file was damaged or changed: copy the release again, or build it again".to_owned()
            }
            LayoutError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "check the path; a release is a directory or tar file with an OCI image layout".to_owned()
            }
            LayoutError::UnknownModule { existing, .. } => {
                format!("name one of them, for example `{}`", existing.first()?)
            }
            LayoutError::Io { .. } => return None,
            _ => "it was damaged or changed, or another tool wrote it: fetch the release again, or build it again"
                .to_owned(),
        })
    }
}

/// [`WriteError::Io`]'s action when a new file could not be created in a directory.
pub(crate) const CREATE_IN: &str = "create a file in";

/// Why a release, or a single file, was not written. What existed before is unchanged.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A directory with other files.
    #[error("`{}` holds files and is not a release that isomer wrote: {found}", .dir.display())]
    NotOurs {
        /// The directory.
        dir: PathBuf,
        /// What was found.
        found: String,
    },
    /// Not a directory.
    #[error("`{}` is {found}, expected a directory", .path.display())]
    NoDirectory {
        /// The path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// Another user's directory.
    #[error("`{}` belongs to the user {uid}; expected a directory of this user", .dir.display())]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// Another process is writing it.
    #[error("`{}` is being written by another process, which holds `{}`", .dir.display(), .lock.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// The file that the other process has locked.
        lock: PathBuf,
    },
    /// The module to be signed is not in the release.
    #[error("`{}` holds no module whose index is {digest}", .dir.display())]
    Replaced {
        /// The directory.
        dir: PathBuf,
        /// The index's digest.
        digest: Digest,
    },
    /// More signatures of a module than readers accept.
    #[error("`{}` has {SIGNATURES_MAX} signatures of a module already, which is the limit", .dir.display())]
    TooManySignatures {
        /// The directory.
        dir: PathBuf,
    },
    /// An artifact that is not the expected one.
    #[error(
        "the artifact for a layer has digest {} and {} bytes, expected {} and {}",
        .found.digest, .found.size_bytes, .expected.digest, .expected.size_bytes
    )]
    Artifact {
        /// What was read.
        found: Blob,
        /// What it should be.
        expected: Blob,
    },
    /// A packed layer that is not the expected one.
    #[error(
        "a packed layer has digest {} and {} bytes or more, expected {} and {}",
        .found.digest, .found.size_bytes, .expected.digest, .expected.size_bytes
    )]
    PackedLayer {
        /// What was read.
        found: Blob,
        /// What it should be.
        expected: Blob,
    },
    /// A name or version that is not valid.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Two modules, or two variants of one, with the same name.
    #[error("the release holds {0} twice")]
    Duplicate(String),
    /// A contradiction in what is to be released.
    #[error("module `{module}`: {problem}")]
    Inconsistent {
        /// The module.
        module: String,
        /// The contradiction.
        problem: String,
    },
    /// The WebAssembly does not parse.
    #[error("cannot read the component's imports and exports: {0}")]
    Wasm(String),
    /// The directory's content cannot be read.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The operating system refused.
    #[error("cannot {action} `{}`", .path.display())]
    Io {
        /// What was tried, a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
}

impl Hinted for WriteError {
    fn hint(&self) -> Option<String> {
        match self {
            WriteError::NotOurs { .. } => Some("choose a new or empty directory, or empty this one".to_owned()),
            WriteError::NoDirectory { .. } => Some("choose a new or empty directory, or remove it".to_owned()),
            WriteError::Foreign { .. } => {
                Some("use a directory of this user: its owner could change what is in it at any time".to_owned())
            }
            WriteError::Locked { .. } => Some("wait for it to end, or choose another directory".to_owned()),
            WriteError::Replaced { .. } => {
                Some("the release was replaced while it was signed: sign it again".to_owned())
            }
            WriteError::TooManySignatures { .. } => {
                Some("build the release in an empty directory, and sign that".to_owned())
            }
            WriteError::Name(error) => error.hint(),
            WriteError::Duplicate(_) => Some("give each module its own name".to_owned()),
            WriteError::Layout(error) => error.hint(),
            WriteError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("the disk is full; nothing was changed".to_owned())
            }
            WriteError::Io { source, .. } if source.kind() == io::ErrorKind::IsADirectory => {
                Some("name a file in it".to_owned())
            }
            WriteError::Io { source, .. } if source.kind() == io::ErrorKind::NotADirectory => {
                Some("a part of that path is a file".to_owned())
            }
            WriteError::Io { action: CREATE_IN, source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("create the directory first, or name a file in an existing one".to_owned())
            }
            _ => None,
        }
    }
}
