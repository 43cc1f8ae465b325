//! Why a registry did not do what was requested. Each error says what was requested, what was found and what was expected.

use crate::ReferenceError;
use isomer_contract::{Digest, Hinted};
use isomer_layout::{LayoutError, SourceError};
use jiff::SignedDuration;
use reqwest::StatusCode;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Why a registry did not do what was requested.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Text that is not a valid reference.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A reference with neither tag nor digest where one of them is required.
    #[error("`{0}` has neither a tag nor a digest")]
    NoTag(String),
    /// A tag that names another version than the module's.
    #[error("`{reference}` would name the version {version} of the module")]
    OtherVersion {
        /// The reference to push to.
        reference: String,
        /// The version that the module declares.
        version: String,
    },
    /// Passwords and modules would cross a network in the clear.
    #[error("plain HTTP is for registries on this machine: expected localhost, 127.0.0.0/8 or ::1, found `{0}`")]
    PlainHttp(String),
    /// A file with CA certificates cannot be used.
    #[error("cannot use `{}` as CA certificates: {reason}", .file.display())]
    CaCertificates {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Docker's configuration cannot be used.
    #[error("cannot read the credentials for `{host}` through `{}`: {reason}", .file.display())]
    Credentials {
        /// The registry.
        host: String,
        /// The configuration.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// This machine lacks what every connection needs.
    #[error("cannot prepare connections: {0}")]
    Setup(String),
    /// A request failed, after as many attempts as were useful.
    #[error("cannot {doing}{}", tried(*.tries))]
    Transfer {
        /// What was to be done, a verb and its object.
        doing: String,
        /// What was wrong with the last attempt.
        #[source]
        problem: Box<Problem>,
        /// How many attempts were made.
        tries: u32,
    },
    /// The release to be pushed is damaged.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

impl RegistryError {
    /// That `problem` ended what was `doing`.
    pub(crate) fn transfer(doing: impl Into<String>, problem: Problem, tries: u32) -> RegistryError {
        RegistryError::Transfer { doing: doing.into(), problem: Box::new(problem), tries }
    }
}

fn tried(tries: u32) -> String {
    if tries > 1 { format!(" (tried {tries} times)") } else { String::new() }
}

/// The text of an answer that is not a success, as the OCI distribution specification defines it or as plain text.
/// Empty where the answer has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The specification's codes, `TAG_INVALID` for example.
    pub codes: Vec<String>,
    /// Codes and messages, for people.
    pub words: String,
}

impl Refusal {
    pub(crate) fn has_code(&self, code: &str) -> bool {
        self.codes.iter().any(|found| found == code)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.words.is_empty() { Ok(()) } else { write!(f, " ({})", self.words) }
    }
}

/// What was wrong with one request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The registry refused.
    #[error("`{host}`{} answered {status}{refusal}", .redirected_by.as_deref().map_or_else(String::new, |it| format!(", to which `{it}` redirects,")))]
    Status {
        /// The host that answered.
        host: String,
        /// The registry, when another host answered.
        redirected_by: Option<String>,
        /// The HTTP status, its number and words.
        status: StatusCode,
        /// The registry's own words.
        refusal: Refusal,
        /// The pause that it requests.
        retry_after: Option<Duration>,
        /// Whether the request had credentials.
        authorized: bool,
    },
    /// The tag names other content, and is not to be moved.
    #[error("the tag exists with other content, {found}{}", .refusal.as_ref().map_or_else(String::new, |refusal| format!(", and the registry does not move it{refusal}")))]
    TagExists {
        /// The digest that the registry declares for that content.
        found: String,
        /// The registry's own words, where it refused; none where it was not asked.
        refusal: Option<Refusal>,
    },
    /// No connection, or one that broke.
    #[error("the connection to `{host}` failed: {reason}")]
    Connection {
        /// The host.
        host: String,
        /// The system's words.
        reason: String,
    },
    /// The host has no TLS, or is not the one it should be.
    #[error("no TLS connection to `{host}`: {reason}")]
    Tls {
        /// The host.
        host: String,
        /// What is wrong, its certificate for example.
        reason: String,
    },
    /// The registry's token service gave no access token.
    #[error("`{realm}` gave no access to `{host}`: {status}{refusal}")]
    Login {
        /// The registry.
        host: String,
        /// Its token service.
        realm: String,
        /// The HTTP status.
        status: StatusCode,
        /// Its own words.
        refusal: Refusal,
    },
    /// The registry names a token service on a host that is not known to be its own: it was not sent the credentials.
    #[error("`{host}` requires the credentials to be sent to another host, `{token_host}`")]
    TokenHost {
        /// The registry.
        host: String,
        /// The host of its token service.
        token_host: String,
    },
    /// The token service redirects, and would have got the credentials again elsewhere.
    #[error("`{realm}` redirects the request for an access token to `{to}`")]
    TokenRedirect {
        /// The token service.
        realm: String,
        /// The URL that it redirects to.
        to: String,
    },
    /// A body that ended too early.
    #[error("the connection was lost after {received_bytes} of {expected_bytes} bytes")]
    Cut {
        /// How many bytes were received.
        received_bytes: u64,
        /// How many were expected.
        expected_bytes: u64,
    },
    /// Nothing was received for too long.
    #[error("`{host}` sent nothing for {}", shown(*.idle))]
    Silent {
        /// The host.
        host: String,
        /// How long.
        idle: Duration,
    },
    /// So few bytes are received that there would be no end.
    #[error("`{host}` sent {received_bytes} bytes in {} seconds, which is too slow", .after.as_secs())]
    Slow {
        /// The host.
        host: String,
        /// How many bytes were received.
        received_bytes: u64,
        /// In what time.
        after: Duration,
    },
    /// More bytes than declared or allowed; the rest was not read.
    #[error("expected at most {limit_bytes} bytes, and more were received")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// A descriptor that declares a larger size than is read.
    #[error("its descriptor declares {found_bytes} bytes, expected at most {limit_bytes}")]
    Claim {
        /// The size in the descriptor.
        found_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// Another size than declared.
    #[error("expected {expected_bytes} bytes, found {found_bytes}")]
    Size {
        /// How many were received.
        found_bytes: u64,
        /// How many were declared.
        expected_bytes: u64,
    },
    /// Other bytes than requested.
    #[error("expected bytes with the digest {expected}, found {found}")]
    Digest {
        /// The digest of the bytes that were received.
        found: Digest,
        /// The digest that was requested.
        expected: Digest,
    },
    /// A redirect that is not followed.
    #[error("it redirects {0}")]
    Redirect(String),
    /// An answer that is not a registry's.
    #[error("`{host}` does not answer as a registry does: {reason}")]
    Protocol {
        /// The host.
        host: String,
        /// What was found and expected.
        reason: String,
    },
    /// A document that does not parse.
    #[error("the document is malformed: {0}")]
    Malformed(String),
    /// The release to be sent is damaged.
    #[error(transparent)]
    Layout(LayoutError),
    /// The file for what is received cannot be written.
    #[error("cannot write the file that is to hold it")]
    File(#[source] std::io::Error),
}

fn shown(duration: Duration) -> String {
    SignedDuration::try_from(duration).map_or_else(|_| format!("{duration:?}"), |duration| format!("{duration:#}"))
}

impl Problem {
    /// Whether another attempt may succeed.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Problem::Status { status, .. } | Problem::Login { status, .. } => {
                status.as_u16() == 429 || status.is_server_error()
            }
            Problem::Connection { .. } | Problem::Cut { .. } | Problem::Silent { .. } | Problem::Slow { .. } => true,
            _ => false,
        }
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Problem::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The HTTP status, where the registry answered with one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Problem::Status { status, .. } => Some(status.as_u16()),
            _ => None,
        }
    }

    /// Whether the registry, reached without TLS, answered that it has TLS.
    pub fn is_plain_http_to_tls(&self) -> bool {
        matches!(self, Problem::Status { refusal, .. } if refusal.words.contains("to an HTTPS server"))
    }

    /// Whether it is a refusal for good, of something that may exist.
    pub(crate) fn is_refusal(&self) -> bool {
        self.status().is_some_and(|status| (400..500).contains(&status) && !matches!(status, 404 | 408 | 429))
    }

    /// Whether the registry, reached with TLS, answered in plain HTTP.
    pub fn is_tls_to_plain_http(&self) -> bool {
        // rustls's words for an answer in plain HTTP.
        matches!(self, Problem::Tls { reason, .. } if reason.contains("corrupt message"))
    }
}

