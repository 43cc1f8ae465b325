//! The documents of the release `dist`: read, and changed as an attacker without a key can. Never here: a key.

use super::{ABC, BUNDLE, Farm};
use crate::forge;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

impl Farm {
    /// The release.
    pub fn dist(&self) -> PathBuf {
        self.path().join("dist")
    }

    /// Its `index.json`.
    pub fn index(&self) -> Value {
        forge::read(&self.dist().join("index.json"))
    }

    /// Writes `index.json`.
    pub fn put_index(&self, index: &Value) {
        fs::write(self.dist().join("index.json"), index.to_string()).unwrap();
    }

    /// The file of a blob.
    pub fn blob(&self, digest: &Value) -> PathBuf {
        forge::blob(&self.dist(), digest)
    }

    /// Writes a blob and makes `descriptor` name it.
    pub fn put_blob(&self, document: &Value, descriptor: &mut Value) {
        forge::put(&self.dist(), document.to_string().as_bytes(), descriptor);
    }

    /// Changes every signature, manifest and bundle, and everything that names it.
    pub fn change_signatures(&self, change: impl Fn(&mut Value, &mut Value)) {
        let mut index = self.index();
        let listed = index["manifests"].as_array_mut().unwrap().iter_mut();
        for descriptor in listed.filter(|it| it["artifactType"] == BUNDLE) {
            let mut manifest = forge::read(&self.blob(&descriptor["digest"]));
            let mut bundle = forge::read(&self.blob(&manifest["layers"][0]["digest"]));
            change(&mut manifest, &mut bundle);
            self.put_blob(&bundle, &mut manifest["layers"][0]);
            self.put_blob(&manifest, descriptor);
        }
        self.put_index(&index);
    }

    /// The descriptor of a module's index.
    pub fn module(&self, reference: &str) -> Value {
        let index = self.index();
        let listed = index["manifests"].as_array().unwrap().iter();
        listed.clone().find(|it| it["annotations"]["org.opencontainers.image.ref.name"] == reference).unwrap().clone()
    }

    /// The descriptors of the variants of `sha256` that run here, native before Pulley, with their configs.
    pub fn variants(&self) -> [(Value, Value); 2] {
        let chosen = self.call("select dist sha256 --json").ok().json();
        let native = chosen["chosen"]["target"].as_str().unwrap().to_owned();
        let pulley = if cfg!(target_endian = "big") { "pulley64be" } else { "pulley64" };
        let index = forge::read(&self.blob(&self.module("sha256:1.4.0")["digest"]));
        [native.as_str(), pulley].map(|target| {
            let listed = index["manifests"].as_array().unwrap().iter();
            let found = listed.clone().find(|it| it["annotations"]["dev.isomer.target"] == target).unwrap().clone();
            let manifest = forge::read(&self.blob(&found["digest"]));
            let mut config = forge::read(&self.blob(&manifest["config"]["digest"]));
            config["layer"] = manifest["layers"][0]["digest"].clone();
            (found, config)
        })
    }

    /// The id of a key that can sign.
    pub fn key_id(&self, name: &str) -> String {
        let out = self.isomer(&format!("sign dist --key {name}")).ok().stdout();
        out.rsplit("by the key ").next().unwrap()[..64].to_owned()
    }

    /// `select`, `run` and `verify` of the module `sha256` of `dist` refuse it; what `verify` prints.
    #[track_caller]
    pub fn untrusted(&self, options: &str) -> String {
        let run = self.call(&format!("run {options} dist/ sha256")).run();
        assert_eq!(run.code(), 1, "{run}");
        assert!(run.stdout().is_empty() && run.stderr().starts_with("error:"), "{run}");
        let select = self.call(&format!("select dist sha256 {options}")).run();
        assert_eq!(select.code(), 1, "{select}");
        let verify = self.call(&format!("verify dist sha256 {options}")).run();
        assert_eq!(verify.code(), 1, "{verify}");
        let json = self.call(&format!("verify dist sha256 --json {options}")).run();
        assert_eq!((json.code(), &json.json()["trusted"]), (1, &json!(false)), "{json}");
        verify.shown(self.path())
    }

    /// `run` and `verify` of the module `sha256` of `dist` succeed.
    #[track_caller]
    pub fn trusted(&self, options: &str) {
        let run = self.call(&format!("run {options} dist/ sha256")).ok();
        assert!(run.stdout().starts_with(ABC), "{run}");
        self.call(&format!("verify dist sha256 {options}")).ok();
    }
}
