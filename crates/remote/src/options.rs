//! In: a user's settings of a remote. Out: the same as one value, with the defaults. Never here: a connection.

use crate::address::Address;
use crate::error::RemoteError;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Where a remote is, who we are, and how patient.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where blobs are: `grpc://` or `grpcs://` with host and port.
    pub cas: String,
    /// Where results of actions are.
    pub action_cache: String,
    /// Where actions are executed; `None` when only the cache is wanted.
    pub execution: Option<String>,
    /// The tenant on the remote. Many have one without a name.
    pub instance_name: String,
    /// How the remote and we prove who we are.
    pub tls: Tls,
    /// Headers sent with every call.
    pub headers: Vec<Header>,
    /// What the remote's logs call us.
    pub tool: Tool,
    /// How long an idle connection with calls under way may be silent before it is asked whether it is alive.
    /// Servers hang up on clients that ask more often than they like (gRPC's own: several times within five minutes);
    /// such a call is taken up again, but below ten seconds it is more often hung up on than it gets anywhere.
    pub keepalive: Option<Duration>,
    /// How long to wait for what.
    pub deadlines: Deadlines,
    /// How often to try again.
    pub retry: Retry,
    /// Execute also what the cache has. The result replaces the cached one.
    pub skip_cache_lookup: bool,
    /// The largest blob that is downloaded.
    pub blob_size_bytes_max: u64,
}

impl Options {
    /// One address for everything, execution included.
    pub fn new(url: impl Into<String>) -> Options {
        let url = url.into();
        Options {
            cas: url.clone(),
            action_cache: url.clone(),
            execution: Some(url),
            instance_name: String::new(),
            tls: Tls::default(),
            headers: Vec::new(),
            tool: Tool::default(),
            keepalive: Some(Duration::from_secs(60)),
            deadlines: Deadlines::default(),
            retry: Retry::default(),
            skip_cache_lookup: false,
            blob_size_bytes_max: 2 << 30,
        }
    }
}

impl Options {
    fn urls(&self) -> impl Iterator<Item = &String> {
        [&self.cas, &self.action_cache].into_iter().chain(&self.execution)
    }

    /// The first address, on another machine, to which the headers go so that anyone on the network path can read them.
    pub fn headers_in_the_clear(&self) -> Option<&str> {
        let clear = |url: &&String| Address::parse(url).is_ok_and(|address| !address.tls && !address.is_loopback());
        self.urls().find(clear).filter(|_| !self.headers.is_empty()).map(String::as_str)
    }

    /// Refuses certificates that no address uses: a caller who passes them relies on TLS.
    pub(crate) fn check_tls_is_used(&self) -> Result<(), RemoteError> {
        let what = self.tls.files();
        if what.is_empty() && self.tls.server_name.is_none() {
            return Ok(());
        }
        for url in self.urls() {
            if Address::parse(url)?.tls {
                return Ok(());
            }
        }
        let (scheme, rest) = self.cas.split_once("://").expect("it was parsed");
        let hint = format!("write `{}s://{rest}` for TLS, or leave them out", scheme.to_ascii_lowercase());
        let reason = format!("unused, since `{}` is without TLS", self.cas);
        Err(RemoteError::Options { what, reason, hint: Some(hint) })
    }
}

/// Certificates, all PEM. For `grpcs://`; refused where no address is one.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Authorities to trust instead of the system's.
    pub ca_files: Vec<PathBuf>,
    /// Our certificate and its key, for remotes that require one (mTLS).
    pub client: Option<ClientCertificate>,
    /// The name that the remote's certificate must have, when it is not the host of the address.
    pub server_name: Option<String>,
}

impl Tls {
    /// The files, of which the TLS library does not say which it cannot use; empty when there are none.
    pub(crate) fn files(&self) -> String {
        let client = self.client.iter().flat_map(|client| [&client.certificate, &client.key]);
        let paths: Vec<_> = self.ca_files.iter().chain(client).map(|path| path.display().to_string()).collect();
        if paths.is_empty() { String::new() } else { format!("certificates and keys ({})", paths.join(", ")) }
    }
}

/// A certificate with its private key.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// The certificate, and those between it and the authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// A header. Its value may be a secret and is never printed.
#[derive(Clone)]
pub struct Header {
    /// Its name, in any case.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl Header {
    /// `authorization: Bearer TOKEN`
    pub fn bearer(token: &str) -> Header {
        Header { name: "authorization".to_owned(), value: format!("Bearer {token}") }
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: …", self.name)
    }
}

/// What calls carry as `requestmetadata-bin`.
#[derive(Clone, Debug, Default)]
pub struct Tool {
    /// The program's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What all calls of one run have in common.
    pub invocation_id: String,
}

/// How long to wait. A queue's time is never counted as an action's: a busy farm is not a slow action.
#[derive(Clone, Debug)]
pub struct Deadlines {
    /// Until a connection is made and the remote has reported its capabilities.
    pub connect: Duration,
    /// Until a call is answered, or until the next bytes of a blob arrive. Then it is tried again.
    pub call: Duration,
    /// How long an action may wait for a worker, from each time that it is queued, and while no worker has any other
    /// action of ours: a queue that moves may be long.
    pub queue: Duration,
    /// What a worker may need for fetching inputs and storing outputs, beyond the action's own timeout.
    pub transfer: Duration,
    /// How long one execution may take in all: uploads, queue, retries and downloads. Nor may the remote need longer to
    /// say what it can do.
    pub total: Duration,
}

impl Default for Deadlines {
    fn default() -> Deadlines {
        Deadlines {
            connect: Duration::from_secs(10),
            call: Duration::from_secs(60),
            queue: Duration::from_secs(15 * 60),
            transfer: Duration::from_secs(2 * 60),
            total: Duration::from_secs(60 * 60),
        }
    }
}

/// How often to try again what may well work the next time.
#[derive(Clone, Debug)]
pub struct Retry {
    /// How many times in a row something may fail before it is given up, the first included.
    pub attempts_max: u32,
    /// For how long it may go on failing.
    pub time_max: Duration,
    /// The first pause. Each is twice the last, and a random part of that is waited.
    pub pause_first: Duration,
    /// The longest pause, unless the remote itself requests more.
    pub pause_max: Duration,
    /// How many times all inputs are uploaded again because the remote says that some are missing.
    pub uploads_max: u32,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry {
            attempts_max: 6,
            time_max: Duration::from_secs(2 * 60),
            pause_first: Duration::from_millis(200),
            pause_max: Duration::from_secs(10),
            uploads_max: 3,
        }
    }
}
