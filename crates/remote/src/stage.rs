//! Out: where an execution is, as its caller is told. Never here: what a remote calls it.

/// Where an execution is. Remotes report as much of it as they like.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// The remote now has all inputs, of which it lacked that many bytes.
    Uploaded {
        /// Bytes sent.
        size_bytes: u64,
    },
    /// The remote looks into its cache.
    CacheCheck,
    /// It waits for a worker.
    Queued,
    /// A worker has it.
    Executing,
    /// The worker lost it; it waits for another.
    Requeued,
    /// The connection broke or the remote failed; it is tried again.
    Retrying {
        /// Why.
        reason: String,
    },
    /// The remote lacks inputs although it reported that it has them: all are uploaded again.
    UploadingAgain {
        /// The remote's words.
        reason: String,
    },
    /// What the cache has cannot be used (a failure, or outputs that are gone): it is executed although it is cached.
    PassingCache,
}
