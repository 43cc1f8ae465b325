//! In: blobs, or digests. Out: blobs that the remote surely has, or bytes that were hashed. Small ones go in batches,
//! the rest as streams (`stream`). Never here: bytes that were not compared with their digest.

use crate::capabilities::Limits;
use crate::channel::{Endpoint, MESSAGE_SIZE_BYTES_MAX, inner, within};
use crate::digest::{Blob, BlobDigest};
use crate::error::RemoteError;
use crate::retry::{Budget, may_pass, refusal, words};
use bazel_remote_apis::build::bazel::remote::execution::v2 as reapi;
use bazel_remote_apis::google::rpc;
use reapi::content_addressable_storage_client::ContentAddressableStorageClient;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use tonic::transport::Channel;
use tonic::{Code, Status};

/// What a digest and its frame add to a blob in a batch, rounded up.
const BATCH_OVERHEAD_BYTES: u64 = 128;
/// A digest takes some 75 bytes: this is far below every limit on messages.
const DIGESTS_MAX: usize = 10_000;

/// The content-addressed storage of one instance.
pub(crate) struct Cas {
    pub(crate) endpoint: Endpoint,
    pub(crate) instance: String,
    pub(crate) limits: Limits,
    pub(crate) blob_size_bytes_max: u64,
    /// Actions that start together share their tool: one of them uploads it, the others wait and then ask again.
    pub(crate) large: tokio::sync::Mutex<()>,
}

impl Cas {
    fn client(&self) -> ContentAddressableStorageClient<Channel> {
        ContentAddressableStorageClient::new(self.endpoint.channel.clone())
            .max_decoding_message_size(MESSAGE_SIZE_BYTES_MAX)
    }

    /// Which of these the remote does not have.
    pub(crate) async fn find_missing(
        &self,
        digests: &BTreeSet<BlobDigest>,
    ) -> Result<BTreeSet<BlobDigest>, RemoteError> {
        const CALL: &str = "FindMissingBlobs";
        let mut missing = BTreeSet::new();
        let digests: Vec<_> = digests.iter().copied().collect();
        for digests in digests.chunks(DIGESTS_MAX) {
            let message = reapi::FindMissingBlobsRequest {
                instance_name: self.instance.clone(),
                blob_digests: digests.iter().map(|digest| digest.to_message()).collect(),
                digest_function: reapi::digest_function::Value::Sha256 as i32,
            };
            let answer = self
                .endpoint
                .call(CALL, async || {
                    self.client().find_missing_blobs(self.endpoint.request(message.clone(), None)).await.map(inner)
                })
                .await?;
            for digest in &answer.missing_blob_digests {
                let digest = BlobDigest::from_message(digest).filter(|digest| digests.binary_search(digest).is_ok());
                missing.insert(
                    digest.ok_or_else(|| self.endpoint.invalid_response(CALL, "a digest that was not requested"))?,
                );
            }
        }
        Ok(missing)
    }

    /// Sees to it that the remote has these, and returns how many bytes it lacked.
    pub(crate) async fn upload(&self, blobs: &[Blob]) -> Result<u64, RemoteError> {
        let blobs: BTreeMap<_, _> = blobs.iter().map(|blob| (blob.digest(), blob)).collect();
        let missing = self.find_missing(&blobs.keys().copied().collect()).await?;
        let (small, large): (Vec<_>, Vec<_>) =
            missing.iter().map(|digest| blobs[digest]).partition(|blob| self.is_small(blob.digest()));
        self.send_small(&small).await?;
        if !large.is_empty() {
            let _turn = self.large.lock().await;
            let missing = self.find_missing(&large.iter().map(|blob| blob.digest()).collect()).await?;
            for blob in large.iter().filter(|blob| missing.contains(&blob.digest())) {
                self.write(blob).await?;
            }
        }
        Ok(missing.iter().map(BlobDigest::size_bytes).sum())
    }

