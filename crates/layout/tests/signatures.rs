//! Signatures in a layout: attached, read back, kept or dropped when the release is written again. In: bundles of
//! arbitrary bytes, since this crate knows nothing of keys.

mod sample;

use isomer_contract::Digest;
use isomer_contract::limits::{DOCUMENT_SIZE_BYTES_MAX, SIGNATURES_MAX};
use isomer_contract::manifest::BUNDLE_MEDIA_TYPE;
use isomer_layout::{Compression, Layout, LayoutError, Signatures, WriteError, Writer};
use sample::{files, released, write_release};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

fn digests(dir: &Path) -> Vec<Digest> {
    Layout::open(dir).unwrap().modules().iter().map(|entry| entry.digest).collect()
}

fn sign(dir: &Path, bundle: &[u8]) -> usize {
    Writer::open(dir).unwrap().sign(bundle, &digests(dir)).unwrap()
}

fn signatures(dir: &Path, module: &str) -> Result<Vec<Vec<u8>>, LayoutError> {
    let layout = Layout::open(dir).unwrap();
    layout.signatures(&layout.module(module).unwrap())
}

fn index(dir: &Path) -> Value {
    serde_json::from_slice(&fs::read(dir.join("index.json")).unwrap()).unwrap()
}

fn put_index(dir: &Path, index: &Value) {
    fs::write(dir.join("index.json"), index.to_string()).unwrap();
}

fn put(dir: &Path, document: &Value) -> Value {
    let bytes = document.to_string().into_bytes();
    let digest = Digest::of(&bytes);
    fs::write(dir.join("blobs/sha256").join(digest.hex()), &bytes).unwrap();
    json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": bytes.len()})
}

/// The manifest of the first signature, and where it is.
fn manifest(dir: &Path) -> (String, Value) {
    let index = index(dir);
    let listed = index["manifests"].as_array().unwrap().iter().find(|it| it["artifactType"] == BUNDLE_MEDIA_TYPE);
    let digest = listed.unwrap()["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap().to_owned();
    let bytes = fs::read(dir.join("blobs/sha256").join(&digest)).unwrap();
    (digest, serde_json::from_slice(&bytes).unwrap())
}

#[track_caller]
fn assert_sums(dir: &Path) {
    let sums = fs::read_to_string(dir.join("SHA256SUMS")).unwrap();
    let files = files(dir);
    assert_eq!(sums.lines().count(), files.len() - 1, "every file but itself");
    for line in sums.lines() {
        let (digest, path) = line.split_once("  ").unwrap();
        assert_eq!(Digest::of(&files[path]).hex(), digest, "{path}");
    }
}

#[test]
fn a_signature_is_a_referrer_of_every_index() {
    let dir = tempfile::tempdir().unwrap();
    let summary = write_release(dir.path());
    assert_eq!(signatures(dir.path(), "sort").unwrap(), Vec::<Vec<u8>>::new());
    assert_eq!(sign(dir.path(), b"bundle"), 2);
    for module in ["sort", "clock"] {
        assert_eq!(signatures(dir.path(), module).unwrap(), [b"bundle"]);
    }
    assert_eq!(Layout::open(dir.path()).unwrap().identity(), Some(sample::identity()));
    let (_, manifest) = manifest(dir.path());
    let subject = manifest["subject"]["digest"].as_str().unwrap();
    assert!(summary.modules.iter().any(|module| module.digest.to_string() == subject));
    assert_eq!(manifest["artifactType"], BUNDLE_MEDIA_TYPE);
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.oci.empty.v1+json");
    assert_eq!(manifest["config"]["digest"], Digest::of(b"{}").to_string());
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
    assert_eq!(manifest["layers"][0]["mediaType"], BUNDLE_MEDIA_TYPE);
    assert_sums(dir.path());

    let before = files(dir.path());
    assert_eq!(sign(dir.path(), b"bundle"), 0);
    assert_eq!(files(dir.path()), before);
    assert_eq!(sign(dir.path(), b"another"), 2);
    assert_eq!(signatures(dir.path(), "sort").unwrap().len(), 2);
    assert_sums(dir.path());
}

#[test]
fn the_order_of_signing_does_not_matter() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for (dir, bundles) in dirs.iter().zip([[b"a", b"b"], [b"b", b"a"]]) {
        write_release(dir.path());
        bundles.iter().for_each(|bundle| assert_eq!(sign(dir.path(), *bundle), 2));
    }
    assert_eq!(files(dirs[0].path()), files(dirs[1].path()));
}

#[test]
fn writing_a_release_again_keeps_the_signatures_of_what_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    write_release(dir.path());
    sign(dir.path(), b"bundle");
    let before = files(dir.path());
    assert_eq!(write_release(dir.path()).signatures, Signatures { kept: 2, ..Signatures::default() });
    assert_eq!(files(dir.path()), before);

    let writer = Writer::open(dir.path()).unwrap();
    let mut modules = released(&writer, Compression::Zstd);
    modules[0].variants.pop();
    let summary = writer.finish(&sample::identity(), modules).unwrap();
    assert_eq!(summary.signatures, Signatures { kept: 1, dropped: 1, ..Signatures::default() });
    assert_eq!(signatures(dir.path(), "clock").unwrap(), [b"bundle"]);
    assert!(signatures(dir.path(), "sort").unwrap().is_empty());
    assert_sums(dir.path());
}

