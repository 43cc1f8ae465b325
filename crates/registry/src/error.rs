//! Why a registry did not do what was asked of it. Each says what was asked, what was found and what was expected.

use crate::ReferenceError;
use isomer_contract::limits::SIGNATURES_MAX;
use isomer_contract::{Digest, Hinted};
use isomer_layout::{LayoutError, SourceError};
use std::path::PathBuf;
use std::time::Duration;

/// Why a registry did not do what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// What was typed, or follows from it, names nothing.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A reference with neither tag nor digest where one of them is needed.
    #[error("`{0}` names neither a tag nor a digest")]
    NoTag(String),
    /// Passwords and modules would cross a network in the clear.
    #[error("plain HTTP is for registries on this machine, and `{0}` is none: expected localhost, 127.0.0.0/8 or ::1")]
    PlainHttp(String),
    /// A file with CA certificates can't be used.
    #[error("can't use `{}` as CA certificates: {reason}", .file.display())]
    CaCertificates {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Docker's configuration can't be used.
    #[error("can't find the credentials for `{host}` through `{}`: {reason}", .file.display())]
    Credentials {
        /// The registry.
        host: String,
        /// The configuration.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// This machine lacks what every connection needs.
    #[error("can't prepare connections: {0}")]
    Setup(String),
    /// A request failed, after as many tries as were worth it.
    #[error("can't {doing}: {problem}{}", tried(*.tries))]
    Transfer {
        /// What was to be done, a verb and its object.
        doing: String,
        /// What went wrong the last time.
        problem: Box<Problem>,
        /// How often it was tried.
        tries: u32,
    },
    /// What was to be pushed is damaged.
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

/// What went wrong with one request.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The registry refused.
    #[error("`{host}`{} answered {status}{message}", .redirected_by.as_deref().map_or_else(String::new, |it| format!(", to which `{it}` redirects,")))]
    Status {
        /// Who answered.
        host: String,
        /// The registry, when it is not the one who answered.
        redirected_by: Option<String>,
        /// The HTTP status, its number and words.
        status: reqwest::StatusCode,
        /// The registry's own words in parentheses, or nothing.
        message: String,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
        /// Whether credentials were shown to it.
        authorized: bool,
    },
    /// No connection, or it broke.
    #[error("the connection to `{host}` failed: {reason}")]
    Connection {
        /// The host.
        host: String,
        /// The system's words.
        reason: String,
    },
    /// The host speaks no TLS, or is not who it should be.
    #[error("no TLS connection to `{host}`: {reason}")]
    Tls {
        /// The host.
        host: String,
        /// What is wrong, its certificate for example.
        reason: String,
    },
    /// Whoever gives out the registry's access tokens gave none.
    #[error("`{realm}` gave no access to `{host}`: {status}{message}")]
    Login {
        /// The registry.
        host: String,
        /// Who gives out its tokens.
        realm: String,
        /// The HTTP status.
        status: reqwest::StatusCode,
        /// Its own words in parentheses, or nothing.
        message: String,
    },
    /// A body that ended too early.
    #[error("the connection was lost after {received_bytes} of {expected_bytes} bytes")]
    Cut {
        /// How many bytes came.
        received_bytes: u64,
        /// How many were to come.
        expected_bytes: u64,
    },
    /// Nothing came for too long.
    #[error("`{host}` said nothing for {} seconds", .idle.as_secs_f64())]
    Silent {
        /// The host.
        host: String,
        /// How long.
        idle: Duration,
    },
    /// Bytes come, but so few that there would be no end.
    #[error("`{host}` sent {received_bytes} bytes in {} seconds, which is too slow", .after.as_secs())]
    Slow {
        /// The host.
        host: String,
        /// How many bytes came.
        received_bytes: u64,
        /// In what time.
        after: Duration,
    },
    /// More bytes than promised or allowed; the rest was not read.
    #[error("more than the {limit_bytes} bytes came that were expected")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// A description that promises more than anybody reads.
    #[error("it is said to have {found_bytes} bytes, expected at most {limit_bytes}")]
    Claim {
        /// The size in the descriptor.
        found_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// Another size than promised.
    #[error("{found_bytes} bytes came, expected {expected_bytes}")]
    Size {
        /// How many came.
        found_bytes: u64,
        /// How many should.
        expected_bytes: u64,
    },
    /// Other bytes than promised.
    #[error("other bytes came: their digest is {found}, expected {expected}")]
    Digest {
        /// The digest of what came.
        found: Digest,
        /// The digest that it was asked for by.
        expected: Digest,
    },
    /// A redirect that is not followed.
    #[error("it redirects {0}")]
    Redirect(String),
    /// An answer that no registry gives.
    #[error("`{host}` does not speak as a registry does: {reason}")]
    Protocol {
        /// The host.
        host: String,
        /// What was found and expected.
        reason: String,
    },
    /// A document that does not parse.
    #[error("what came is malformed: {0}")]
    Malformed(String),
    /// More signatures than are read.
    #[error("the registry lists {0} of them, expected at most {SIGNATURES_MAX}")]
    TooManySignatures(usize),
    /// What is to be sent is damaged.
    #[error(transparent)]
    Layout(LayoutError),
    /// What comes can't be kept.
    #[error("the file that is to hold it can't be written: {0}")]
    File(std::io::Error),
}

impl Problem {
    /// Whether it may go better another time.
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
}

impl Hinted for Problem {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Problem::Status { redirected_by: Some(_), .. } => {
                "the storage behind the registry refuses, not the registry: ask whoever runs it"
            }
            Problem::Status { message, .. } if message.contains("to an HTTPS server") => {
                "this registry speaks TLS: leave out --plain-http"
            }
            Problem::Status { status, authorized, host, .. } => match (status.as_u16(), authorized) {
                (401 | 403, false) => {
                    return Some(format!("`docker login {host}` writes credentials to where they are looked for"));
                }
                (401, true) => {
                    return Some(format!("it does not take these credentials: `docker login {host}` replaces them"));
                }
                (403, _) => "these credentials do not suffice for this repository: ask whoever runs the registry",
                (404, _) => "are the repository and the tag spelled right, and was all of it pushed?",
                (429, _) => "it wants fewer requests: try again later",
                (500.., _) => "that is the registry's own failure: its log says more",
                _ => "no registry answers so: is it one, or is something between?",
            },
            Problem::Login { host, .. } => {
                return Some(format!("`docker login {host}` writes credentials to where they are looked for"));
            }
            // What rustls says of an answer in plain HTTP.
            Problem::Tls { reason, .. } if reason.contains("corrupt message") => {
                "a registry without TLS, on this machine only, is reached with --plain-http"
            }
            Problem::Tls { .. } => "--ca-cert FILE names a CA that is believed beside the system's",
            Problem::Layout(error) => return error.hint(),
            Problem::Connection { .. } => "does the registry run, and can this machine reach it?",
            Problem::Silent { .. } | Problem::Slow { .. } => "is the registry, or the network to it, overloaded?",
            Problem::Digest { .. }
            | Problem::TooLarge { .. }
            | Problem::Size { .. }
            | Problem::Claim { .. }
            | Problem::Malformed(_) => {
                "the registry, or something between, is damaged or hostile: nothing of this was used"
            }
            Problem::Cut { .. } => "what came so far is kept where the other side can go on from it: try again",
            Problem::Redirect(_) => "only redirects to https:// are followed, and few: ask whoever runs the registry",
            Problem::Protocol { .. } => "is that the address of a registry? they answer below `/v2/`",
            Problem::TooManySignatures(_) => "anybody who may write there can add some: ask whoever runs the registry",
            Problem::File(_) => "is there room, and may you write there?",
        };
        Some(hint.to_owned())
    }
}

impl Hinted for RegistryError {
    fn hint(&self) -> Option<String> {
        match self {
            RegistryError::Reference(error) => error.hint(),
            RegistryError::NoTag(reference) => Some(format!("add one, as in `{reference}:1.4.0`")),
            RegistryError::PlainHttp(_) => {
                Some("leave out --plain-http, and give the registry a certificate".to_owned())
            }
            RegistryError::CaCertificates { .. } => {
                Some("expected a PEM file with one or more `BEGIN CERTIFICATE` in it".to_owned())
            }
            RegistryError::Credentials { host, .. } => Some(format!("`docker login {host}` writes them anew")),
            RegistryError::Setup(_) => {
                Some("Debian's package ca-certificates has what most machines believe".to_owned())
            }
            RegistryError::Transfer { problem, .. } => problem.hint(),
            RegistryError::Layout(error) => error.hint(),
        }
    }
}

impl From<RegistryError> for SourceError {
    fn from(error: RegistryError) -> SourceError {
        SourceError { message: error.to_string(), hint: error.hint(), source: None }
    }
}
