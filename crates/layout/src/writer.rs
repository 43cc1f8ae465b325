//! In: artifacts, their configs, WebAssembly. Out: a release in a directory. Never here: a half-written file with its
//! final name, a blob removed that the current release still names, a file removed that is not the release's.
//!
//! # What a reader sees, and when
//! 1. Blobs, then `oci-layout`, arrive under their names; the current `index.json` does not name them yet.
//! 2. `index.json` is replaced in one step: before it the old release is whole, after it the new one.
//! 3. `SHA256SUMS` is replaced. Between 2 and 3 it is the old one, and `sha256sum -c` fails on `index.json` alone.
//! 4. Blobs that are no longer referenced are removed. A reader of the old `index.json` that is not done gets an error that
//!    names the missing blob, and opens the release again.
//!
//! A run that is killed in between leaves a whole release, and at worst blobs that the next run uses or removes.

mod blobs;
mod directory;
mod signatures;
mod summary;

pub use directory::{check_owner, check_place};
pub use summary::{Count, Signatures, Summary, SummaryModule};

use crate::blob::{Root, blob_path};
use crate::document::{self, Identity};
use crate::released::{ReleasedModule, check_modules};
use crate::signature::Referrer;
use crate::staging::{Staging, io_error, make_directory, persist, sync_dir};
use crate::{LayoutError, WriteError};
use directory::{check_ours, check_own};
use isomer_contract::Digest;
use isomer_contract::limits::DOCUMENT_SIZE_BYTES_MAX;
use isomer_contract::manifest::Blob;
use isomer_file::directory::{Directory, Opened};
use oci_spec::image::Descriptor;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use target_lexicon::Triple;

/// A release that is being written. It holds the directory's lock until [`Writer::finish`]; dropped before that, it removes
/// the files it wrote and leaves the directory as it was.
///
/// Its `&self` methods may be called by many threads at once.
#[derive(Debug)]
pub struct Writer {
    root: Root,
    directory: Directory,
    /// `blobs`, and `sha256` in it.
    above_blobs: Directory,
    blobs: Directory,
    staging: Staging,
    /// The directory above and the name in it, where this writer created the directory.
    created_dir: Option<(OwnedFd, OsString)>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The blobs that exist and were checked, as far as this writer knows.
    present: BTreeMap<Digest, u64>,
    /// Those of them that this writer created.
    created: BTreeSet<Digest>,
    /// Whether this writer created `oci-layout`.
    created_layout: bool,
    /// Whether `index.json` was replaced.
    committed: bool,
    written: Count,
    reused: Count,
}

impl Writer {
    /// Opens the directory `dir` for a release, and creates it if it does not exist.
    ///
    /// # Errors
    /// Those of [`check_place`], [`WriteError::Foreign`] when the directory is another user's, and [`WriteError::Locked`]
    /// when another writer has it.
    pub fn open(dir: &Path) -> Result<Writer, WriteError> {
        check_place(dir)?;
        let Opened { directory, made: created_dir } =
            Directory::open_or_make(dir, 0o777).map_err(|error| io_error("create", dir, error))?;
        // From here on, this directory is meant, wherever its path leads.
        check_own(&directory)?;
        let descriptor = directory.descriptor().map_err(|error| io_error("read", dir, error))?;
        let root = Root::of_directory(descriptor, dir);
        check_ours(&root, &directory)?;
        let staging = Staging::open(&directory)?;
        let above_blobs = make_directory(&directory, "blobs")?;
        let blobs = make_directory(&above_blobs, "sha256")?;
        Ok(Writer { root, directory, above_blobs, blobs, staging, created_dir, state: Mutex::default() })
    }

    /// The release in the directory, if there is one.
    ///
    /// # Errors
    /// When its `index.json` cannot be read or does not parse.
    pub fn former(&self) -> Result<Option<Identity>, LayoutError> {
        Ok(self.index_in_place()?.and_then(|index| document::identity(&index)))
    }

    /// The release's directory.
    pub fn dir(&self) -> &Path {
        self.root.path()
    }

    /// Writes the documents and then `index.json`, which makes the release visible.
    ///
    /// # Errors
    /// When names clash, a config contradicts its module, or a layer was neither added nor kept; and when the
    /// operating system refuses. The earlier release stays whole in any case; if the error is about `SHA256SUMS` or a
    /// blob to be removed, the new one is complete already.
    pub fn finish(self, release: &Identity, mut modules: Vec<ReleasedModule>) -> Result<Summary, WriteError> {
        modules.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
        check_modules(&modules, |blob| self.state().present.contains_key(&blob.digest))?;
        let mut referenced = BTreeSet::new();
        let mut listed = Vec::new();
        let mut summaries = Vec::new();
        for module in &modules {
            let reference = format!("{}:{}", module.name, module.version);
            let [index, wasm] = self.add_module(module, &mut referenced)?;
            let digest = |descriptor: &Descriptor| descriptor.digest().as_ref().parse().expect("made from a digest");
            summaries.push(SummaryModule { reference: reference.clone(), digest: digest(&index), wasm: digest(&wasm) });
            listed.push(document::tagged(index, &reference, Some(module.name.as_str())));
            listed.push(document::tagged(wasm, &format!("{reference}-wasm"), None));
        }
        let (kept, signatures) = self.keep_signatures(&summaries);
        listed.extend(kept.iter().map(|it| document::signature_descriptor(it.manifest)));
        referenced.extend(kept.iter().flat_map(Referrer::digests));
        sync_dir(&self.blobs)?;

        let index = document::release_index(release, listed);
        check_document_size(&self.dir().join("index.json"), &index)?;
        self.state().created_layout = self.stat_of("oci-layout")?.is_none();
        self.replace("oci-layout", document::LAYOUT_FILE)?;
        self.replace("index.json", &index)?;
        self.state().committed = true;
        sync_dir(&self.directory)?;

        self.replace("SHA256SUMS", &sums(&referenced, &index))?;
        let removed = self.sweep(&referenced)?;
        sync_dir(&self.directory)?;
        let state = self.state();
        Ok(Summary { modules: summaries, written: state.written, reused: state.reused, removed, signatures })
    }