#[test]
fn a_damaged_signature_is_refused_and_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    write_release(dir.path());
    sign(dir.path(), b"bundle");
    let path = dir.path().join("blobs/sha256").join(Digest::of(b"bundle").hex());
    fs::write(&path, b"bundlf").unwrap();
    assert!(matches!(signatures(dir.path(), "sort"), Err(LayoutError::Digest { .. })));
    let Signatures { kept, dropped, damaged, problems } = write_release(dir.path()).signatures;
    assert_eq!((kept, dropped, damaged, problems.len()), (0, 0, 2, 1), "both share the file: {problems:?}");
    assert!(problems[0].contains(path.to_str().unwrap()), "{problems:?}");
    assert!(!path.exists());

    sign(dir.path(), b"bundle");
    fs::remove_file(&path).unwrap();
    assert!(matches!(signatures(dir.path(), "sort"), Err(LayoutError::MissingBlob { .. })));
    let Signatures { damaged, problems, .. } = write_release(dir.path()).signatures;
    assert!(damaged == 2 && problems.len() == 1 && problems[0].contains("is missing"), "{problems:?}");
    sign(dir.path(), b"bundle");
    let (digest, _) = manifest(dir.path());
    fs::write(dir.path().join("blobs/sha256").join(digest), b"{}").unwrap();
    assert!(matches!(signatures(dir.path(), "sort"), Err(LayoutError::Size { .. })));
    let Signatures { kept, dropped, damaged, .. } = write_release(dir.path()).signatures;
    assert_eq!((kept, dropped, damaged), (1, 0, 1));
}

/// Tools that copy a layout drop `artifactType` from descriptors: skopeo 1.9 is one.
#[test]
fn a_signature_is_found_without_its_artifact_type_in_the_index() {
    let dir = tempfile::tempdir().unwrap();
    write_release(dir.path());
    sign(dir.path(), b"bundle");
    let mut index = index(dir.path());
    let other = json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 2,
        "digest": Digest::of(b"not here")});
    let manifests = index["manifests"].as_array_mut().unwrap();
    for descriptor in manifests.iter_mut() {
        descriptor.as_object_mut().unwrap().remove("artifactType");
    }
    manifests.push(other);
    put_index(dir.path(), &index);
    assert_eq!(signatures(dir.path(), "sort").unwrap(), [b"bundle"]);
}

#[test]
fn referrers_of_other_tools_are_ignored() {
    let dir = tempfile::tempdir().unwrap();
    write_release(dir.path());
    sign(dir.path(), b"bundle");
    let (_, mut sbom) = manifest(dir.path());
    sbom["artifactType"] = "application/spdx+json".into();
    let (_, mut aimless) = manifest(dir.path());
    aimless.as_object_mut().unwrap().remove("subject");
    let mut index = index(dir.path());
    let mut typed = put(dir.path(), &sbom);
    index["manifests"].as_array_mut().unwrap().extend([typed.clone(), put(dir.path(), &aimless)]);
    typed["artifactType"] = "application/spdx+json".into();
    typed["digest"] = Digest::of(b"elsewhere").to_string().into();
    index["manifests"].as_array_mut().unwrap().push(typed);
    put_index(dir.path(), &index);
    assert_eq!(signatures(dir.path(), "sort").unwrap(), [b"bundle"]);
}

#[test]
fn a_manifest_that_contradicts_its_blobs_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    type Lie = fn(&mut Value);
    let lies: [Lie; 5] = [
        |it| it["layers"] = json!([]),
        |it| it["layers"][0]["digest"] = "sha512:00".into(),
        |it| it["layers"][0]["mediaType"] = "text/plain".into(),
        |it| it["layers"][0]["size"] = json!(1_u64 << 40),
        |it| it["subject"]["digest"] = "sha256:../../x".into(),
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        write_release(dir.path());
        sign(dir.path(), b"bundle");
        let mut index = index(dir.path());
        let mut manifests = index["manifests"].as_array().unwrap().clone();
        for descriptor in manifests.iter_mut().filter(|it| it["artifactType"] == BUNDLE_MEDIA_TYPE) {
            let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap().to_owned();
            let mut document: Value =
                serde_json::from_slice(&fs::read(dir.path().join("blobs/sha256").join(digest)).unwrap()).unwrap();
            lie(&mut document);
            *descriptor = put(dir.path(), &document);
            descriptor["artifactType"] = BUNDLE_MEDIA_TYPE.into();
        }
        index["manifests"] = manifests.into();
        put_index(dir.path(), &index);
        assert!(signatures(dir.path(), "sort").is_err(), "{number}");
    }
}

#[test]
fn a_signed_blob_must_exist() {
    let dir = tempfile::tempdir().unwrap();
    write_release(dir.path());
    let before = files(dir.path());
    let sign = |bundle: &[u8], subject| Writer::open(dir.path()).unwrap().sign(bundle, &[subject]);
    assert!(matches!(sign(b"bundle", Digest::of(b"other")), Err(WriteError::Replaced { .. })));
    let large = vec![0; DOCUMENT_SIZE_BYTES_MAX as usize + 1];
    let subject = digests(dir.path())[0];
    assert!(matches!(sign(&large, subject), Err(WriteError::Layout(LayoutError::TooLarge { .. }))));
    assert_eq!(files(dir.path()), before);
    for number in 0..SIGNATURES_MAX {
        assert_eq!(sign(&number.to_le_bytes(), subject).unwrap(), 1);
    }
    let before = files(dir.path());
    assert!(matches!(sign(b"one more", subject), Err(WriteError::TooManySignatures { .. })));
    assert_eq!(files(dir.path()), before);

    let empty = tempfile::tempdir().unwrap();
    let error = Writer::open(empty.path()).unwrap().sign(b"bundle", &[]).unwrap_err();
    assert!(matches!(error, WriteError::Layout(LayoutError::NotALayout { .. })), "{error}");
    assert_eq!(files(empty.path()).len(), 0);
}
