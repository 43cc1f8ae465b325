//! In: a module's index and its signatures. Out: the files of a layout that holds only them: the part of a release that a
//! server keeps. Never here: a file written, a name accepted that could leave a directory.

use crate::document::{self, ANNOTATION_TITLE, ANNOTATION_VERSION, LAYOUT_FILE};
use crate::parse::{blob_of, parse_index, parse_manifest};
use crate::{LayoutError, Signature};
use isomer_contract::manifest::{ANNOTATION_MODULE, Blob};
use isomer_contract::name::{ModuleName, NameError, Version};
use isomer_contract::shorten;
use oci_spec::image::{ImageIndexBuilder, MediaType, SCHEMA_VERSION};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A layout of one module, which [`crate::Layout`] reads. The manifests that its index names are not in it: those of
/// chosen variants are added as blobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SparseLayout {
    /// The module's name, from its index.
    pub name: String,
    /// Its name and version, `sort:0.1.0`.
    pub reference: String,
    /// Its index.
    pub index: Blob,
    /// The content of each file by its path in the layout.
    pub files: BTreeMap<PathBuf, Vec<u8>>,
}

impl SparseLayout {
    /// The layout of the module with this `index`. `at` is the index's path in messages.
    ///
    /// # Errors
    /// When the index is not valid, or has no valid module name or version.
    pub fn of(index: &[u8], at: &Path) -> Result<SparseLayout, LayoutError> {
        let (name, version) = name_and_version(index, at)?;
        let blob = Blob::of(index);
        let files = [(blob_name(blob), index.to_vec()), (PathBuf::from("oci-layout"), LAYOUT_FILE.into())].into();
        let sparse = SparseLayout { reference: format!("{name}:{version}"), name: name.into(), index: blob, files };
        Ok(sparse.with_signatures(&[]))
    }

    /// The same, with exactly these signatures.
    pub fn with_signatures(mut self, signatures: &[Signature]) -> SparseLayout {
        let module = document::tagged(document::module_descriptor(self.index), &self.reference, Some(&self.name));
        let mut listed = vec![module];
        for Signature { manifest, config, bundle } in signatures {
            listed.push(document::signature_descriptor(Blob::of(manifest)));
            self.files.extend([manifest, config, bundle].map(|bytes| (blob_name(Blob::of(bytes)), bytes.clone())));
        }
        listed[1..].sort_by_key(|descriptor| descriptor.digest().to_string());
        listed.dedup();
        let top = ImageIndexBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageIndex)
            .manifests(listed)
            .build()
            .expect("every required field is set");
        self.files.insert(PathBuf::from("index.json"), isomer_contract::canonical_json(&top).into_bytes());
        self
    }
}

/// The path of a blob in a layout.
pub fn blob_name(blob: Blob) -> PathBuf {
    crate::blob::blob_path(Path::new(""), blob.digest)
}

/// The blob that a manifest names as its config. `at` is the manifest's path in messages.
///
/// # Errors
/// When it is not a manifest.
pub fn config_of(manifest: &[u8], at: &Path) -> Result<Blob, LayoutError> {
    blob_of(at, parse_manifest(at, manifest)?.config())
}

/// The module's name and version in its index, whatever its tag.
fn name_and_version(index: &[u8], at: &Path) -> Result<(ModuleName, Version), LayoutError> {
    let index = parse_index(at, index)?;
    let malformed = |reason: String| LayoutError::Malformed { file: at.to_owned(), reason };
    let get = |key: &str| {
        let text = index.annotations().as_ref().and_then(|annotations| annotations.get(key));
        text.ok_or_else(|| malformed(format!("it has no annotation `{key}`")))
    };
    let name: ModuleName = get(ANNOTATION_MODULE)?.parse().map_err(|error: NameError| malformed(error.to_string()))?;
    let title = get(ANNOTATION_TITLE)?;
    if title != name.as_str() {
        return Err(malformed(format!("it calls the module `{name}` and `{}`", shorten(title))));
    }
    let version = get(ANNOTATION_VERSION)?.parse().map_err(|error: NameError| malformed(error.to_string()))?;
    Ok((name, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An index of our shape with names that no [`ModuleName`] or [`Version`] is.
    fn index(name: &str, version: &str) -> String {
        let index =
            document::module_index(&"sort".parse().expect("a name"), &"1.0.0".parse().expect("a version"), vec![]);
        index.replace("\"sort\"", &format!("{name:?}")).replace("\"1.0.0\"", &format!("{version:?}"))
    }

    #[test]
    fn a_sparse_layout_is_one_that_a_layout_reads() {
        let index = index("sort", "1.0.0");
        let sparse = SparseLayout::of(index.as_bytes(), Path::new("index")).expect("it is an index");
        let dir = tempfile::tempdir().expect("there is room");
        for (name, bytes) in &sparse.files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("it has one")).expect("there is room");
            std::fs::write(path, bytes).expect("there is room");
        }
        let layout = crate::Layout::open(dir.path()).expect("it is a layout");
        let module = layout.module("sort").expect("it is there");
        assert_eq!((module.reference.as_str(), module.digest), ("sort:1.0.0", sparse.index.digest));
        assert_eq!(layout.signatures(&module).expect("none is damaged"), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn names_that_leave_a_directory_are_refused() {
        for (name, version) in
            [("..", "1"), ("a/b", "1"), ("", "1"), (".a", "1"), ("a", "../1"), ("a", ""), ("a\n", "1")]
        {
            let error = SparseLayout::of(index(name, version).as_bytes(), Path::new("x")).expect_err("no name");
            assert!(matches!(error, LayoutError::Malformed { .. }), "{error}");
        }
    }
}