    /// Sends all of these, whatever the remote says that it has: it was wrong about that.
    pub(crate) async fn upload_again(&self, blobs: &[Blob]) -> Result<(), RemoteError> {
        let (small, large): (Vec<_>, Vec<_>) = blobs.iter().partition(|blob| self.is_small(blob.digest()));
        self.send_small(&small).await?;
        let _turn = self.large.lock().await;
        for blob in large {
            self.write(blob).await?;
        }
        Ok(())
    }

    fn is_small(&self, digest: BlobDigest) -> bool {
        digest.size_bytes().saturating_add(BATCH_OVERHEAD_BYTES) <= self.limits.batch_bytes_max
    }

    /// Cuts a list where the next blob would make the message too long.
    fn batches<T: Copy>(&self, items: &[T], digest: impl Fn(T) -> BlobDigest) -> Vec<Vec<T>> {
        let mut batches: Vec<Vec<T>> = Vec::new();
        let mut bytes = 0;
        for item in items {
            let size = digest(*item).size_bytes() + BATCH_OVERHEAD_BYTES;
            match batches.last_mut() {
                Some(batch) if bytes + size <= self.limits.batch_bytes_max => batch.push(*item),
                _ => {
                    batches.push(vec![*item]);
                    bytes = 0;
                }
            }
            bytes += size;
        }
        batches
    }

    async fn send_small(&self, blobs: &[&Blob]) -> Result<(), RemoteError> {
        for batch in self.batches(blobs, |blob| blob.digest()) {
            self.send_batch(batch).await?;
        }
        Ok(())
    }

    async fn send_batch(&self, mut left: Vec<&Blob>) -> Result<(), RemoteError> {
        const CALL: &str = "BatchUpdateBlobs";
        let mut budget = Budget::new(&self.endpoint.retry);
        while !left.is_empty() {
            let answer = within(self.endpoint.deadlines.call, self.update_blobs(&left)).await;
            let failure = match answer {
                // The limit may be lower than stated, or than what is usual.
                Err(status) if matches!(status.code(), Code::ResourceExhausted | Code::OutOfRange) => {
                    for blob in left {
                        self.write(blob).await?;
                    }
                    return Ok(());
                }
                Err(status) => status,
                Ok(answer) => {
                    let before = left.len();
                    let statuses =
                        self.statuses(CALL, answer.responses.into_iter().map(|part| (part.digest, part.status)))?;
                    left.retain(|blob| statuses.get(&blob.digest()).is_none_or(|status| status.code() != Code::Ok));
                    if left.len() < before {
                        budget.progress();
                    }
                    let Some(first) = left.first() else { return Ok(()) };
                    let unmentioned = || Status::internal("it says nothing about some of the blobs");
                    statuses.get(&first.digest()).cloned().unwrap_or_else(unmentioned)
                }
            };
            budget.after(&self.endpoint.url, CALL, &failure).await?;
        }
        Ok(())
    }

    async fn update_blobs(&self, blobs: &[&Blob]) -> Result<reapi::BatchUpdateBlobsResponse, Status> {
        let requests = blobs.iter().map(|blob| reapi::batch_update_blobs_request::Request {
            digest: Some(blob.digest().to_message()),
            data: blob.bytes().to_vec(),
            compressor: reapi::compressor::Value::Identity as i32,
        });
        let message = reapi::BatchUpdateBlobsRequest {
            instance_name: self.instance.clone(),
            requests: requests.collect(),
            digest_function: reapi::digest_function::Value::Sha256 as i32,
        };
        self.client().batch_update_blobs(self.endpoint.request(message, None)).await.map(inner)
    }

