//! In: a directory. Out: the modules, variants and manifests of the release in it. Never here: a choice among variants.

mod entries;
mod signatures;

use crate::blob::Root;
use crate::document::{ANNOTATION_PREFIX, ANNOTATION_VERSION, Identity, LAYOUT_VERSION, identity};
use crate::layer::{ArtifactReader, Compression, Layer};
use crate::parse::{blob_of, media_type, only_layer, parse, parse_index, parse_manifest};
use crate::signature::Referrer;
use crate::{LayoutError, is_version_tag};
use entries::{check_config, disagreement, module_entries, shorten_error, variant_of};
use isomer_contract::limits::{ARTIFACT_SIZE_BYTES_MAX, DOCUMENT_SIZE_BYTES_MAX, WASM_SIZE_BYTES_MAX};
use isomer_contract::manifest::{
    ANNOTATION_MODULE, ARTIFACT_TYPE, Blob, CONFIG_MEDIA_TYPE, LAYER_MEDIA_TYPE, LAYER_ZSTD_MEDIA_TYPE, VariantConfig,
    WASM_CONFIG_MEDIA_TYPE, WASM_LAYER_MEDIA_TYPE,
};
use isomer_contract::{Digest, Variant, nearest, shorten};
use oci_spec::image::{Arch, Descriptor, ImageIndex, MediaType, OciLayout};
use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A release in a directory or an archive, open for reading.
///
/// It sees the directory's files as they are when it reads them, each checked against the digest that named it. When
/// the release is replaced meanwhile, what the newer one no longer holds is [`LayoutError::MissingBlob`].
#[derive(Debug)]
pub struct Layout {
    pub(crate) root: Root,
    index: ImageIndex,
    modules: Vec<ModuleEntry>,
    /// The signatures that `index.json` lists, once they were read.
    referrers: Mutex<Option<Vec<Referrer>>>,
    /// The descriptors of the variants' manifests in the module indexes that were read; [`Variant`] has no field for them.
    described: Mutex<HashMap<Digest, Described>>,
}

#[derive(Clone, Debug)]
struct Described {
    size_bytes: u64,
    named_by: PathBuf,
    module: String,
}

/// A module's entry in `index.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleEntry {
    /// Its name.
    pub name: String,
    /// Its name and version, `sort:0.1.0`.
    pub reference: String,
    /// The digest of its image index.
    pub digest: Digest,
    /// The image index's size.
    pub size_bytes: u64,
}

/// A module and its forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// Its name and version, `sort:0.1.0`.
    pub reference: String,
    /// The digest of its image index.
    pub digest: Digest,
    /// Its compiled forms, in the index's order.
    pub variants: Vec<Variant>,
    /// The WebAssembly that they were compiled from.
    pub wasm: Option<WasmEntry>,
    /// The index's own annotations.
    pub annotations: BTreeMap<String, String>,
}

/// The plain WebAssembly's entry in a module's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WasmEntry {
    /// The digest of its manifest.
    pub manifest: Digest,
    /// The manifest's size.
    pub size_bytes: u64,
}

/// One variant's manifest with its config, compared with the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its digest.
    pub digest: Digest,
    /// What the variant is.
    pub config: VariantConfig,
    /// The layer that holds the artifact.
    pub layer: Layer,
    /// The blob that `config` was read from.
    pub config_blob: Blob,
}

impl Layout {
    /// Reads `oci-layout` and `index.json` of the layout in `dir`.
    ///
    /// # Errors
    /// [`LayoutError::NotALayout`], when a document does not parse or exceeds its limit, or when the system refuses.
    pub fn open(dir: &Path) -> Result<Layout, LayoutError> {
        Layout::of(Root::open(dir)?)
    }

    /// Reads `oci-layout` and `index.json` of the layout in a directory that is open, which is called `path` in messages:
    /// whatever that path leads to now, all is read from there.
    ///
    /// # Errors
    /// As [`Layout::open`].
    pub fn open_directory(directory: OwnedFd, path: &Path) -> Result<Layout, LayoutError> {
        Layout::of(Root::of_directory(directory, path))
    }

    /// Reads `oci-layout` and `index.json` of the layout in the tar file `archive`. Nothing is unpacked: files
    /// are read at their offset in the archive.
    ///
    /// # Errors
    /// As [`Layout::open`], and when the archive is damaged.
    pub fn open_archive(archive: &Path) -> Result<Layout, LayoutError> {
        Layout::of(Root::open_archive(archive)?)
    }

