//! In: an endpoint. Out: the limits that the remote states for our instance, or why it cannot be used. Never here: a
//! guess what a server may support.

use crate::channel::{Endpoint, inner, within};
use crate::error::RemoteError;
use crate::retry::{Budget, words};
use bazel_remote_apis::build::bazel::remote::execution::v2 as reapi;
use bazel_remote_apis::build::bazel::remote::execution::v2::capabilities_client::CapabilitiesClient;
use bazel_remote_apis::build::bazel::semver::SemVer;
use isomer_contract::{chain, one_line};
use tonic::{Code, Status};

/// The lowest and the highest version that this client speaks.
const SPOKEN: [(i32, i32); 2] = [(2, 0), (2, 12)];
/// What a remote takes that states no limit: the limit of gRPC itself.
const BATCH_BYTES_UNSTATED: u64 = 4 << 20;
/// Some remotes state the limit of the whole message, frame and digests included.
const BATCH_BYTES_MAX: u64 = 3_500 << 10;

const CALL: &str = "GetCapabilities";

/// What the address is wanted for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Use {
    Blobs,
    Results,
    Execution,
}

/// What the remote states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The most bytes of blobs in one message.
    pub(crate) batch_bytes_max: u64,
    /// The largest blob it takes.
    pub(crate) blob_bytes_max: u64,
    /// Whether it takes results.
    pub(crate) update_enabled: bool,
}

/// Asks, and checks the answer for every use of the address.
pub(crate) async fn check(endpoint: &Endpoint, instance: &str, uses: &[Use]) -> Result<Limits, RemoteError> {
    let answer = ask(endpoint, instance).await?;
    tracing::debug!(url = endpoint.url, ?answer, "capabilities");
    limits(&endpoint.url, &answer, uses)
}

async fn ask(endpoint: &Endpoint, instance: &str) -> Result<reapi::ServerCapabilities, RemoteError> {
    let mut client = CapabilitiesClient::new(endpoint.channel.clone());
    let mut budget = Budget::new(&endpoint.retry);
    loop {
        let message = reapi::GetCapabilitiesRequest { instance_name: instance.to_owned() };
        let answer = client.get_capabilities(endpoint.request(message, None));
        let status = match within(endpoint.deadlines.connect, answer).await {
            Ok(response) => return Ok(inner(response)),
            Err(status) => status,
        };
        let url = endpoint.url.clone();
        if let Some(reason) = tls_failure(&status) {
            return Err(RemoteError::Tls { url, reason });
        }
        // The request says nothing but the name of the instance: nothing else in it can be wrong.
        if matches!(status.code(), Code::InvalidArgument | Code::NotFound) {
            return Err(RemoteError::Instance { url, instance: instance.to_owned(), message: words(&status) });
        }
        budget.after(&endpoint.url, CALL, &status).await.map_err(|error| match error {
            RemoteError::TooManyRetries { .. } if is_unconnected(&status) => {
                RemoteError::Unreachable { url, reason: words(&status) }
            }
            RemoteError::TooManyRetries { .. } if is_unanswered(&status) => {
                RemoteError::Disconnected { url, tls: endpoint.tls, reason: words(&status) }
            }
            other => other,
        })?;
    }
}

fn is_unconnected(status: &Status) -> bool {
    chain(status).any(|cause| cause.is::<tonic::ConnectError>())
}

/// A server that misses our certificate, or that is not spoken to in TLS, just hangs up.
fn is_unanswered(status: &Status) -> bool {
    chain(status).any(|cause| cause.is::<tonic::transport::Error>())
}

/// No retry changes a certificate.
fn tls_failure(status: &Status) -> Option<String> {
    chain(status).find(|cause| cause.is::<rustls::Error>()).map(one_line)
}

fn limits(url: &str, answer: &reapi::ServerCapabilities, uses: &[Use]) -> Result<Limits, RemoteError> {
    version(url, answer)?;
    let cache = answer.cache_capabilities.clone().unwrap_or_default();
    let sha256 = reapi::digest_function::Value::Sha256 as i32;
    let hashed_by = |offered: &[i32]| {
        if offered.contains(&sha256) {
            return Ok(());
        }
        let names: Vec<_> = offered
            .iter()
            .map(|value| reapi::digest_function::Value::try_from(*value).map_or("unknown", |value| value.as_str_name()))
            .collect();
        let found = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Err(RemoteError::DigestFunction { url: url.to_owned(), found })
    };
    if uses.contains(&Use::Execution) {
        let no_execution = || RemoteError::NoExecution { url: url.to_owned() };
        let execution = answer.execution_capabilities.as_ref().ok_or_else(no_execution)?;
        if !execution.exec_enabled {
            return Err(no_execution());
        }
        // The list came with API 2.3.
        let mut offered = execution.digest_functions.clone();
        offered.push(execution.digest_function);
        offered.retain(|value| *value != 0);
        offered.dedup();
        hashed_by(&offered)?;
    }
    if uses.contains(&Use::Blobs) || uses.contains(&Use::Results) {
        hashed_by(&cache.digest_functions)?;
    }
    let stated = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
    Ok(Limits {
        batch_bytes_max: stated(cache.max_batch_total_size_bytes).unwrap_or(BATCH_BYTES_UNSTATED).min(BATCH_BYTES_MAX),
        blob_bytes_max: stated(cache.max_cas_blob_size_bytes).unwrap_or(u64::MAX),
        update_enabled: cache.action_cache_update_capabilities.is_some_and(|update| update.update_enabled),
    })
}

