//! How a registry is reached. In: what the user chose. Out: nothing else: no default reads the environment.

use std::path::PathBuf;
use std::time::Duration;

/// How a registry is reached.
#[derive(Clone, Debug)]
pub struct Options {
    /// Without TLS, which is for registries on this machine only.
    pub plain_http: bool,
    /// PEM files with certificates that are trusted beside the system's.
    pub ca_certificates: Vec<PathBuf>,
    /// The directory with docker's `config.json` [default: `$DOCKER_CONFIG`, then `~/.docker`].
    pub docker_config: Option<PathBuf>,
    /// Hosts beside the registry's own that may see the user's credentials for it because they give out its access
    /// tokens, as `HOST` or `HOST:PORT`. Docker Hub's is known.
    pub token_hosts: Vec<String>,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long a registry may send nothing, and the time over which a blob must have come with a kibibyte a second.
    pub idle_timeout: Duration,
    /// How long a document may take from its first byte to its last: an index, a manifest, a list, a token, a refusal.
    /// They are small; one that comes drop by drop comes from a registry that holds its clients up.
    pub document_timeout: Duration,
    /// How often, and for how long, a failed request is repeated.
    pub retry: Retry,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            plain_http: false,
            ca_certificates: Vec::new(),
            docker_config: None,
            token_hosts: Vec::new(),
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            document_timeout: Duration::from_secs(60),
            retry: Retry::default(),
        }
    }
}

/// How often, and for how long, a failed request is repeated: after connections and streams that end too early, and
/// after the answers 429 and 5xx.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// How often one thing is attempted without getting any further.
    pub tries_max: u32,
    /// The first pause; each is twice the one before, and up to half of it is random.
    pub pause_first: Duration,
    /// The longest pause.
    pub pause_max: Duration,
    /// The sum of all pauses for one thing. A registry that requests a longer one (`Retry-After`) gets no further attempt.
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
