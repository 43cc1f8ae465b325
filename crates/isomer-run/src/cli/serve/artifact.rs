//! The artifact of a served module. In: where the module is, and what is trusted. Out: the variant for this machine,
//! verified. Never here: an engine.

use super::super::{artifact, signers, store};
use isomer_contract::{Demand, Urgency, one_line};
use isomer_guest::server::{Identity, LiveMark, Opened, Source};
use isomer_runtime::{Expected, Request, Trust};
use isomer_store::{LoadPath, Store};
use isomer_terminal::Failure;
use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
        f.write_str(&self.0.one_line())
    }
}

/// Its source is the system's error, which says whether it is worth another try.
impl Error for OpenFailure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.system_error().map(|error| error as &(dyn Error + 'static))
    }
}

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

    fn directories(&self) -> Vec<PathBuf> {
        match &self.module {
            Artifact::Installed(_) => Store::directories_of_active(&self.store.dir()).into(),
            Artifact::Release(..) | Artifact::File(_) => Vec::new(),
        }
    }

    fn mark_live(&self, version: &Identity) -> Option<LiveMark> {
        let Artifact::Installed(name) = &self.module else { return None };
        let marked = Store::open(&self.store.dir()).and_then(|store| store.find(version)?.mark_live());
        match marked {
            Ok(live) => Some(LiveMark::new(live)),
            Err(error) => {
                tracing::debug!("`isomer-run list` does not show that `{name}` is live: {}", one_line(&error));
                None
            }
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
        let mut opened = served(artifact::of_store(&self.trust, &self.request(), &installed)?);
        opened.identity = installed.module().digest.to_string();
        Ok(opened)
    }

    fn of_release(&self, release: &Path, module: &str) -> Result<Opened, Failure> {
        artifact::of_release(&self.trust, &self.request(), release, module).map(served)
    }

    fn of_file(&self, file: &Path) -> Result<Opened, Failure> {
        let opened = artifact::of_file(file, "serve", |digest| match self.trust.read()? {
            Some(Trust::Digest(digest)) => Ok(Expected::Digest(digest)),
            Some(Trust::Unsigned) => Ok(Expected::AnyArtifact),
            Some(_) => {
                let failure = Failure::new(format!("signatures are of releases; `{}` is one artifact", file.display()));
                Err(failure.hint("a single file is trusted by `--digest`".to_owned()))
            }
            None => Err(artifact::untrusted_file(file, digest)),
        });
        opened.map(served)
    }
}

/// As the server takes it.
fn served(opened: artifact::Opened) -> Opened {
    let artifact::Opened { artifact, load_path, reference, steps_down, .. } = opened;
    let mapped = matches!(load_path, Some(LoadPath::Mapped { .. }));
    let how = load_path.map_or_else(|| artifact::COPIED.to_owned(), |path| path.to_string());
    let mut opened = Opened::new(artifact, reference.as_deref().and_then(version), how);
    (opened.mapped, opened.steps_down) = (mapped, steps_down);
    opened
}

/// The version in `name:version`.
fn version(reference: &str) -> Option<String> {
    reference.split_once(':').map(|(_, version)| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn a_failure_keeps_the_system_s_error_for_the_server() {
        let error = io::Error::from_raw_os_error(24);
        let open = isomer_store::StoreError::Open { target: "a".to_owned(), path: "b".into(), source: error };
        let failure = OpenFailure(crate::cli::wording::store(open));
        let system = failure.source().and_then(|source| source.downcast_ref::<io::Error>());
        assert_eq!(system.and_then(io::Error::raw_os_error), Some(24));
        // It is told once.
        assert_eq!(one_line(&failure).matches("os error 24").count(), 1, "{}", one_line(&failure));
        // What a control group refuses is not in the system's words, and may pass like what the system refuses.
        let source = io::Error::new(io::ErrorKind::OutOfMemory, "a control group leaves too little memory");
        let sealed = isomer_runtime::SealError::Memory { available_bytes: 0, copied_bytes: 0, source };
        let fetch = isomer_runtime::FetchError::Seal { target: "a".to_owned(), source: sealed };
        let failure = OpenFailure(crate::cli::wording::store(fetch.into()));
        let system = failure.source().and_then(|source| source.downcast_ref::<io::Error>());
        assert_eq!(system.map(io::Error::kind), Some(io::ErrorKind::OutOfMemory));
        assert_eq!(one_line(&failure).matches("a control group leaves").count(), 1, "{}", one_line(&failure));
        assert!(OpenFailure(Failure::new("not trusted")).source().is_none());
    }
}
