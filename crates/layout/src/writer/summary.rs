//! What a writer did. In: blobs as they are written. Out: their number and size, and the digests of the modules.

use isomer_contract::Digest;

/// A number of blobs, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How many blobs.
    pub blobs: u64,
    /// Their sizes' sum.
    pub size_bytes: u64,
}

impl Count {
    pub(super) fn add(&mut self, size_bytes: u64) {
        self.blobs += 1;
        self.size_bytes += size_bytes;
    }
}

/// What [`Writer::finish`](super::Writer::finish) did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The modules, in the order of `index.json`.
    pub modules: Vec<SummaryModule>,
    /// Blobs that were written.
    pub written: Count,
    /// Blobs that existed already.
    pub reused: Count,
    /// Blobs of the former release that were removed.
    pub removed: Count,
    /// What became of the former release's signatures.
    pub signatures: Signatures,
}

/// A released module's digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SummaryModule {
    /// Its name and version, `sort:0.1.0`.
    pub reference: String,
    /// Its image index: the digest that pins the module in all its forms.
    pub digest: Digest,
    /// The manifest of its plain Wasm.
    pub wasm: Digest,
}

/// What became of the signatures when a release was written again, counted once for each module that they sign.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signatures {
    /// Kept: the index that they sign is unchanged.
    pub kept: usize,
    /// Dropped with the index that they signed.
    pub dropped: usize,
    /// Dropped although that index is unchanged, or unknown: one of their files was damaged.
    pub damaged: usize,
    /// The problems of those files, each once.
    pub problems: Vec<String>,
}
