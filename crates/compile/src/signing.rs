//! In: a release in a directory, a key, what is known of who compiled the release. Out: the release with that key's
//! signature, of all its modules at once. Never here: a clock, a setting of this machine: one key signs one release in one
//! way; a signature of what this user neither compiled nor trusts by name.
//!
//! The statement repeats what the release's documents declare. They, and all that they name, are checked against their
//! digests first.

use crate::VERSION;
use crate::maker::Maker;
use crate::records::Record;
use isomer_contract::limits::COUNTER_MAX;
use isomer_contract::{Digest, Hinted};
use isomer_layout::{Identity, Layout, LayoutError, WriteError, Writer, check_owner};
use isomer_trust::{Build, Builder, Bundle, NotCompiled, Release, SUBJECTS_MAX, SigningKey, Statement};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The builder's URI when none is given.
pub const DEFAULT_BUILDER: &str = "https://isomer.dev/builder/unnamed";

/// Why a release was not signed. It is unchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The release does not exist, or is damaged.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The signature cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Its name and version are not known.
    #[error("`{}` does not declare the name and version of its release", .0.display())]
    NoIdentity(PathBuf),
    /// It is one part of a release.
    #[error("`{}` is one part of a release; expected the whole", .0.display())]
    Part(PathBuf),
    /// This user has no record of having released a module of it.
    #[error(
        "`{}` contains modules that this user has no record of having released from this machine: {}",
        .dir.display(), .modules.join(", ")
    )]
    NotRecorded {
        /// The release.
        dir: PathBuf,
        /// The modules.
        modules: Vec<String>,
    },
    /// Remotes made artifacts of it that are not trusted.
    #[error(
        "`{}` contains artifacts of {} that were not compared on this machine",
        .dir.display(), .makers.iter().map(Maker::to_string).collect::<Vec<_>>().join(" and ")
    )]
    Untrusted {
        /// The release.
        dir: PathBuf,
        /// The remotes.
        makers: BTreeSet<Maker>,
    },
    /// More modules than a statement can name, or none.
    #[error("`{}` holds {found} modules; expected 1 to {SUBJECTS_MAX}, for all are signed at once", .dir.display())]
    ModuleCount {
        /// The release.
        dir: PathBuf,
        /// How many there are.
        found: usize,
    },
    /// A counter that no server accepts.
    #[error("expected a counter of at most {COUNTER_MAX}, found {found}")]
    Counter {
        /// The counter.
        found: u64,
    },
}

impl Hinted for SignError {
    fn hint(&self) -> Option<String> {
        match self {
            SignError::Layout(error) => error.hint(),
            SignError::Write(error) => error.hint(),
            SignError::NoIdentity(_) => {
                Some("other tools copy the modules without the release's name: sign the original".to_owned())
            }
            SignError::Part(_) => Some("join all parts first".to_owned()),
            SignError::NotRecorded { .. } => Some("release it here, and sign it at once".to_owned()),
            SignError::Untrusted { .. } => {
                Some("release it again and sign it at once: everything is compared then".to_owned())
            }
            SignError::ModuleCount { .. } | SignError::Counter { .. } => None,
        }
    }
}

/// What may be signed: what this user compiled, and what the user trusts by name.
#[derive(Clone, Copy)]
pub struct Approval<'a> {
    /// Who made the module whose index has this digest, where this user released it.
    pub record: &'a dyn Fn(Digest) -> Option<Record>,
    /// The remotes whose artifacts are signed as they came, by address.
    pub remotes: &'a BTreeSet<String>,
    /// Whether the modules without a record are signed as they are.
    pub contents: bool,
}

/// What a signer declares beyond what is in the release.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// What may be signed.
    pub approval: Approval<'a>,
    /// Instead of the release's own counter.
    pub counter: Option<u64>,
    /// A URI that identifies who compiled it.
    pub builder: &'a str,
}

/// A release that was signed.
pub struct Signed {
    /// What was signed.
    pub statement: Statement,
    /// To how many modules the signature was added; the others had it already.
    pub added: usize,
}

