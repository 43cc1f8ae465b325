//! A server's store, and the releases `old` and `new` that are pulled into it. Never here: a registry.

use super::{ABC, Farm};
use crate::{Ran, contents, forge};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

impl Farm {
    /// The store.
    pub fn store(&self) -> PathBuf {
        self.path().join("store")
    }

    /// The release `old`.
    pub fn old(&self) -> PathBuf {
        self.path().join("old")
    }

    /// What a person sees of a call of `isomer-run`.
    pub fn session(&self, line: &str) -> String {
        self.call(line).run().shown(self.path())
    }

    /// A call of `isomer-run` that prints the digest of its input.
    #[track_caller]
    pub fn runs(&self, line: &str) -> Ran {
        let ran = self.call(line).ok();
        assert!(ran.stdout().starts_with(ABC), "{ran}");
        ran
    }

    /// A call of `isomer-run` that is refused and changes nothing in the store; what a person sees.
    #[track_caller]
    pub fn refused(&self, line: &str) -> String {
        let before = self.files();
        let ran = self.call(line).run();
        assert_eq!(ran.code(), 1, "{ran}");
        assert!(ran.stdout().is_empty() && ran.stderr().starts_with("error:"), "{ran}");
        assert_eq!(self.files(), before, "{ran}");
        ran.shown(self.path())
    }

    /// The files of the store, but for those that each command writes.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        if !self.store().exists() {
            return Vec::new();
        }
        let own = |path: &Path| path == Path::new("lock") || path == Path::new("store.json");
        contents(&self.store()).into_iter().filter(|(path, _)| !own(path)).collect()
    }

    /// The only artifact in the store.
    pub fn artifact(&self) -> PathBuf {
        let mut artifacts: Vec<_> = fs::read_dir(self.store().join("artifacts")).unwrap().collect();
        assert_eq!(artifacts.len(), 1);
        artifacts.remove(0).unwrap().path()
    }

    /// The descriptor of a module's index in a release.
    pub fn index_of(&self, release: &str, module: &str) -> Value {
        let index = forge::read(&self.path().join(release).join("index.json"));
        let listed = index["manifests"].as_array().unwrap().iter();
        listed.clone().find(|it| it["annotations"]["dev.isomer.module"] == module).unwrap().clone()
    }
}
