//! In: a release, and the digest of a module's index. Out: the signatures that refer to it. Never here: whether they are
//! valid.

use super::{Layout, Module};
use crate::signature::{Referrer, referrers};
use crate::{FoundSignatures, LayoutError, Signature};
use isomer_contract::limits::{DOCUMENT_SIZE_BYTES_MAX, SIGNATURES_MAX};
use isomer_contract::{Digest, one_line};
use std::path::Path;
use std::sync::PoisonError;

/// The signatures of a module.
impl Layout {
    /// The bundles that refer to the index of `module`, in the order of `index.json`: bytes with the digests they are
    /// named by, otherwise unchecked. A referrer that is not a bundle is ignored.
    ///
    /// # Errors
    /// When one of them is damaged, or there are more than [`SIGNATURES_MAX`].
    pub fn signatures(&self, module: &Module) -> Result<Vec<Vec<u8>>, LayoutError> {
        Ok(self.signature_documents(module.digest)?.into_iter().map(|it| it.bundle).collect())
    }

    /// The signatures that refer to the index `index`, with the documents that hold them.
    ///
    /// # Errors
    /// As [`Layout::signatures`].
    pub fn signature_documents(&self, index: Digest) -> Result<Vec<Signature>, LayoutError> {
        let found = self.referrers_of(index)?;
        let file = self.root.path().join("index.json");
        if found.len() > SIGNATURES_MAX {
            let entry = self.modules.iter().find(|entry| entry.digest == index);
            let module = entry.map_or_else(|| index.to_string(), |entry| entry.name.clone());
            let reason =
                format!("it lists {} signatures of `{module}`, expected at most {SIGNATURES_MAX}", found.len());
            return Err(LayoutError::Malformed { file, reason });
        }
        found.iter().map(|it| self.signature_document(it)).collect()
    }

    /// As [`Layout::signature_documents`], and a signature that cannot be read is no error: another one may suffice. Those
    /// beyond [`SIGNATURES_MAX`] are passed over with a warning, as is one that cannot be read where another one can.
    pub fn readable_signatures(&self, index: Digest) -> FoundSignatures {
        let mut unreadable = Vec::new();
        let mut signatures = Vec::new();
        let (mut number, mut beyond) = (0, 0);
        let listed = match self.referrers_of(index) {
            Ok(found) => found.into_iter().map(Ok).collect(),
            Err(_) => referrers(&self.root, &self.index),
        };
        for referrer in listed {
            let read = match referrer {
                Ok(referrer) if referrer.subject.digest != index => continue,
                Ok(_) if signatures.len() == SIGNATURES_MAX => {
                    beyond += 1;
                    continue;
                }
                Ok(referrer) => self.signature_document(&referrer),
                Err(error) => Err(error),
            };
            number += 1;
            match read {
                Ok(signature) => signatures.push(signature),
                Err(error) => unreadable.push(one_line(&error)),
            }
        }
        let dir = self.root.path().display();
        if let Some(first) = unreadable.first().filter(|_| !signatures.is_empty()) {
            tracing::warn!("{} of {number} signatures in `{dir}` cannot be read; the first: {first}", unreadable.len());
        }
        if beyond > 0 {
            tracing::warn!(
                "`{dir}` has {beyond} signatures of {index} beyond the first {SIGNATURES_MAX}, which are read"
            );
        }
        FoundSignatures { readable: signatures, unreadable }
    }

    fn signature_document(&self, it: &Referrer) -> Result<Signature, LayoutError> {
        let read = |blob, named_by: &Path| self.root.read_blob(blob, DOCUMENT_SIZE_BYTES_MAX, named_by);
        let path = self.root.blob_path(it.manifest.digest);
        let (config, bundle) = (read(it.config, &path)?, read(it.bundle, &path)?);
        Ok(Signature { manifest: read(it.manifest, &self.root.path().join("index.json"))?, config, bundle })
    }

    pub(crate) fn referrers_of(&self, subject: Digest) -> Result<Vec<Referrer>, LayoutError> {
        let mut known = self.referrers.lock().unwrap_or_else(PoisonError::into_inner);
        let all = match &*known {
            Some(all) => all,
            None => known.insert(referrers(&self.root, &self.index).into_iter().collect::<Result<_, _>>()?),
        };
        Ok(all.iter().filter(|it| it.subject.digest == subject).copied().collect())
    }
}