/// Signs the release in `dir`.
///
/// # Errors
/// When the directory holds no release of isomer's or belongs to another user, anything in it is damaged or not approved, or
/// it is replaced meanwhile.
pub fn sign(dir: &Path, key: &SigningKey, options: Options<'_>) -> Result<Signed, SignError> {
    check_owner(dir)?;
    let mut statement = statement(&Layout::open(dir)?, options)?;
    statement.build.not_compiled = not_compiled(dir, &statement, options.approval)?;
    let bundle = Bundle::sign(&statement, key).to_json();
    let subjects: Vec<_> = statement.subjects.values().copied().collect();
    let added = Writer::open(dir)?.sign(bundle.as_bytes(), &subjects)?;
    Ok(Signed { statement, added })
}

/// What this user did not compile, and what approves it.
///
/// # Errors
/// When this user neither compiled every module nor trusts who did.
fn not_compiled(dir: &Path, statement: &Statement, approval: Approval<'_>) -> Result<NotCompiled, SignError> {
    let (mut modules, mut makers, mut found) = (Vec::new(), BTreeSet::new(), NotCompiled::default());
    for (reference, index) in &statement.subjects {
        match (approval.record)(*index) {
            Some(record) => {
                let urls: BTreeSet<_> =
                    record.remote.values().filter_map(|maker| maker.remote().map(str::to_owned)).collect();
                if !urls.is_empty() {
                    found.remotes.insert(reference.clone(), urls);
                }
                makers.extend(record.remote.into_values());
            }
            None if approval.contents => {
                found.contents.insert(reference.clone());
            }
            None => modules.push(reference.clone()),
        }
    }
    if !modules.is_empty() {
        return Err(SignError::NotRecorded { dir: dir.to_owned(), modules });
    }
    makers.retain(|maker| maker.remote().is_some_and(|url| !approval.remotes.contains(url)));
    if makers.is_empty() { Ok(found) } else { Err(SignError::Untrusted { dir: dir.to_owned(), makers }) }
}

/// What the release declares.
fn statement(layout: &Layout, options: Options<'_>) -> Result<Statement, SignError> {
    let dir = || layout.dir().to_owned();
    let Identity { name, version, counter, part } = layout.identity().ok_or_else(|| SignError::NoIdentity(dir()))?;
    if part.is_some() {
        return Err(SignError::Part(dir()));
    }
    let found = layout.modules().len();
    if found == 0 || found > SUBJECTS_MAX {
        return Err(SignError::ModuleCount { dir: dir(), found });
    }
    let counter = options.counter.unwrap_or(counter);
    if counter > COUNTER_MAX {
        return Err(SignError::Counter { found: counter });
    }
    let mut subjects = BTreeMap::new();
    let mut inputs = BTreeMap::new();
    let mut targets = BTreeMap::new();
    let (mut passes, mut engines, mut isomers) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for entry in layout.modules() {
        let module = layout.module(&entry.reference)?;
        layout.check(&module)?;
        for variant in &module.variants {
            let config = layout.manifest(variant)?.config;
            targets.extend(config.serves.into_iter().map(|served| (served.target, served.profile)));
            passes.extend(config.passes);
            engines.insert(config.engine);
            isomers.insert(config.isomer);
        }
        if let Some(wasm) = layout.wasm(&module)? {
            inputs.insert(module.name, Digest::of(&wasm));
        }
        subjects.insert(module.reference, module.digest);
    }
    // A release is compiled by one isomer with one engine, unless it was merged.
    let all = |versions: BTreeSet<String>| versions.into_iter().collect::<Vec<_>>().join(", ");
    let build = Build {
        targets,
        passes: passes.into_iter().collect(),
        engine: all(engines),
        isomer: all(isomers),
        not_compiled: NotCompiled::default(),
    };
    let version_of = [("isomer".to_owned(), VERSION.to_owned())].into();
    Ok(Statement {
        subjects,
        release: Release { name, version, counter },
        build,
        inputs,
        builder: Builder { id: options.builder.to_owned(), version: version_of },
        finished_on: None,
    })
}
