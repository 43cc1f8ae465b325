//! In: everything that can go wrong with a remote. Out: one sentence of what was found where, and a hint what to do.
//! Never here: a secret (headers, tokens, keys).

use crate::action::ActionError;
use crate::digest::BlobDigest;
use std::fmt;
use std::time::Duration;

/// Why a remote did not do what was asked. `url` is the address as the user wrote it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// An option that cannot be used: an address, a header, a file.
    #[error("{what}: {reason}")]
    Options {
        /// Which one.
        what: String,
        /// What is wrong with it.
        reason: String,
        /// How it would be right, if that is known.
        hint: Option<String>,
    },
    /// An action that cannot be described to any remote.
    #[error(transparent)]
    Action(#[from] ActionError),
    /// No connection.
    #[error("{url}: cannot be reached: {reason}")]
    Unreachable {
        /// The address.
        url: String,
        /// The system's words.
        reason: String,
    },
    /// A connection, but one side does not trust the other's certificate.
    #[error("{url}: TLS handshake failed: {reason}")]
    Tls {
        /// The address.
        url: String,
        /// The TLS library's words.
        reason: String,
    },
    /// A connection that ends without an answer, each time.
    #[error("{url}: closes the connection before it answers: {reason}")]
    Disconnected {
        /// The address.
        url: String,
        /// Whether it is one with TLS.
        tls: bool,
        /// The words of the layers below.
        reason: String,
    },
    /// It speaks another version of the API.
    #[error("{url}: speaks Remote Execution API {found}, expected a range with a version in {expected}")]
    Version {
        /// The address.
        url: String,
        /// `LOW to HIGH`.
        found: String,
        /// What we speak.
        expected: String,
    },
    /// A service that the address does not have.
    #[error("{url}: does not implement {call}: {message}")]
    NoService {
        /// The address.
        url: String,
        /// The method that was called.
        call: &'static str,
        /// The remote's words.
        message: String,
    },
    /// It hashes with something else.
    #[error("{url}: expected the digest function SHA256, found {found}")]
    DigestFunction {
        /// The address.
        url: String,
        /// What it offers.
        found: String,
    },
    /// It does not know the caller's credentials.
    #[error("{url}: requires authentication: {message}")]
    Unauthenticated {
        /// The address.
        url: String,
        /// The remote's words.
        message: String,
    },
    /// It knows the caller and denies access.
    #[error("{url}: permission denied for {call}: {message}")]
    Permission {
        /// The address.
        url: String,
        /// The method that was called.
        call: &'static str,
        /// The remote's words.
        message: String,
    },
    /// No such instance.
    #[error("{url}: unknown instance `{instance}`: {message}")]
    Instance {
        /// The address.
        url: String,
        /// The name that we gave.
        instance: String,
        /// The remote's words.
        message: String,
    },
    /// Execution was requested and is not offered.
    #[error("{url}: does not execute actions")]
    NoExecution {
        /// The address.
        url: String,
    },
    /// The cache can only be read.
    #[error("{url}: does not accept results")]
    ReadOnly {
        /// The address.
        url: String,
    },
    /// Other bytes than those of the digest that we requested.
    #[error("{url}: digest mismatch: expected {expected}, found {found}")]
    HashMismatch {
        /// The address.
        url: String,
        /// What was requested.
        expected: BlobDigest,
        /// What came.
        found: String,
    },
    /// A blob that was there is gone.
    #[error("{url}: no longer has the blob {digest}")]
    Missing {
        /// The address.
        url: String,
        /// The blob.
        digest: BlobDigest,
    },
    /// A blob that is larger than one side takes.
    #[error("{url}: the blob {digest} is too large, expected at most {size_bytes_max} bytes")]
    TooLarge {
        /// The address.
        url: String,
        /// The blob.
        digest: BlobDigest,
        /// The limit.
        size_bytes_max: u64,
    },
    /// The action succeeded without making what it was to make.
    #[error("{url}: the action exited with 0 but did not write `{path}`{}", quoted(.stderr))]
    MissingOutput {
        /// The address.
        url: String,
        /// The output that was declared.
        path: String,
        /// What it printed.
        stderr: String,
    },
    /// The action ran and failed.
    #[error("{url}: the action exited with {exit_code}{}", quoted(.stderr))]
    Failed {
        /// The address.
        url: String,
        /// Its exit code.
        exit_code: i32,
        /// The end of what it printed on standard error.
        stderr: String,
    },
    /// It took too long.
    #[error("{url}: {deadline}, expected at most {} s", .limit.as_secs_f32())]
    Deadline {
        /// The address.
        url: String,
        /// What did.
        deadline: Deadline,
        /// How long it was given.
        limit: Duration,
    },
    /// It failed again and again.
    #[error("{url}: {call} failed {attempts} times in {:.1} s, the last time with {last}", .elapsed.as_secs_f32())]
    TooManyRetries {
        /// The address.
        url: String,
        /// The method that was called.
        call: &'static str,
        /// How often.
        attempts: u32,
        /// For how long.
        elapsed: Duration,
        /// The last failure.
        last: String,
        /// Whether that was an answer that never came: the remote, or the way to it, is not there.
        unavailable: bool,
    },
    /// Any other answer that says no.
    #[error("{url}: rejected {call}: {reason}")]
    Refused {
        /// The address.
        url: String,
        /// The method that was called.
        call: &'static str,
        /// The code and the remote's words.
        reason: String,
    },
    /// An answer that makes no sense.
    #[error("{url}: invalid response to {call}: {reason}")]
    InvalidResponse {
        /// The address.
        url: String,
        /// The method that was called.
        call: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// [`Cancel`](crate::Cancel) was pulled.
    #[error("cancelled")]
    Cancelled,
}

/// Which of the waits was too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// The action ran for longer than its timeout.
    Action,
    /// No worker took it, nor had one any other of our actions.
    Queue,
    /// Queue and action together: the remote does not say in which of both it is.
    QueueAndAction,
    /// Everything together.
    Total,
    /// The same, and in the end it waited for a worker.
    TotalInQueue,
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Deadline::Action => "the action ran too long",
            Deadline::Queue => "no worker took the action",
            Deadline::QueueAndAction => "the action neither ended nor was its stage reported",
            Deadline::Total => "the execution took too long in all",
            Deadline::TotalInQueue => "the execution took too long in all, and still waited for a worker",
        })
    }
}