    /// Adds a module's documents and returns the descriptors of its index and of its plain Wasm.
    fn add_module(
        &self,
        module: &ReleasedModule,
        referenced: &mut BTreeSet<Digest>,
    ) -> Result<[Descriptor; 2], WriteError> {
        let ReleasedModule { name, version, wasm, variants } = module;
        let mut add = |document: String| {
            let blob = self.add_document(&document)?;
            referenced.insert(blob.digest);
            Ok::<Blob, WriteError>(blob)
        };
        let config = add(document::wasm_config(wasm))?;
        let manifest = add(document::wasm_manifest(name, config, wasm))?;
        let wasm_descriptor = document::wasm_descriptor(manifest, wasm);
        // First, for clients that take the first one: it runs everywhere.
        let mut manifests = vec![wasm_descriptor.clone()];
        let mut sorted: Vec<_> = variants.iter().collect();
        sorted.sort_by(|(a, _), (b, _)| (&a.target, &a.engine).cmp(&(&b.target, &b.engine)));
        for (config, layer) in sorted {
            let triple: Triple = config.triple.parse().map_err(|error| WriteError::Inconsistent {
                module: name.to_string(),
                problem: format!("the variant `{}` has the triple `{}`: {error}", config.target, config.triple),
            })?;
            let blob = add(isomer_contract::canonical_json(config))?;
            let manifest = add(document::variant_manifest(config, blob, *layer))?;
            manifests.push(document::variant_descriptor(manifest, config, &triple));
        }
        let index = add(document::module_index(name, version, manifests))?;
        referenced.insert(wasm.blob().digest);
        referenced.extend(variants.iter().map(|(_, layer)| layer.blob.digest));
        Ok([document::module_descriptor(index), wasm_descriptor])
    }

    fn add_document(&self, document: &str) -> Result<Blob, WriteError> {
        check_document_size(&self.blob_path(Digest::of(document.as_bytes())), document)?;
        self.add_blob(document.as_bytes())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stat_of(&self, name: &str) -> Result<Option<rustix::fs::Stat>, WriteError> {
        self.directory.stat_of(name).map_err(|error| io_error("read", &self.dir().join(name), error))
    }

    fn blob_path(&self, digest: Digest) -> PathBuf {
        blob_path(self.dir(), digest)
    }

    /// Replaces a file beside the blobs, unless it has the content already.
    fn replace(&self, name: &str, content: &str) -> Result<(), WriteError> {
        let in_place = self.root.read_top(name, content.len() as u64).ok().flatten();
        if in_place.is_some_and(|in_place| in_place == content.as_bytes()) {
            return Ok(());
        }
        let mut file = self.staging.file()?;
        file.write_all(content.as_bytes()).map_err(|error| io_error("write", &self.dir().join(name), error))?;
        persist(file, &self.directory, name)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let state = std::mem::take(&mut *self.state());
        if !state.committed {
            for digest in state.created {
                let _ = self.blobs.remove_file(digest.hex());
            }
            if matches!(self.root.read_top("index.json", DOCUMENT_SIZE_BYTES_MAX), Ok(None)) {
                // There is no release: the files of a killed run are useless, and would make the directory look foreign.
                let _ = self.sweep(&BTreeSet::new());
            }
            if state.created_layout {
                let _ = self.directory.remove_file("oci-layout");
            }
        }
        self.staging.remove();
        if !state.committed {
            // Only empty directories are removed.
            let _ = self.above_blobs.remove_empty("sha256").and_then(|()| self.directory.remove_empty("blobs"));
            if let Some(made) = &self.created_dir {
                let _ = Opened::unmake(made);
            }
        }
    }
}

/// `SHA256SUMS`, for `sha256sum -c` in the release's directory. The name of a blob is its digest.
fn sums(blobs: &BTreeSet<Digest>, index: &str) -> String {
    let mut lines: Vec<(String, Digest)> =
        blobs.iter().map(|digest| (format!("blobs/sha256/{}", digest.hex()), *digest)).collect();
    lines.push(("index.json".to_owned(), Digest::of(index.as_bytes())));
    lines.push(("oci-layout".to_owned(), Digest::of(document::LAYOUT_FILE.as_bytes())));
    lines.sort();
    lines.iter().map(|(path, digest)| format!("{}  {path}\n", digest.hex())).collect()
}

fn check_document_size(file: &Path, document: &str) -> Result<(), WriteError> {
    let found_bytes = document.len() as u64;
    if found_bytes <= DOCUMENT_SIZE_BYTES_MAX {
        return Ok(());
    }
    let limit_bytes = DOCUMENT_SIZE_BYTES_MAX;
    Err(LayoutError::TooLarge { file: file.to_owned(), found_bytes, limit_bytes }.into())
}