    /// The status of each blob in a batch.
    fn statuses(
        &self,
        call: &'static str,
        parts: impl Iterator<Item = (Option<reapi::Digest>, Option<rpc::Status>)>,
    ) -> Result<BTreeMap<BlobDigest, Status>, RemoteError> {
        parts
            .map(|(digest, status)| {
                let digest = digest.as_ref().and_then(BlobDigest::from_message);
                let digest = digest.ok_or_else(|| self.endpoint.invalid_response(call, "a part without a digest"))?;
                let status = status.unwrap_or_default();
                Ok((digest, Status::new(Code::from_i32(status.code), status.message)))
            })
            .collect()
    }

    /// The bytes of each, hashed.
    pub(crate) async fn download(
        &self,
        digests: &BTreeSet<BlobDigest>,
    ) -> Result<BTreeMap<BlobDigest, Vec<u8>>, RemoteError> {
        let mut found = BTreeMap::new();
        let mut small = Vec::new();
        for digest in digests {
            if digest.size_bytes() > self.blob_size_bytes_max {
                let size_bytes_max = self.blob_size_bytes_max;
                return Err(RemoteError::TooLarge { url: self.endpoint.url.clone(), digest: *digest, size_bytes_max });
            }
            if digest.size_bytes() == 0 {
                // Every remote has it, and some do not know.
                found.insert(*digest, self.verified(*digest, Vec::new())?);
            } else if self.is_small(*digest) {
                small.push(*digest);
            } else {
                found.insert(*digest, self.read(*digest).await?);
            }
        }
        for batch in self.batches(&small, |digest| digest) {
            self.receive_batch(batch, &mut found).await?;
        }
        Ok(found)
    }

    /// `digests` are sorted.
    async fn receive_batch(
        &self,
        digests: Vec<BlobDigest>,
        found: &mut BTreeMap<BlobDigest, Vec<u8>>,
    ) -> Result<(), RemoteError> {
        const CALL: &str = "BatchReadBlobs";
        let message = reapi::BatchReadBlobsRequest {
            instance_name: self.instance.clone(),
            digests: digests.iter().map(|digest| digest.to_message()).collect(),
            acceptable_compressors: Vec::new(),
            digest_function: reapi::digest_function::Value::Sha256 as i32,
        };
        let answer = self
            .endpoint
            .call(CALL, async || {
                self.client().batch_read_blobs(self.endpoint.request(message.clone(), None)).await.map(inner)
            })
            .await?;
        for part in answer.responses {
            let digest = part
                .digest
                .as_ref()
                .and_then(BlobDigest::from_message)
                .filter(|digest| digests.binary_search(digest).is_ok());
            let digest = digest.ok_or_else(|| self.endpoint.invalid_response(CALL, "a blob that was not requested"))?;
            if part.compressor != reapi::compressor::Value::Identity as i32 {
                return Err(self.endpoint.invalid_response(CALL, "a compressed blob that was not requested"));
            }
            let status = part.status.unwrap_or_default();
            match Code::from_i32(status.code) {
                Code::Ok => drop(found.insert(digest, self.verified(digest, part.data)?)),
                Code::NotFound => return Err(self.missing(digest)),
                // Asked for again below.
                code if may_pass(code) => {
                    tracing::debug!(%digest, ?code, reason = words(&Status::new(code, status.message)), "not in the batch");
                }
                code => {
                    return Err(refusal(&self.endpoint.url, CALL, &Status::new(code, status.message)));
                }
            }
        }
        for digest in digests {
            if let Entry::Vacant(entry) = found.entry(digest) {
                entry.insert(self.read(digest).await?);
            }
        }
        Ok(())
    }

    pub(crate) fn missing(&self, digest: BlobDigest) -> RemoteError {
        RemoteError::Missing { url: self.endpoint.url.clone(), digest }
    }

    /// The bytes, if they are those of the digest.
    pub(crate) fn verified(&self, expected: BlobDigest, bytes: Vec<u8>) -> Result<Vec<u8>, RemoteError> {
        let found = BlobDigest::of(&bytes);
        if found == expected {
            return Ok(bytes);
        }
        Err(RemoteError::HashMismatch { url: self.endpoint.url.clone(), expected, found: found.to_string() })
    }
}