fn quoted(stderr: &str) -> String {
    let text = stderr.trim_end();
    if text.is_empty() { String::new() } else { format!(", and printed:\n{text}") }
}

impl RemoteError {
    /// Whether the remote, or the way to it, is not there; it may be another time.
    pub fn is_outage(&self) -> bool {
        match self {
            RemoteError::Unreachable { .. } | RemoteError::Disconnected { .. } => true,
            RemoteError::TooManyRetries { unavailable, .. } => *unavailable,
            _ => false,
        }
    }

    /// Whether every other action that is like this one, but for its inputs, would meet the same, after as long a wait.
    pub fn is_of_every_action(&self) -> bool {
        match self {
            RemoteError::Tls { .. }
            | RemoteError::Version { .. }
            | RemoteError::NoService { .. }
            | RemoteError::DigestFunction { .. }
            | RemoteError::Unauthenticated { .. }
            | RemoteError::Permission { .. }
            | RemoteError::Instance { .. }
            | RemoteError::NoExecution { .. }
            | RemoteError::Deadline { deadline: Deadline::Queue, .. } => true,
            other => other.is_outage(),
        }
    }

    /// What the reader can do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            RemoteError::Options { hint, .. } => return hint.clone(),
            RemoteError::Action(error) => return error.hint(),
            RemoteError::Unreachable { .. } => {
                "check the address and that the remote runs; `grpcs://` is with TLS, `grpc://` without"
            }
            RemoteError::Tls { .. } => {
                "pass the CA that signed the remote's certificate, and a client certificate with its key \
                 if the remote requires one; use `grpc://` for a remote without TLS"
            }
            RemoteError::Disconnected { tls: true, .. } => {
                "check whether the remote requires a client certificate of another CA, and that it speaks gRPC"
            }
            RemoteError::Disconnected { .. } => {
                "use `grpcs://` if the remote requires TLS, and check that it speaks gRPC"
            }
            RemoteError::Version { .. } => "update the remote, or use one that speaks version 2",
            RemoteError::NoService { .. } => {
                "check the address: blobs, action cache and execution may each have their own"
            }
            RemoteError::DigestFunction { .. } => "enable SHA-256 on the remote",
            RemoteError::Unauthenticated { .. } => "pass a bearer token, a header or a client certificate",
            RemoteError::Permission { .. } => "request the permission; reading a cache and writing to it may differ",
            RemoteError::Instance { .. } => "pass the instance name that the remote was set up with",
            RemoteError::NoExecution { .. } => "use it as a cache only, or pass another address for execution",
            RemoteError::ReadOnly { .. } => "use this cache for reading only",
            RemoteError::HashMismatch { .. } => {
                "none of it was used: check the remote, and any proxy in between, for damaged data"
            }
            RemoteError::Missing { .. } => "give the remote more space: it deletes blobs that are still in use",
            RemoteError::TooLarge { .. } => "raise the limit, or compile this one locally",
            RemoteError::MissingOutput { .. } => {
                "check that the tool writes there; remotes of API 2.0 ignore outputs that are not files"
            }
            RemoteError::Failed { .. } => "run the same command on this machine to see more",
            RemoteError::Deadline { deadline: Deadline::Action, .. } => "allow the action a longer timeout",
            RemoteError::Deadline { deadline: Deadline::Queue, .. } => {
                "check that there are workers with the action's platform properties: without one, a remote may queue forever"
            }
            RemoteError::Deadline { deadline: Deadline::QueueAndAction, .. } => {
                "check that the remote still runs; if so, allow more time for queue and action"
            }
            RemoteError::Deadline { deadline: Deadline::Total, .. } => "allow more time for the whole execution",
            RemoteError::Deadline { deadline: Deadline::TotalInQueue, .. } => {
                "check that there are enough workers with the action's platform properties; if so, allow more time for \
                 the whole execution"
            }
            RemoteError::TooManyRetries { .. } => "check the remote's log, and any proxy in between",
            RemoteError::Refused { .. } => "look at the remote's log: the text after the code is its own",
            RemoteError::InvalidResponse { .. } => "check that the address is one of a Remote Execution API server",
            RemoteError::Cancelled => return None,
        };
        Some(hint.to_owned())
    }
}
