//! What an attacker without a key can do to a release: other documents, each under its right digest, and all that leads
//! to them changed with them.

use crate::native::native;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

/// The digest of `bytes` as documents have it.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// The file of a blob in the layout `dist`.
pub fn blob(dist: &Path, digest: &Value) -> PathBuf {
    let digest = digest.as_str().and_then(|digest| digest.strip_prefix("sha256:"));
    dist.join("blobs/sha256").join(digest.expect("a descriptor has a digest"))
}

/// Writes `bytes` as a blob of `dist` and makes `descriptor` name it.
pub fn put(dist: &Path, bytes: &[u8], descriptor: &mut Value) {
    descriptor["digest"] = digest(bytes).into();
    descriptor["size"] = bytes.len().into();
    fs::write(blob(dist, &descriptor["digest"]), bytes).expect("the release can be written");
}

/// The JSON in a file.
pub fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("the file is there")).expect("the file is JSON")
}

/// Changes the descriptor, the manifest and the config of the variant of the first module in `dist` that is for this
/// kind of machine, and everything that names them.
pub fn native_variant(dist: &Path, change: impl Fn(&mut Value, &mut Value, &mut Value)) {
    let file = dist.join("index.json");
    let mut root = read(&file);
    let mut index = read(&blob(dist, &root["manifests"][0]["digest"]));
    let manifests = index["manifests"].as_array_mut().expect("an index lists manifests");
    let native = |it: &&mut Value| it["platform"]["architecture"] == native().oci;
    let descriptor = manifests.iter_mut().find(native).expect("there is a variant for this architecture");
    let mut manifest = read(&blob(dist, &descriptor["digest"]));
    let mut config = read(&blob(dist, &manifest["config"]["digest"]));
    change(descriptor, &mut manifest, &mut config);
    put(dist, config.to_string().as_bytes(), &mut manifest["config"]);
    put(dist, manifest.to_string().as_bytes(), descriptor);
    put(dist, index.to_string().as_bytes(), &mut root["manifests"][0]);
    fs::write(file, root.to_string()).expect("the release can be written");
}
