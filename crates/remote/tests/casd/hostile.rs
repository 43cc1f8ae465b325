//! Remotes that lie, that are something else, or that do not want us.

use crate::client::{blob, casd, connect, options};
use crate::tool::action;
use bazel_remote_apis::build::bazel::remote::execution::v2 as reapi;
use bazel_remote_apis::build::bazel::semver::SemVer;
use bazel_remote_apis::google::bytestream;
use isomer_remote::{Cancel, Remote, RemoteError};
use isomer_testing::casd::Casd;
use isomer_testing::grpc_proxy::{Call, GrpcProxy, Verdict, say};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use tonic::Status;

fn refusal(address: SocketAddr, instance: &str) -> RemoteError {
    let mut options = options(address);
    options.instance_name = instance.to_owned();
    match Remote::connect(&options, &Cancel::new()) {
        Ok(_) => panic!("it connected"),
        Err(error) => error,
    }
}

#[test]
fn an_instance_that_is_not_there() {
    let Some(casd) = casd() else { return };
    let error = refusal(casd.address(), "wrong");
    assert!(matches!(&error, RemoteError::Instance { instance, .. } if instance == "wrong"), "{error}");
    assert!(error.to_string().ends_with("unknown instance `wrong`: Invalid instance name \"wrong\""), "{error}");
    assert!(error.hint().is_some());
}

#[test]
fn a_digest_mismatch_is_refused() {
    let Some(casd) = casd() else { return };
    let lying = |call: &Call| match call.method.as_str() {
        "BatchReadBlobs" | "Read" => Verdict::Lie,
        _ => Verdict::Forward,
    };
    let proxy = GrpcProxy::start(casd.address(), lying);
    let remote = connect(&options(proxy.address));
    let large = blob(5 << 20);
    remote.upload(std::slice::from_ref(&large)).unwrap();
    let error = remote.download(&BTreeSet::from([large.digest()])).unwrap_err();
    assert!(matches!(error, RemoteError::HashMismatch { expected, .. } if expected == large.digest()), "{error}");

    // The last byte of a batch is the end of something else than data, so here the whole answer is another's.
    let (asked, other) = (blob(100), blob(100));
    let answer = reapi::BatchReadBlobsResponse {
        responses: vec![reapi::batch_read_blobs_response::Response {
            digest: Some(reapi::Digest { hash: asked.digest().hash(), size_bytes: 100 }),
            data: other.bytes().to_vec(),
            ..Default::default()
        }],
    };
    let answer = say(&answer);
    let proxy = GrpcProxy::start(casd.address(), move |call| match call.method.as_str() {
        "BatchReadBlobs" => Verdict::Say(vec![answer.clone()]),
        _ => Verdict::Forward,
    });
    let error = connect(&options(proxy.address)).download(&BTreeSet::from([asked.digest()])).unwrap_err();
    assert!(error.to_string().contains("digest mismatch"), "{error}");
    assert!(error.to_string().contains(&other.digest().to_string()), "{error}");
}

#[test]
fn more_bytes_than_requested() {
    let Some(casd) = casd() else { return };
    let piece = say(&bytestream::ReadResponse { data: vec![1; 1 << 20] });
    let proxy = GrpcProxy::start(casd.address(), move |call| match call.method.as_str() {
        "Read" => Verdict::Say(vec![piece.clone(); 40]),
        _ => Verdict::Forward,
    });
    let digest = blob(5 << 20).digest();
    let error = connect(&options(proxy.address)).download(&BTreeSet::from([digest])).unwrap_err();
    assert!(error.to_string().contains("found more than 5242880 bytes"), "{error}");
}

/// A cached result whose output is inlined is hashed like any other.
#[test]
fn an_inlined_output_with_another_digest() {
    let Some(casd) = casd() else { return };
    let result = |digest: &isomer_remote::Blob| reapi::ActionResult {
        output_files: vec![reapi::OutputFile {
            path: "result".to_owned(),
            digest: Some(reapi::Digest { hash: digest.digest().hash(), size_bytes: digest.bytes().len() as i64 }),
            contents: b"other".to_vec(),
            ..Default::default()
        }],
        ..Default::default()
    };
    for (answer, passes) in [(result(&blob(5)), false), (result(&isomer_remote::Blob::new(&b"other"[..])), true)] {
        let answer = say(&answer);
        let proxy = GrpcProxy::start(casd.address(), move |call| match call.method.as_str() {
            "GetActionResult" => Verdict::Say(vec![answer.clone()]),
            _ => Verdict::Forward,
        });
        let action = action("time result", &["result"]).build().unwrap();
        let found = connect(&options(proxy.address)).get_result(&action);
        assert_eq!(found.is_ok(), passes, "{found:?}");
        assert!(passes || matches!(found, Err(RemoteError::HashMismatch { .. })));
    }
}

