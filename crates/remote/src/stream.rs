//! In: one blob, or its digest. Out: the blob on the remote, or its bytes, hashed. A stream that breaks is taken up
//! where it broke. Never here: more bytes in memory than the digest says.

use crate::cas::Cas;
use crate::channel::{MESSAGE_SIZE_BYTES_MAX, inner, within};
use crate::digest::{Blob, BlobDigest};
use crate::error::RemoteError;
use crate::retry::Budget;
use bazel_remote_apis::google::bytestream;
use bazel_remote_apis::google::bytestream::byte_stream_client::ByteStreamClient;
use futures_util::stream;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tonic::transport::Channel;
use tonic::{Code, Status};

/// Well below the 4 MiB that a server takes, and large enough that frames cost nothing.
const PIECE_BYTES: usize = 256 << 10;
/// What a server answers whose blob is there already, since API 2.2 for compressed ones; some answer it always.
const ALREADY_THERE: i64 = -1;

impl Cas {
    fn stream_client(&self) -> ByteStreamClient<Channel> {
        ByteStreamClient::new(self.endpoint.channel.clone()).max_decoding_message_size(MESSAGE_SIZE_BYTES_MAX)
    }

    fn resource(&self, rest: &str) -> String {
        if self.instance.is_empty() { rest.to_owned() } else { format!("{}/{rest}", self.instance) }
    }

    /// Uploads as a stream.
    pub(crate) async fn write(&self, blob: &Blob) -> Result<(), RemoteError> {
        const CALL: &str = "ByteStream.Write";
        let size = blob.bytes().len();
        if blob.digest().size_bytes() > self.limits.blob_bytes_max {
            let size_bytes_max = self.limits.blob_bytes_max;
            return Err(RemoteError::TooLarge {
                url: self.endpoint.url.clone(),
                digest: blob.digest(),
                size_bytes_max,
            });
        }
        let mut budget = Budget::new(&self.endpoint.retry);
        let new_name = || self.resource(&format!("uploads/{}/blobs/{}", uuid(), blob.digest()));
        let (mut name, mut offset) = (new_name(), 0);
        loop {
            let status = match self.write_from(blob, &name, offset).await {
                Ok(ALREADY_THERE) => return Ok(()),
                Ok(committed) if usize::try_from(committed) == Ok(size) => return Ok(()),
                Ok(committed) => Status::internal(format!("it kept {committed} bytes of {size}")),
                Err(status) => status,
            };
            budget.after(&self.endpoint.url, CALL, &status).await?;
            match self.committed(&name).await {
                Some(committed) if committed == size => return Ok(()),
                Some(committed) if 0 < committed && committed < size => {
                    if committed > offset {
                        budget.progress();
                    }
                    offset = committed;
                }
                _ => (name, offset) = (new_name(), 0),
            }
        }
    }

    async fn write_from(&self, blob: &Blob, name: &str, offset: usize) -> Result<i64, Status> {
        let (blob, name) = (blob.clone(), name.to_owned());
        let taken = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&taken);
        let pieces = stream::unfold(Some(offset), move |offset| {
            let piece = offset.map(|offset| {
                let end = (offset + PIECE_BYTES).min(blob.bytes().len());
                counter.store(end, Ordering::Relaxed);
                let last = end == blob.bytes().len();
                let message = bytestream::WriteRequest {
                    resource_name: name.clone(),
                    write_offset: offset as i64,
                    finish_write: last,
                    data: blob.bytes()[offset..end].to_vec(),
                };
                (message, (!last).then_some(end))
            });
            std::future::ready(piece)
        });
        let mut client = self.stream_client();
        let mut answer = pin!(client.write(self.endpoint.request(pieces, None)));
        let mut seen = 0;
        // As long as pieces are taken it is slow, not silent.
        loop {
            match within(self.endpoint.deadlines.call, async { Ok((&mut answer).await) }).await {
                Ok(response) => return response.map(|response| inner(response).committed_size),
                Err(silence) if taken.load(Ordering::Relaxed) == seen => return Err(silence),
                Err(_) => seen = taken.load(Ordering::Relaxed),
            }
        }
    }

    /// How much of a broken upload has arrived, if the remote can tell.
    async fn committed(&self, name: &str) -> Option<usize> {
        let message = bytestream::QueryWriteStatusRequest { resource_name: name.to_owned() };
        let mut client = self.stream_client();
        let answer = client.query_write_status(self.endpoint.request(message, None));
        match within(self.endpoint.deadlines.call, answer).await {
            Ok(response) => usize::try_from(inner(response).committed_size).ok(),
            Err(status) => {
                tracing::debug!(code = ?status.code(), "the remote can't resume uploads");
                None
            }
        }
    }

    /// Downloads as a stream.
    pub(crate) async fn read(&self, digest: BlobDigest) -> Result<Vec<u8>, RemoteError> {
        let mut bytes = Vec::new();
        let mut budget = Budget::new(&self.endpoint.retry);
        loop {
            let before = bytes.len();
            let status = match self.read_on(digest, &mut bytes).await {
                Ok(()) if bytes.len() as u64 == digest.size_bytes() => return self.verified(digest, bytes),
                Ok(()) => {
                    Status::unavailable(format!("it ended after {} bytes of {}", bytes.len(), digest.size_bytes()))
                }
                Err(ReadFailure::Status(status)) if status.code() == Code::NotFound => return Err(self.missing(digest)),
                Err(ReadFailure::Status(status)) => status,
                Err(ReadFailure::TooMuch) => {
                    let found = format!("more than {} bytes", digest.size_bytes());
                    return Err(RemoteError::HashMismatch { url: self.endpoint.url.clone(), expected: digest, found });
                }
            };
            if bytes.len() > before {
                budget.progress();
            }
            budget.after(&self.endpoint.url, "ByteStream.Read", &status).await?;
        }
    }

    async fn read_on(&self, digest: BlobDigest, bytes: &mut Vec<u8>) -> Result<(), ReadFailure> {
        let message = bytestream::ReadRequest {
            resource_name: self.resource(&format!("blobs/{digest}")),
            read_offset: bytes.len() as i64,
            read_limit: 0,
        };
        let limit = self.endpoint.deadlines.call;
        let mut client = self.stream_client();
        let answer = within(limit, client.read(self.endpoint.request(message, None))).await;
        let mut pieces = inner(answer.map_err(ReadFailure::Status)?);
        while let Some(piece) = within(limit, pieces.message()).await.map_err(ReadFailure::Status)? {
            if (bytes.len() + piece.data.len()) as u64 > digest.size_bytes() {
                return Err(ReadFailure::TooMuch);
            }
            bytes.extend_from_slice(&piece.data);
        }
        Ok(())
    }
}

enum ReadFailure {
    Status(Status),
    TooMuch,
}

/// A random UUID (version 4). It only keeps uploads of the same blob apart.
fn uuid() -> String {
    // The hasher's keys are random.
    let random = || RandomState::new().build_hasher().finish();
    let (high, low) = (random(), random());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 48 & 0x3fff | 0x8000,
        low & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_have_their_form_and_differ() {
        let (one, other) = (uuid(), uuid());
        assert_ne!(one, other);
        let parts: Vec<_> = one.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{one}");
        assert_eq!(&one[14..15], "4");
        assert!(matches!(&one[19..20], "8" | "9" | "a" | "b"), "{one}");
    }
}