    fn of(root: Root) -> Result<Layout, LayoutError> {
        let dir = root.path().to_owned();
        let read = |name, found| {
            let bytes = root.read_top(name, DOCUMENT_SIZE_BYTES_MAX)?;
            bytes.ok_or_else(|| LayoutError::NotALayout { dir: dir.to_owned(), found })
        };
        let layout = read("oci-layout", "it has no `oci-layout`")?;
        let index = read("index.json", "it has no `index.json`")?;
        let file = dir.join("oci-layout");
        let layout: OciLayout = parse(&file, &layout)?;
        if layout.image_layout_version() != LAYOUT_VERSION {
            return Err(LayoutError::LayoutVersion { file, found: shorten(layout.image_layout_version()) });
        }
        let file = dir.join("index.json");
        let index = parse_index(&file, &index)?;
        let modules = module_entries(&file, &index)?;
        Ok(Layout { root, index, modules, referrers: Mutex::default(), described: Mutex::default() })
    }

    /// The directory or archive, as it was given to [`Layout::open`] or [`Layout::open_archive`].
    pub fn dir(&self) -> &Path {
        self.root.path()
    }

    /// Which release it is, or none if another tool wrote the layout: a copy has the modules, not the release's name.
    pub fn identity(&self) -> Option<Identity> {
        identity(&self.index)
    }

    /// All modules, in the order of `index.json`.
    pub fn modules(&self) -> &[ModuleEntry] {
        &self.modules
    }

    /// Reads the index of the module called `name`, which is its name or its reference, `NAME:VERSION`.
    ///
    /// The version in [`Module::reference`] is the one that the index declares. Where `index.json` has the module under
    /// another one, that is an error; where it has a tag that names no version, the tag is resolved.
    ///
    /// # Errors
    /// As [`Layout::entry`], and when the index is missing, damaged or not valid, or is of another module or version.
    pub fn module(&self, name: &str) -> Result<Module, LayoutError> {
        let entry = self.entry(name)?;
        let file = self.root.blob_path(entry.digest);
        let blob = Blob { digest: entry.digest, size_bytes: entry.size_bytes };
        let bytes = self.root.read_blob(blob, DOCUMENT_SIZE_BYTES_MAX, &self.root.path().join("index.json"))?;
        let index = parse_index(&file, &bytes)?;
        let annotations: BTreeMap<_, _> = index.annotations().clone().unwrap_or_default().into_iter().collect();
        if let Some(named) = annotations.get(ANNOTATION_MODULE) {
            disagreement(&file, "module", named, &entry.name)?;
        }
        let reference = match (entry.reference.rsplit_once(':'), annotations.get(ANNOTATION_VERSION)) {
            (Some((_, tag)), Some(version)) if is_version_tag(tag) => {
                disagreement(&file, "version", version, tag)?;
                entry.reference.clone()
            }
            (Some((name, _)), Some(version)) => format!("{name}:{version}"),
            _ => entry.reference.clone(),
        };
        let mut module = Module {
            name: entry.name.clone(),
            reference,
            digest: entry.digest,
            variants: Vec::new(),
            wasm: None,
            annotations,
        };
        // A variant has our annotations, the plain Wasm its platform. Other entries of
        // an index, attestations for example, are ignored, as the specification requires of readers.
        for descriptor in index.manifests().iter().filter(|it| *it.media_type() == MediaType::ImageManifest) {
            let annotations = descriptor.annotations().iter().flatten();
            if annotations.map(|(key, _)| key).any(|key| key.starts_with(ANNOTATION_PREFIX)) {
                self.add_variant(&file, &entry.name, descriptor, &mut module.variants)?;
            } else if descriptor.platform().as_ref().is_some_and(|it| *it.architecture() == Arch::Wasm) {
                let Blob { digest, size_bytes } = blob_of(&file, descriptor)?;
                if module.wasm.replace(WasmEntry { manifest: digest, size_bytes }).is_some() {
                    return Err(LayoutError::Duplicate { file, what: "the plain WebAssembly".to_owned() });
                }
            }
        }
        Ok(module)
    }

    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    /// The module of a layout that has one.
    pub(crate) fn only_entry(&self) -> Result<&ModuleEntry, LayoutError> {
        let dir = self.root.path().to_owned();
        match &self.modules[..] {
            [entry] => Ok(entry),
            [] => Err(LayoutError::NotALayout { dir, found: "its `index.json` names no module" }),
            several => {
                let references = several.iter().map(|entry| entry.reference.clone()).collect();
                Err(LayoutError::SeveralModules { dir, references })
            }
        }
    }