impl Hinted for Problem {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Problem::Status { redirected_by: Some(_), .. } => {
                "the storage behind the registry refuses, not the registry: ask its operator"
            }
            Problem::Status { .. } if self.is_plain_http_to_tls() => "this registry has TLS: reach it with TLS",
            Problem::Status { status, authorized, host, refusal, .. } => match (status.as_u16(), authorized) {
                (401 | 403, false) => return Some(log_in(host)),
                (401, true) => {
                    return Some(format!("it does not accept these credentials: `docker login {host}` replaces them"));
                }
                (403, _) => "these credentials do not suffice for this repository: ask the registry's operator",
                (404, _) if refusal.codes.iter().any(|code| code == "NAME_UNKNOWN") => {
                    "check the spelling of the repository; some registries require that it is created before a push"
                }
                (404, _) => "check the spelling of the repository and the tag, and that all of it was pushed",
                (429, _) => "the registry limits requests: try again later",
                (500.., _) => "the registry failed: its log says more",
                _ if !refusal.codes.is_empty() => "a rule of the registry forbids it: ask its operator",
                _ => "no registry answers like this: check the address, and any proxy in between",
            },
            Problem::TagExists { .. } => "raise the version: servers that pulled this one keep what they have",
            Problem::Login { host, .. } => return Some(log_in(host)),
            Problem::TokenHost { token_host, .. } => {
                return Some(format!(
                    "if the registry's documentation names `{token_host}`, allow it; otherwise keep your credentials \
                     from both"
                ));
            }
            Problem::TokenRedirect { .. } => {
                "requests for tokens hold credentials and are not redirected: ask the registry's operator for the \
                 address of its token service"
            }
            Problem::Tls { .. } if self.is_tls_to_plain_http() => {
                "a registry without TLS must be on this machine, and is reached in plain HTTP"
            }
            Problem::Tls { .. } => "a certificate of a private CA is trusted where the CA's certificate is named",
            Problem::Layout(error) => return error.hint(),
            Problem::Connection { .. } => "check that the registry runs, and that this machine can reach it",
            Problem::Silent { .. } | Problem::Slow { .. } => "the registry, or the network to it, may be overloaded",
            Problem::Digest { .. }
            | Problem::TooLarge { .. }
            | Problem::Size { .. }
            | Problem::Claim { .. }
            | Problem::Malformed(_) => {
                "the registry, or a proxy in between, is damaged or hostile: none of this was used"
            }
            Problem::Cut { .. } => "the part that was received is kept where the registry can resume it: try again",
            Problem::Redirect(_) => "only a few redirects, to https://, are followed: ask the registry's operator",
            Problem::Protocol { .. } => "check that this is the address of a registry: they answer below `/v2/`",
            Problem::File(_) => "check the free space and the permissions",
        };
        Some(hint.to_owned())
    }
}

