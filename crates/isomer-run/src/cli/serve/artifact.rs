//! The artifact of a served module. In: where the module is, and what is trusted. Out: the variant for this machine,
//! verified. Never here: an engine.

use super::super::operand::open_release;
use super::super::{input, select, signers, store, wording};
use isomer_contract::{Demand, Hinted, Urgency};
use isomer_guest::server::{Identity, Opened, Source};
use isomer_runtime::{Expected, Request, SealedBytes, Trust, VerifyError};
use isomer_store::OpenedArtifact;
use isomer_terminal::Failure;
use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const COPIED: &str = "copied into sealed memory and hashed there";

/// Where a module is.
#[derive(Clone, Debug)]
pub(super) enum Artifact {
    /// In the store.
    Installed(String),
    /// In a release.
    Release(PathBuf, String),
    /// A file.
    File(PathBuf),
}

/// A module, and what is trusted about it.
pub(super) struct ModuleSource {
    pub(super) module: Artifact,
    pub(super) trust: Arc<signers::TrustOptions>,
    pub(super) store: Arc<store::Location>,
    pub(super) require: Option<String>,
    /// Whether only a form whose code can be interrupted will do.
    pub(super) deadline: bool,
}

impl fmt::Debug for ModuleSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModuleSource").field("module", &self.module).finish_non_exhaustive()
    }
}

/// A failure, on its way through a library.
#[derive(Debug)]
pub(super) struct OpenFailure(pub(super) Failure);

impl fmt::Display for OpenFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for OpenFailure {}

impl Source for ModuleSource {
    fn open(&self) -> Result<Opened, Box<dyn Error + Send + Sync>> {
        let opened = match &self.module {
            Artifact::Installed(name) => self.of_store(name),
            Artifact::Release(dir, module) => self.of_release(dir, module),
            Artifact::File(path) => self.of_file(path),
        };
        opened.map_err(|failure| OpenFailure(failure).into())
    }

    fn active(&self) -> Result<Identity, Box<dyn Error + Send + Sync>> {
        match &self.module {
            Artifact::Installed(name) => {
                let installed = self.store.find(name).map_err(OpenFailure)?;
                Ok(installed.module().digest.to_string())
            }
            Artifact::Release(..) | Artifact::File(_) => Ok(Identity::new()),
        }
    }
}

impl ModuleSource {
    /// Where a module has a form that can be interrupted, that one is served: its clients are strangers.
    fn request(&self) -> Request<'_> {
        let deadline = if self.deadline { Urgency::Required } else { Urgency::Preferred };
        Request { demand: Demand { deadline, ..Demand::default() }, require: self.require.as_deref() }
    }

    fn of_store(&self, name: &str) -> Result<Opened, Failure> {
        let installed = self.store.find(name)?;
        let trust = self.trust.read()?;
        let trusted = installed.trust(trust.as_ref()).map_err(wording::store)?;
        let chosen = trusted
            .choose(&input::this_machine()?, &self.request())
            .map_err(|error| wording::select_installed(&error, "on this machine", &installed))?;
        select::log_steps_down(&installed.module().name, chosen.variant(), chosen.steps_down());
        let OpenedArtifact { artifact, load_path } = installed.open(&chosen).map_err(wording::store)?;
        let mut opened = Opened::new(artifact, version(&installed.module().reference), load_path.to_string());
        opened.identity = installed.module().digest.to_string();
        Ok(opened)
    }

    fn of_release(&self, release: &Path, module: &str) -> Result<Opened, Failure> {
        let (layout, module) = open_release(release, module)?;
        let trust = self.trust.read()?.ok_or_else(|| {
            let what = format!("`{}` of `{}`", module.name, release.display());
            wording::untrusted(&what, "`--key`, `--trust`, `--digest`", "its index", module.digest)
        })?;
        let from = release.display().to_string();
        let trusted =
            isomer_runtime::trust(&layout, module, &trust).map_err(|error| wording::trust(error, Some(&from)))?;
        let chosen = trusted
            .choose(&input::this_machine()?, &self.request())
            .map_err(|error| wording::select(&error, "on this machine", false))?;
        select::log_steps_down(&trusted.module().name, chosen.variant(), chosen.steps_down());
        let artifact = chosen.fetch(&layout).map_err(Failure::from)?;
        Ok(Opened::new(artifact, version(&trusted.module().reference), COPIED.to_owned()))
    }

    fn of_file(&self, file: &Path) -> Result<Opened, Failure> {
        let because = |error: &dyn Error| Failure::because(format!("cannot serve `{}`", file.display()), error);
        let bytes = SealedBytes::copy(input::open(file)?, isomer_contract::limits::ARTIFACT_SIZE_BYTES_MAX)
            .map_err(|error| because(&error).hint(error.hint()))?;
        let expected = match self.trust.read()? {
            Some(Trust::Digest(digest)) => Expected::Digest(digest),
            Some(Trust::Unsigned) => Expected::AnyArtifact,
            Some(_) => {
                let failure = Failure::new(format!("signatures are of releases; `{}` is one artifact", file.display()));
                return Err(failure.hint("a single file is trusted by `--digest`".to_owned()));
            }
            None => {
                return Err(wording::untrusted(&format!("`{}`", file.display()), "`--digest`", "it", bytes.digest()));
            }
        };
        let artifact =
            isomer_runtime::verify(bytes, expected).map_err(|error: VerifyError| because(&error).hint(error.hint()))?;
        Ok(Opened::new(artifact, None, COPIED.to_owned()))
    }
}

/// The version in `name:version`.
fn version(reference: &str) -> Option<String> {
    reference.split_once(':').map(|(_, version)| version.to_owned())
}