#[test]
fn unrequested_blobs_are_refused() {
    let Some(casd) = casd() else { return };
    let digest = |hash: String| reapi::Digest { hash, size_bytes: 1 };
    let found = say(&reapi::FindMissingBlobsResponse { missing_blob_digests: vec![digest("0".repeat(64))] });
    let read = say(&reapi::BatchReadBlobsResponse {
        responses: vec![reapi::batch_read_blobs_response::Response {
            digest: Some(digest("../../etc/passwd".to_owned())),
            ..Default::default()
        }],
    });
    let proxy = GrpcProxy::start(casd.address(), move |call| match call.method.as_str() {
        "FindMissingBlobs" => Verdict::Say(vec![found.clone()]),
        "BatchReadBlobs" => Verdict::Say(vec![read.clone()]),
        _ => Verdict::Forward,
    });
    let remote = connect(&options(proxy.address));
    let error = remote.upload(&[blob(10)]).unwrap_err();
    assert!(matches!(error, RemoteError::InvalidResponse { call: "FindMissingBlobs", .. }), "{error}");
    let error = remote.download(&BTreeSet::from([blob(10).digest()])).unwrap_err();
    assert!(matches!(error, RemoteError::InvalidResponse { call: "BatchReadBlobs", .. }), "{error}");
}

/// What connecting says to this answer about the remote's capabilities.
fn capable(casd: &Casd, change: fn(&mut reapi::ServerCapabilities)) -> RemoteError {
    let version = |major, minor| Some(SemVer { major, minor, ..SemVer::default() });
    let mut answer = reapi::ServerCapabilities {
        cache_capabilities: Some(reapi::CacheCapabilities { digest_functions: vec![1], ..Default::default() }),
        execution_capabilities: Some(reapi::ExecutionCapabilities {
            digest_function: 1,
            exec_enabled: true,
            ..Default::default()
        }),
        low_api_version: version(2, 0),
        high_api_version: version(2, 3),
        ..Default::default()
    };
    change(&mut answer);
    let answer = say(&answer);
    let proxy = GrpcProxy::start(casd.address(), move |call| match call.method.as_str() {
        "GetCapabilities" => Verdict::Say(vec![answer.clone()]),
        _ => Verdict::Forward,
    });
    refusal(proxy.address, "")
}

#[test]
fn remotes_without_a_required_capability_are_refused() {
    let Some(casd) = casd() else { return };
    let error = capable(&casd, |answer| answer.low_api_version.as_mut().unwrap().major = 3);
    assert!(matches!(error, RemoteError::Version { .. }), "{error}");
    let error = capable(&casd, |answer| answer.cache_capabilities.as_mut().unwrap().digest_functions = vec![3]);
    assert!(matches!(error, RemoteError::DigestFunction { .. }), "{error}");
    let error = capable(&casd, |answer| answer.execution_capabilities = None);
    assert!(matches!(error, RemoteError::NoExecution { .. }), "{error}");
}

#[test]
fn a_cache_that_can_only_be_read() {
    let Some(casd) = casd() else { return };
    let answer = reapi::ServerCapabilities {
        cache_capabilities: Some(reapi::CacheCapabilities { digest_functions: vec![1], ..Default::default() }),
        low_api_version: Some(SemVer { major: 2, ..Default::default() }),
        high_api_version: Some(SemVer { major: 2, ..Default::default() }),
        ..Default::default()
    };
    let answer = say(&answer);
    let proxy = GrpcProxy::start(casd.address(), move |call| match call.method.as_str() {
        "GetCapabilities" => Verdict::Say(vec![answer.clone()]),
        _ => Verdict::Forward,
    });
    let mut options = options(proxy.address);
    options.execution = None;
    let action = action("forget", &[]).build().unwrap();
    let error = connect(&options).update_result(&action, &Default::default()).unwrap_err();
    assert!(matches!(error, RemoteError::ReadOnly { .. }), "{error}");
    assert_eq!(proxy.calls("UpdateActionResult"), 0);
}

#[test]
fn remotes_that_deny_access_are_reported() {
    let Some(casd) = casd() else { return };
    let refusing = |status: fn() -> Status| {
        let proxy = GrpcProxy::start(casd.address(), move |_| Verdict::Refuse(status()));
        let error = refusal(proxy.address, "");
        assert_eq!(proxy.calls("GetCapabilities"), 1, "this does not change by asking again: {error}");
        error
    };
    let error = refusing(|| Status::unauthenticated("no token"));
    assert!(matches!(error, RemoteError::Unauthenticated { .. }), "{error}");
    let error = refusing(|| Status::permission_denied("not for you"));
    assert!(matches!(error, RemoteError::Permission { .. }), "{error}");
    let error = refusing(|| Status::unimplemented("unknown service"));
    assert!(matches!(error, RemoteError::NoService { .. }), "{error}");
}

/// The gRPC library panics on details that are no base64.
#[test]
fn a_response_that_panics_tonic_is_an_error() {
    let Some(casd) = casd() else { return };
    let proxy = GrpcProxy::start(casd.address(), |_| {
        Verdict::Headers(vec![("grpc-status", "3"), ("grpc-status-details-bin", "!!!")])
    });
    let error = refusal(proxy.address, "");
    assert!(matches!(error, RemoteError::InvalidResponse { .. }), "{error}");
}

/// What a remote says may end in a terminal.
#[test]
fn control_characters_in_remote_messages_are_replaced() {
    let Some(casd) = casd() else { return };
    let proxy = GrpcProxy::start(casd.address(), |_| Verdict::Refuse(Status::permission_denied("\u{1b}[2J\u{7}gone")));
    let error = refusal(proxy.address, "");
    assert!(!error.to_string().contains(['\u{1b}', '\u{7}']), "{error:?}");
}
