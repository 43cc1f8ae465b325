//! Releases whose documents are nearly right, each under the digest that it has: `index.json`, a module's index, a
//! variant's manifest, its config. None makes the reader panic, and no other artifact than the one released comes out.
//!
//! A few hundred each time. A million take minutes:
//! `ISOMER_FUZZ_RUNS=1000000 cargo test --release -p isomer-layout --test fuzz -- --nocapture`.

mod sample;

use isomer_contract::Digest;
use isomer_layout::{Layout, LayoutError};
use isomer_testing::fuzz::Fuzzer;
use sample::{sort, write_release};
use serde_json::Value;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// What these documents are made of, beside JSON.
const WORDS: &[&[u8]] = &[
    b"18446744073709551615",
    b"sha512:",
    b"sha256:",
    b"../",
    b"\"digest\":",
    b"\"size\":",
    b"\"mediaType\":",
    b"\"annotations\":{",
    b"application/vnd.oci.image.index.v1+json",
    b"\"urls\":[\"http://x\"],",
    b"\"data\":\"e30=\",",
];

/// A document on the way from `index.json` to an artifact.
#[derive(Clone, Copy)]
enum Document {
    IndexJson,
    Index,
    Manifest,
    Config,
}

/// A release in a directory, the documents on the way to the smallest variant of `sort`, and their forged versions.
struct Forged {
    directory: tempfile::TempDir,
    /// From `index.json` down.
    chain: [Vec<u8>; 4],
    written: Vec<PathBuf>,
}

impl Forged {
    fn new() -> Forged {
        let directory = tempfile::tempdir().unwrap();
        write_release(directory.path());
        let top = fs::read(directory.path().join("index.json")).unwrap();
        let below = |document: &[u8], pointer: &str| {
            let value: Value = serde_json::from_slice(document).unwrap();
            let digest: Digest = value.pointer(pointer).unwrap().as_str().unwrap().parse().unwrap();
            fs::read(blob(directory.path(), digest)).unwrap()
        };
        let index = {
            let value: Value = serde_json::from_slice(&top).unwrap();
            let at = value["manifests"]
                .as_array()
                .unwrap()
                .iter()
                .position(|entry| entry["annotations"]["org.opencontainers.image.ref.name"] == "sort:0.1.0");
            below(&top, &format!("/manifests/{}/digest", at.unwrap()))
        };
        let manifest = {
            let value: Value = serde_json::from_slice(&index).unwrap();
            let at = value["manifests"]
                .as_array()
                .unwrap()
                .iter()
                .position(|entry| entry["annotations"]["dev.isomer.target"] == sort()[1].config.target.as_str());
            below(&index, &format!("/manifests/{}/digest", at.unwrap()))
        };
        let config = below(&manifest, "/config/digest");
        Forged { directory, chain: [top, index, manifest, config], written: Vec::new() }
    }

    /// Replaces a document by `bytes`, and corrects the digests and sizes in those above it.
    fn put(&mut self, document: Document, bytes: &[u8]) {
        for path in self.written.drain(..) {
            fs::remove_file(path).unwrap();
        }
        let mut bytes = bytes.to_vec();
        for level in (1..=document as usize).rev() {
            let path = blob(self.directory.path(), Digest::of(&bytes));
            if !path.exists() {
                fs::write(&path, &bytes).unwrap();
                self.written.push(path);
            }
            bytes = renamed(&self.chain[level - 1], &self.chain[level], &bytes);
        }
        fs::write(self.directory.path().join("index.json"), bytes).unwrap();
    }
}

fn blob(directory: &Path, digest: Digest) -> PathBuf {
    directory.join("blobs/sha256").join(digest.hex())
}

/// `parent` with the digest and size of `child` replaced by those of `by`.
fn renamed(parent: &[u8], child: &[u8], by: &[u8]) -> Vec<u8> {
    let describe = |bytes: &[u8]| (format!("\"{}\"", Digest::of(bytes)), format!("\"size\":{}", bytes.len()));
    let ((from, from_size), (to, to_size)) = (describe(child), describe(by));
    let parent = std::str::from_utf8(parent).unwrap();
    let at = parent.find(&from).expect("the parent names its child");
    // Canonical JSON sorts a descriptor's keys: its size comes behind its digest.
    let size = at + parent[at..].find(&from_size).expect("a descriptor has a size");
    [&parent[..at], &to, &parent[at + from.len()..size], &to_size, &parent[size + from_size.len()..]].concat().into()
}

/// Reads whatever can be read of it.
fn read(directory: &Path) -> Result<Vec<Vec<u8>>, LayoutError> {
    let layout = Layout::open(directory)?;
    let _ = layout.identity();
    let mut artifacts = Vec::new();
    for entry in layout.modules() {
        let module = layout.module(&entry.reference)?;
        layout.signatures(&module)?;
        layout.wasm(&module)?;
        for variant in &module.variants {
            let manifest = layout.manifest(variant)?;
            // The one whose documents are damaged; the others would take all the time.
            if manifest.config.artifact.size_bytes > 4096 {
                continue;
            }
            let mut bytes = Vec::new();
            let mut reader = layout.open_artifact(&manifest)?;
            match reader.read_to_end(&mut bytes) {
                Ok(_) => artifacts.push(bytes),
                Err(error) => return Err(*error.into_inner().unwrap().downcast().expect("it wraps a LayoutError")),
            }
        }
    }
    Ok(artifacts)
}

fn fuzz(name: &str, document: Document) {
    let mut forged = Forged::new();
    let all = read(forged.directory.path()).expect("the release is whole");
    let original = forged.chain[document as usize].clone();
    Fuzzer::json(vec![original], WORDS).run(name, 300, |bytes| {
        forged.put(document, bytes);
        match read(forged.directory.path()) {
            Ok(artifacts) => {
                assert!(artifacts.iter().all(|artifact| all.contains(artifact)), "other bytes came out");
                true
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                false
            }
        }
    });
}

#[test]
fn fuzz_index_json() {
    fuzz("index.json", Document::IndexJson);
}

#[test]
fn fuzz_index() {
    fuzz("a module's index", Document::Index);
}

#[test]
fn fuzz_manifest() {
    fuzz("a variant's manifest", Document::Manifest);
}

#[test]
fn fuzz_config() {
    fuzz("a variant's config", Document::Config);
}
