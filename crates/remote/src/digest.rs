//! In: bytes, or a digest message of the remote. Out: a digest that is well formed. Never here: a digest function other
//! than SHA-256.

use bazel_remote_apis::build::bazel::remote::execution::v2 as reapi;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::sync::Arc;

/// The name of a blob: the SHA-256 of its bytes, and their number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobDigest {
    hash: [u8; 32],
    size_bytes: u64,
}

impl BlobDigest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> BlobDigest {
        BlobDigest { hash: Sha256::digest(bytes).into(), size_bytes: bytes.len() as u64 }
    }

    /// How many bytes the blob has.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The hash in lower-case hexadecimal digits.
    pub fn hash(&self) -> String {
        self.hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(crate) fn to_message(self) -> reapi::Digest {
        // No blob of this process is longer than its address space.
        reapi::Digest { hash: self.hash(), size_bytes: self.size_bytes.cast_signed() }
    }

    /// `None` when the hash is no SHA-256 in lower case or the size is negative.
    pub(crate) fn from_message(message: &reapi::Digest) -> Option<BlobDigest> {
        let digits = message.hash.as_bytes();
        let size_bytes = u64::try_from(message.size_bytes).ok()?;
        if digits.len() != 64 || digits.iter().any(|digit| !matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(BlobDigest { hash, size_bytes })
    }
}

/// `HASH/SIZE`, as in the resource names of the protocol.
impl fmt::Display for BlobDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.hash(), self.size_bytes)
    }
}

impl fmt::Debug for BlobDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Bytes with their digest. Cheap to clone: one tool is an input of thousands of actions.
#[derive(Clone)]
pub struct Blob {
    digest: BlobDigest,
    bytes: Arc<[u8]>,
}

impl Blob {
    /// Hashes `bytes`.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Blob {
        let bytes = bytes.into();
        Blob { digest: BlobDigest::of(&bytes), bytes }
    }

    /// Its name.
    pub fn digest(&self) -> BlobDigest {
        self.digest
    }

    /// Its content.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({})", self.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back() {
        let digest = BlobDigest::of(b"isomer");
        assert_eq!(BlobDigest::from_message(&digest.to_message()), Some(digest));
    }

    #[test]
    fn other_digests_are_refused() {
        let good = BlobDigest::of(b"").to_message();
        let refused = |hash: &str, size_bytes| {
            BlobDigest::from_message(&reapi::Digest { hash: hash.to_owned(), size_bytes }).is_none()
        };
        assert!(refused(&good.hash, -1));
        assert!(refused(&good.hash.to_uppercase(), 0));
        assert!(refused(&good.hash[..63], 0));
        assert!(refused(&format!("{}+f", &good.hash[..62]), 0));
        assert!(refused("", 0));
        assert!(refused(&"é".repeat(32), 0));
    }
}
