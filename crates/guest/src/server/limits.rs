//! What the server allows clients and guests, with defaults that are safe on the internet. In: numbers of a settings file, if
//! there is one. Out: two sets of limits, one of the whole server, one of a route. Never here: what an instance may use, which
//! are [`crate::Limits`].

use crate::Limits;
use crate::limits::units;
use serde::Deserialize;
use std::time::Duration;

/// Limits of the whole server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct ServerLimits {
    /// Connections that are open at once. Others wait in the system's queue.
    #[serde(deserialize_with = "units::count")]
    pub connections: usize,
    /// The largest head of a request, in bytes.
    #[serde(deserialize_with = "units::size")]
    pub header_size: usize,
    /// How long a client may take for the head of a request.
    #[serde(deserialize_with = "units::time")]
    pub header_time: Duration,
    /// How long a connection stays open without a request.
    #[serde(deserialize_with = "units::time")]
    pub idle_time: Duration,
    /// Requests at once on one HTTP/2 connection.
    #[serde(deserialize_with = "units::count")]
    pub streams: u32,
    /// How long requests may take to end once the server was told to end.
    #[serde(deserialize_with = "units::time")]
    pub drain_time: Duration,
}

impl Default for ServerLimits {
    fn default() -> ServerLimits {
        ServerLimits {
            connections: 1000,
            header_size: 32 << 10,
            header_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(60),
            streams: 100,
            drain_time: Duration::from_secs(30),
        }
    }
}

/// Limits of one route.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct RouteLimits {
    /// Requests that are answered at once.
    #[serde(deserialize_with = "units::count")]
    pub requests: usize,
    /// Requests beyond these that wait for their turn; more are refused with 503.
    #[serde(deserialize_with = "units::count_or_none")]
    pub waiting: usize,
    /// How long a request waits for its turn before it is refused with 503.
    #[serde(deserialize_with = "units::time")]
    pub waiting_time: Duration,
    /// The largest body of a request, in bytes.
    #[serde(deserialize_with = "units::size")]
    pub request_size: usize,
    /// How long a guest may take for the head of its response.
    #[serde(deserialize_with = "units::time")]
    pub request_time: Duration,
    /// How long a body, of the request or of the response, may stand still.
    #[serde(deserialize_with = "units::time")]
    pub body_idle_time: Duration,
    /// How long a request and its response may take together.
    #[serde(deserialize_with = "units::time")]
    pub total_time: Duration,
    /// How much of what its guests print is logged, in bytes a second; the rest is counted and dropped.
    #[serde(deserialize_with = "units::size")]
    pub log_rate: usize,
}

impl Default for RouteLimits {
    fn default() -> RouteLimits {
        RouteLimits {
            requests: 256,
            waiting: 1024,
            waiting_time: Duration::from_secs(5),
            request_size: 16 << 20,
            request_time: Duration::from_secs(30),
            body_idle_time: Duration::from_secs(30),
            total_time: Duration::from_secs(600),
            log_rate: 64 << 10,
        }
    }
}

/// What each instance may have open at once. Each open file is a descriptor of the server's, and each header and body memory of
/// the server's that does not count as the instance's.
const HANDLES: u64 = 1_000;

/// What each instance may use up where its route states nothing else.
pub fn instance_limits() -> Limits {
    Limits {
        max_memory: Some(256 << 20),
        max_table_elements: Some(1_000_000),
        max_instances: Some(100),
        max_stack: Some(512 << 10),
        max_handles: Some(HANDLES),
        max_keyvalue: Some(16 << 20),
        ..Limits::default()
    }
}
