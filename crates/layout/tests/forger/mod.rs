//! A hostile writer of releases. In: a change of one document. Out: the release with it, every digest above made right.

use crate::sample::{read_all, write_release};
use isomer_contract::manifest::Blob;
use isomer_contract::one_line;
use isomer_layout::LayoutError;
use serde_json::{Value, json};
use std::fs;

/// A release whose documents can be changed, with the digests above them made right again: what a hostile writer,
/// rather than a bad disk, would do.
pub(crate) struct Forgery {
    pub(crate) dir: tempfile::TempDir,
}

impl Forgery {
    pub(crate) fn new() -> Forgery {
        let dir = tempfile::tempdir().unwrap();
        write_release(dir.path());
        Forgery { dir }
    }

    fn put(&self, bytes: &[u8]) -> Blob {
        let blob = Blob::of(bytes);
        fs::write(self.dir.path().join("blobs/sha256").join(blob.digest.hex()), bytes).unwrap();
        blob
    }

    pub(crate) fn get(&self, descriptor: &Value) -> Vec<u8> {
        let name = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        fs::read(self.dir.path().join("blobs/sha256").join(name)).unwrap()
    }

    fn json(&self, descriptor: &Value) -> Value {
        serde_json::from_slice(&self.get(descriptor)).unwrap()
    }

    fn describe(&self, descriptor: &mut Value, bytes: &[u8]) {
        let blob = self.put(bytes);
        descriptor["digest"] = json!(blob.digest);
        descriptor["size"] = json!(blob.size_bytes);
    }

    /// Changes `index.json`.
    pub(crate) fn release(&self, change: impl FnOnce(&mut Value)) {
        let path = self.dir.path().join("index.json");
        let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut index);
        fs::write(path, index.to_string()).unwrap();
    }

    /// Changes the index of `sort`.
    pub(crate) fn module(&self, change: impl FnOnce(&mut Value)) {
        self.release(|index| {
            let entry = &mut index["manifests"][2];
            let mut module = self.json(entry);
            change(&mut module);
            self.describe(entry, module.to_string().as_bytes());
        });
    }

    /// Changes the manifest of its first variant.
    pub(crate) fn manifest(&self, change: impl FnOnce(&mut Value)) {
        self.module(|module| {
            let entry = &mut module["manifests"][1];
            let mut manifest = self.json(entry);
            change(&mut manifest);
            self.describe(entry, manifest.to_string().as_bytes());
        });
    }

    /// Changes the manifest of its plain Wasm.
    pub(crate) fn wasm(&self, change: impl FnOnce(&mut Value)) {
        self.module(|module| {
            let entry = &mut module["manifests"][0];
            let mut manifest = self.json(entry);
            change(&mut manifest);
            self.describe(entry, manifest.to_string().as_bytes());
        });
    }

    /// Changes the config of its first variant.
    pub(crate) fn config(&self, change: impl FnOnce(&mut Value)) {
        self.manifest(|manifest| {
            let mut config = self.json(&manifest["config"]);
            change(&mut config);
            self.describe(&mut manifest["config"], config.to_string().as_bytes());
        });
    }

    /// Replaces the layer of its first variant, and what the config says of the artifact.
    pub(crate) fn layer(&self, bytes: &[u8], artifact_size_bytes: u64) {
        self.config(|config| config["artifact"]["size-bytes"] = json!(artifact_size_bytes));
        self.manifest(|manifest| self.describe(&mut manifest["layers"][0], bytes));
    }

    fn error(self) -> LayoutError {
        read_all(self.dir.path()).expect_err("the forgery was read")
    }

    #[track_caller]
    pub(crate) fn check(self, expected: &str) {
        let dir = format!("{}/", self.dir.path().display());
        let text = one_line(&self.error()).replace(&dir, "");
        assert!(text.contains(expected), "expected: {expected}\n   found: {text}");
    }
}

pub(crate) fn forged(change: impl FnOnce(&Forgery)) -> Forgery {
    let forgery = Forgery::new();
    change(&forgery);
    forgery
}
