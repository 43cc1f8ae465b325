//! In: a release, and a signature of it. Out: the release with the signature; or the signatures that a new release keeps.
//! Never here: the content of a signature, or its signer.

use super::directory::index_in;
use super::{Signatures, SummaryModule, Writer, check_document_size, sums};
use crate::document;
use crate::parse::{blob_of, parse_index, parse_manifest};
use crate::signature::{Referrer, referrers};
use crate::staging::sync_dir;
use crate::{LayoutError, WriteError};
use isomer_contract::limits::{DOCUMENT_SIZE_BYTES_MAX, SIGNATURES_MAX};
use isomer_contract::{Digest, one_line};
use oci_spec::image::{Descriptor, ImageIndex, MediaType};
use std::collections::BTreeSet;

impl Writer {
    /// The signatures of the earlier release that sign an index of the new one, sorted, and their number.
    pub(super) fn keep_signatures(&self, modules: &[SummaryModule]) -> (Vec<Referrer>, Signatures) {
        let former = self.index_in_place().ok().flatten();
        let former = former.map(|index| referrers(&self.root, &index)).unwrap_or_default();
        let named_by = self.dir().join("index.json");
        let whole =
            |it: &Referrer| [it.config, it.bundle].iter().try_for_each(|blob| self.root.check_blob(*blob, &named_by));
        let listed = |it: &Referrer| modules.iter().any(|module| module.digest == it.subject.digest);
        let mut kept = Vec::new();
        let mut signatures = Signatures::default();
        for referrer in former {
            match referrer.and_then(|it| if listed(&it) { whole(&it).map(|()| Some(it)) } else { Ok(None) }) {
                Ok(Some(it)) => kept.push(it),
                Ok(None) => signatures.dropped += 1,
                Err(error) => {
                    signatures.damaged += 1;
                    // Signatures of several modules share files.
                    let problem = one_line(&error);
                    if !signatures.problems.contains(&problem) {
                        signatures.problems.push(problem);
                    }
                }
            }
        }
        kept.sort_by_key(|it| it.manifest.digest);
        signatures.kept = kept.len();
        (kept, signatures)
    }

    /// Adds `bundle` to the release as a signature of the indexes `subjects`, and returns for how many of them it was new.
    /// The bundle is not verified. Adding it twice changes nothing.
    ///
    /// # Errors
    /// When there is no release, or not all of `subjects` are modules of it: it was replaced meanwhile. The release
    /// is unchanged; if the error is about `SHA256SUMS`, the signature is in the release already.
    pub fn sign(self, bundle: &[u8], subjects: &[Digest]) -> Result<usize, WriteError> {
        let file = self.dir().join("index.json");
        let absent = || LayoutError::NotALayout { dir: self.dir().to_owned(), found: "it has no `index.json`" };
        let mut index = self.index_in_place()?.ok_or_else(absent)?;
        let found_bytes = bundle.len() as u64;
        if found_bytes > DOCUMENT_SIZE_BYTES_MAX {
            let limit_bytes = DOCUMENT_SIZE_BYTES_MAX;
            return Err(
                LayoutError::TooLarge { file: self.blob_path(Digest::of(bundle)), found_bytes, limit_bytes }.into()
            );
        }
        let mut signatures = referrers(&self.root, &index).into_iter().collect::<Result<Vec<_>, _>>()?;
        let before = signatures.len();
        let mut blobs = None;
        for subject in subjects {
            let of_subject = signatures.iter().filter(|it| it.subject.digest == *subject);
            let listed = index.manifests().iter().find(|it| it.digest().as_ref() == subject.to_string());
            let listed = listed.ok_or_else(|| WriteError::Replaced { dir: self.dir().to_owned(), digest: *subject })?;
            if of_subject.clone().any(|it| it.bundle.digest == Digest::of(bundle)) {
                continue;
            }
            if of_subject.count() >= SIGNATURES_MAX {
                return Err(WriteError::TooManySignatures { dir: self.dir().to_owned() });
            }
            let (config, bundle) = match blobs {
                Some(blobs) => blobs,
                None => *blobs.insert((self.add_document(document::EMPTY_CONFIG)?, self.add_blob(bundle)?)),
            };
            let subject = blob_of(&file, listed)?;
            let manifest = self.add_document(&document::signature_manifest(config, bundle, subject))?;
            signatures.push(Referrer { manifest, config, bundle, subject });
        }
        let added = signatures.len() - before;
        if added == 0 {
            return Ok(0);
        }
        signatures.sort_by_key(|it| it.manifest.digest);
        let is_signature = |it: &Descriptor| {
            let digest = it.digest().as_ref();
            it.annotations().is_none() && signatures.iter().any(|other| other.manifest.digest.to_string() == digest)
        };
        let mut listed: Vec<_> = index.manifests().iter().filter(|it| !is_signature(it)).cloned().collect();
        listed.extend(signatures.iter().map(|it| document::signature_descriptor(it.manifest)));
        index.set_manifests(listed);
        let referenced = self.named_by(&index)?;
        sync_dir(&self.blobs)?;

        let index = isomer_contract::canonical_json(&index);
        check_document_size(&file, &index)?;
        self.replace("index.json", &index)?;
        self.state().committed = true;
        sync_dir(&self.directory)?;
        self.replace("SHA256SUMS", &sums(&referenced, &index))?;
        sync_dir(&self.directory)?;
        Ok(added)
    }

    pub(super) fn index_in_place(&self) -> Result<Option<ImageIndex>, LayoutError> {
        index_in(&self.root)
    }

    /// The digests of all blobs that `index` references, directly or through its documents.
    fn named_by(&self, index: &ImageIndex) -> Result<BTreeSet<Digest>, LayoutError> {
        let mut named = BTreeSet::new();
        let mut left: Vec<_> = index.manifests().iter().map(|it| (self.dir().join("index.json"), it.clone())).collect();
        while let Some((file, descriptor)) = left.pop() {
            let blob = blob_of(&file, &descriptor)?;
            let document = matches!(descriptor.media_type(), MediaType::ImageIndex | MediaType::ImageManifest);
            if !named.insert(blob.digest) || !document {
                continue;
            }
            let bytes = self.root.read_blob(blob, DOCUMENT_SIZE_BYTES_MAX, &file)?;
            let file = self.blob_path(blob.digest);
            let below = if *descriptor.media_type() == MediaType::ImageIndex {
                parse_index(&file, &bytes)?.manifests().clone()
            } else {
                let manifest = parse_manifest(&file, &bytes)?;
                manifest.layers().iter().chain([manifest.config()]).cloned().collect()
            };
            left.extend(below.into_iter().map(|it| (file.clone(), it)));
        }
        Ok(named)
    }
}