    /// What `index.json` has of the module called `name`, which is its name or its reference.
    ///
    /// # Errors
    /// When there is no such module, or several.
    pub fn entry(&self, name: &str) -> Result<&ModuleEntry, LayoutError> {
        if let Some(entry) = self.modules.iter().find(|entry| entry.reference == name) {
            return Ok(entry);
        }
        let dir = self.root.path().to_owned();
        let named: Vec<&ModuleEntry> = self.modules.iter().filter(|entry| entry.name == name).collect();
        match named[..] {
            [entry] => Ok(entry),
            [] => {
                let names = self.modules.iter().map(|entry| (entry.name.as_str(), entry.reference.as_str()));
                Err(LayoutError::UnknownModule {
                    dir,
                    name: name.escape_debug().to_string(),
                    nearest: nearest_module(name, names).map(str::to_owned),
                    existing: self.modules.iter().map(|entry| entry.reference.clone()).collect(),
                })
            }
            _ => {
                let references = named.iter().map(|entry| entry.reference.clone()).collect();
                Err(LayoutError::AmbiguousModule { dir, name: name.to_owned(), references })
            }
        }
    }

    fn add_variant(
        &self,
        index: &Path,
        module: &str,
        descriptor: &Descriptor,
        variants: &mut Vec<Variant>,
    ) -> Result<(), LayoutError> {
        let Blob { digest, size_bytes } = blob_of(index, descriptor)?;
        let variant = variant_of(index, digest, descriptor)?;
        let twin = |other: &&Variant| (&other.target, &other.engine) == (&variant.target, &variant.engine);
        if variants.iter().any(|other| twin(&other)) {
            let what = format!("the variant `{}` of wasmtime {}", variant.target, variant.engine);
            return Err(LayoutError::Duplicate { file: index.to_owned(), what });
        }
        let mut described = self.described.lock().unwrap_or_else(PoisonError::into_inner);
        described.insert(digest, Described { size_bytes, named_by: index.to_owned(), module: module.to_owned() });
        variants.push(variant);
        Ok(())
    }

    /// The blob that is the manifest of `variant`, which [`Layout::module`] of this layout returned.
    pub fn manifest_blob(&self, variant: &Variant) -> Option<Blob> {
        let described = self.described.lock().unwrap_or_else(PoisonError::into_inner);
        described.get(&variant.manifest).map(|it| Blob { digest: variant.manifest, size_bytes: it.size_bytes })
    }

    /// Whether the manifest of `variant` exists: a sparse layout has only some of them.
    ///
    /// # Errors
    /// When it is not a file, or cannot be examined.
    pub fn has_manifest(&self, variant: &Variant) -> Result<bool, LayoutError> {
        self.root.has_blob(variant.manifest)
    }

    /// Reads the manifest and config of `variant`, and checks that they agree with the index.
    ///
    /// # Errors
    /// When one of them is missing or damaged, exceeds its limit, or contradicts the index.
    pub fn manifest(&self, variant: &Variant) -> Result<Manifest, LayoutError> {
        let digest = variant.manifest;
        let described = self.described.lock().unwrap_or_else(PoisonError::into_inner).get(&digest).cloned();
        let bytes = match &described {
            Some(Described { size_bytes, named_by, .. }) => {
                let blob = Blob { digest, size_bytes: *size_bytes };
                self.root.read_blob(blob, DOCUMENT_SIZE_BYTES_MAX, named_by)?
            }
            None => self.root.read_named(digest, DOCUMENT_SIZE_BYTES_MAX, self.root.path())?,
        };
        let file = self.root.blob_path(digest);
        let manifest = parse_manifest(&file, &bytes)?;
        let artifact_type = manifest.artifact_type().as_ref().map_or("none", MediaType::as_ref);
        media_type(&file, "artifactType", artifact_type, &[ARTIFACT_TYPE])?;
        media_type(&file, "config's mediaType", manifest.config().media_type().as_ref(), &[CONFIG_MEDIA_TYPE])?;
        let layer = only_layer(&file, &manifest)?;
        let found = layer.media_type().as_ref();
        media_type(&file, "layer's mediaType", found, &[LAYER_ZSTD_MEDIA_TYPE, LAYER_MEDIA_TYPE])?;
        let compression = Compression::from_media_type(found).unwrap_or(Compression::None);
        let layer = Layer { blob: blob_of(&file, layer)?, compression };

        let config_blob = blob_of(&file, manifest.config())?;
        let bytes = self.root.read_blob(config_blob, DOCUMENT_SIZE_BYTES_MAX, &file)?;
        let file = self.root.blob_path(config_blob.digest);
        let config = VariantConfig::from_json(&bytes)
            .map_err(|source| LayoutError::Variant { file: file.clone(), source: shorten_error(source) })?;
        check_config(&file, &config, variant)?;
        // A variant of another module, put into this one's index.
        if let Some(Described { module, .. }) = &described {
            disagreement(&file, "module", &config.module, module)?;
        }
        let found_bytes = config.artifact.size_bytes.max(layer.blob.size_bytes);
        if found_bytes > ARTIFACT_SIZE_BYTES_MAX {
            return Err(LayoutError::TooLarge { file, found_bytes, limit_bytes: ARTIFACT_SIZE_BYTES_MAX });
        }
        if compression == Compression::None {
            let describe = |blob: &Blob| format!("{} of {} bytes", blob.digest, blob.size_bytes);
            disagreement(&file, "artifact", &describe(&config.artifact), &describe(&layer.blob))?;
        }
        Ok(Manifest { digest, config, layer, config_blob })
    }

