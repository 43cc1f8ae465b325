//! How a registry is spoken to. In: what a person chose. Out: nothing else: no default reads the environment.

use std::path::PathBuf;
use std::time::Duration;

/// How a registry is spoken to.
#[derive(Clone, Debug)]
pub struct Options {
    /// Without TLS, which is for registries on this machine only.
    pub plain_http: bool,
    /// PEM files with certificates that are believed beside the system's.
    pub ca_certificates: Vec<PathBuf>,
    /// The directory with docker's `config.json` [default: `$DOCKER_CONFIG`, then `~/.docker`].
    pub docker_config: Option<PathBuf>,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long a registry may say nothing, and in what time it must send at least a kibibyte for each second of a blob.
    pub idle_timeout: Duration,
    /// How long a document may take from its first byte to its last: an index, a manifest, a list, a token, a refusal.
    /// They are small; only who wants to hold us up sends one drop by drop.
    pub document_timeout: Duration,
    /// How often, and for how long, what failed is tried again.
    pub retry: Retry,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            plain_http: false,
            ca_certificates: Vec::new(),
            docker_config: None,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            document_timeout: Duration::from_secs(60),
            retry: Retry::default(),
        }
    }
}

/// How often, and for how long, what failed is tried again: connections, streams that end too early, and the answers
/// 429 and 5xx.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// How often one thing is tried without getting any further.
    pub tries_max: u32,
    /// The first pause; each is twice the one before, and up to half of it is left to chance.
    pub pause_first: Duration,
    /// The longest pause.
    pub pause_max: Duration,
    /// How long all pauses for one thing may be together. A registry that asks for more (`Retry-After`) is not asked
    /// again.
    pub pauses_max: Duration,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry {
            tries_max: 5,
            pause_first: Duration::from_millis(250),
            pause_max: Duration::from_secs(15),
            pauses_max: Duration::from_secs(120),
        }
    }
}