fn version(url: &str, answer: &reapi::ServerCapabilities) -> Result<(), RemoteError> {
    let pair = |version: &Option<SemVer>| version.as_ref().map(|version| (version.major, version.minor));
    let name = |version: Option<(i32, i32)>| {
        version.map_or("unstated".to_owned(), |(major, minor)| format!("{major}.{minor}"))
    };
    let (low, high) = (pair(&answer.low_api_version), pair(&answer.high_api_version));
    let [lowest, highest] = SPOKEN;
    if low.is_some_and(|low| low <= highest) && high.is_some_and(|high| high >= lowest) {
        return Ok(());
    }
    Err(RemoteError::Version {
        url: url.to_owned(),
        found: format!("{} to {}", name(low), name(high)),
        expected: format!("{} to {}", name(Some(lowest)), name(Some(highest))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> reapi::ServerCapabilities {
        let version = |major, minor| Some(SemVer { major, minor, ..SemVer::default() });
        reapi::ServerCapabilities {
            cache_capabilities: Some(reapi::CacheCapabilities {
                digest_functions: vec![2, 1],
                ..reapi::CacheCapabilities::default()
            }),
            execution_capabilities: Some(reapi::ExecutionCapabilities {
                digest_function: 1,
                exec_enabled: true,
                ..reapi::ExecutionCapabilities::default()
            }),
            low_api_version: version(2, 0),
            high_api_version: version(2, 3),
            ..reapi::ServerCapabilities::default()
        }
    }

    const ALL: [Use; 3] = [Use::Blobs, Use::Results, Use::Execution];

    fn batch_of(stated: i64) -> u64 {
        let mut answer = answer();
        answer.cache_capabilities.as_mut().unwrap().max_batch_total_size_bytes = stated;
        limits("x", &answer, &ALL).unwrap().batch_bytes_max
    }

    #[test]
    fn batches_are_never_larger_than_servers_take() {
        assert_eq!(batch_of(0), BATCH_BYTES_MAX);
        assert_eq!(batch_of(-1), BATCH_BYTES_MAX);
        assert_eq!(batch_of(3_145_728), 3_145_728);
        assert_eq!(batch_of(4_193_280), BATCH_BYTES_MAX);
        assert_eq!(batch_of(i64::MAX), BATCH_BYTES_MAX);
    }

    #[test]
    fn unusable_capabilities_are_refused() {
        type Change = fn(&mut reapi::ServerCapabilities);
        let text = |change: Change| {
            let mut answer = answer();
            change(&mut answer);
            limits("grpc://farm", &answer, &ALL).unwrap_err().to_string()
        };
        let cases: [(Change, &str); 7] = [
            (
                |answer| answer.low_api_version = Some(SemVer { major: 3, ..SemVer::default() }),
                "grpc://farm: speaks Remote Execution API 3.0 to 2.3, expected a range with a version in 2.0 to 2.12",
            ),
            (
                |answer| answer.high_api_version = Some(SemVer { major: 1, ..SemVer::default() }),
                "grpc://farm: speaks Remote Execution API 2.0 to 1.0, expected a range with a version in 2.0 to 2.12",
            ),
            (
                |answer| answer.low_api_version = None,
                "grpc://farm: speaks Remote Execution API unstated to 2.3, expected a range with a version in 2.0 to 2.12",
            ),
            (|answer| answer.cache_capabilities = None, "grpc://farm: expected the digest function SHA256, found none"),
            (
                |answer| answer.execution_capabilities.as_mut().unwrap().digest_function = 3,
                "grpc://farm: expected the digest function SHA256, found MD5",
            ),
            (
                |answer| answer.execution_capabilities.as_mut().unwrap().exec_enabled = false,
                "grpc://farm: does not execute actions",
            ),
            (|answer| answer.execution_capabilities = None, "grpc://farm: does not execute actions"),
        ];
        for (change, expected) in cases {
            assert_eq!(text(change), expected);
        }
    }

    #[test]
    fn a_cache_needs_no_execution() {
        let mut answer = answer();
        answer.execution_capabilities = None;
        limits("x", &answer, &[Use::Blobs, Use::Results]).unwrap();
    }
}