/// Docker's command is named because docker's configuration is read.
fn log_in(host: &str) -> String {
    format!("`docker login {host}` writes credentials to docker's configuration")
}

impl Hinted for RegistryError {
    fn hint(&self) -> Option<String> {
        match self {
            RegistryError::Reference(error) => error.hint(),
            RegistryError::NoTag(reference) => Some(format!("add one, as in `{reference}:1.4.0`")),
            RegistryError::OtherVersion { version, .. } => Some(format!(
                "expected the tag `{version}`, or one that names no version and begins with a letter, as `stable` does"
            )),
            RegistryError::PlainHttp(_) => Some("give the registry a certificate, and reach it with TLS".to_owned()),
            RegistryError::CaCertificates { .. } => {
                Some("expected a PEM file with one or more `BEGIN CERTIFICATE` in it".to_owned())
            }
            RegistryError::Credentials { host, .. } => Some(format!("`docker login {host}` writes them anew")),
            RegistryError::Setup(_) => Some("Debian's package ca-certificates has what most machines trust".to_owned()),
            RegistryError::Transfer { problem, .. } => problem.hint(),
            RegistryError::Layout(error) => error.hint(),
        }
    }
}

/// The [`Problem`] of a transfer is the source.
impl From<RegistryError> for SourceError {
    fn from(error: RegistryError) -> SourceError {
        let (message, hint) = (error.to_string(), error.hint());
        match error {
            RegistryError::Transfer { problem, .. } => SourceError { message, hint, source: Some(problem) },
            _ => SourceError { message, hint, source: None },
        }
    }
}