    /// Opens the artifact of a variant. A compressed layer is read and checked here; one that is not compressed, while
    /// it is read.
    ///
    /// # Errors
    /// When the layer is missing, damaged, or not a zstd frame of the declared size.
    pub fn open_artifact(&self, manifest: &Manifest) -> Result<ArtifactReader, LayoutError> {
        let named_by = self.root.blob_path(manifest.digest);
        ArtifactReader::open(&self.root, manifest.layer, manifest.config.artifact.size_bytes, &named_by)
    }

    /// Opens the layer of a variant as it is packed. Its bytes are not checked: the caller hashes them.
    ///
    /// # Errors
    /// When the layer is missing or has another size than its descriptor.
    pub fn open_layer(&self, manifest: &Manifest) -> Result<impl Read + use<>, LayoutError> {
        let named_by = self.root.blob_path(manifest.digest);
        Ok(self.root.open_blob(manifest.layer.blob, ARTIFACT_SIZE_BYTES_MAX, &named_by)?.file)
    }

    /// The WebAssembly that `module` was compiled from, or none when the release was made without it. Its config is
    /// checked, too.
    ///
    /// # Errors
    /// When it, its manifest or its config is missing, damaged or larger than [`WASM_SIZE_BYTES_MAX`].
    pub fn wasm(&self, module: &Module) -> Result<Option<Vec<u8>>, LayoutError> {
        let Some((blob, file)) = self.wasm_blob(module)? else { return Ok(None) };
        self.root.read_blob(blob, WASM_SIZE_BYTES_MAX, &file).map(Some)
    }

    /// The digest of the WebAssembly that `module` was compiled from, checked as [`Layout::wasm`] does, a piece at a time.
    ///
    /// # Errors
    /// As [`Layout::wasm`].
    pub fn check_wasm(&self, module: &Module) -> Result<Option<Digest>, LayoutError> {
        let Some((blob, file)) = self.wasm_blob(module)? else { return Ok(None) };
        self.root.check_blob(blob, &file)?;
        Ok(Some(blob.digest))
    }

    /// The blob of the WebAssembly, and the file that names it.
    fn wasm_blob(&self, module: &Module) -> Result<Option<(Blob, PathBuf)>, LayoutError> {
        let Some(WasmEntry { manifest, size_bytes }) = module.wasm else { return Ok(None) };
        let blob = Blob { digest: manifest, size_bytes };
        let bytes = self.root.read_blob(blob, DOCUMENT_SIZE_BYTES_MAX, &self.root.blob_path(module.digest))?;
        let file = self.root.blob_path(manifest);
        let manifest = parse_manifest(&file, &bytes)?;
        media_type(&file, "config's mediaType", manifest.config().media_type().as_ref(), &[WASM_CONFIG_MEDIA_TYPE])?;
        // Its content is for other runtimes; a signer requires that it exists.
        self.root.check_blob(blob_of(&file, manifest.config())?, &file)?;
        let layer = only_layer(&file, &manifest)?;
        media_type(&file, "layer's mediaType", layer.media_type().as_ref(), &[WASM_LAYER_MEDIA_TYPE])?;
        Ok(Some((blob_of(&file, layer)?, file)))
    }
}

/// The name or reference among those of `modules` that is nearest to `typed`: a reference if `typed` has a version.
pub fn nearest_module<'a>(typed: &str, modules: impl Iterator<Item = (&'a str, &'a str)>) -> Option<&'a str> {
    let version = typed.contains(':');
    nearest(typed, modules.flat_map(|(name, reference)| [reference, if version { reference } else { name }]))
}
