//! Blobs that the remote had a moment ago.

use crate::client::{casd, connect, options};
use crate::tool::{action, file, tool};
use bazel_remote_apis::build::bazel::remote::execution::v2 as reapi;
use isomer_remote::{Blob, BlobDigest, RemoteError, Stage};
use isomer_testing::grpc_proxy::{GrpcProxy, Verdict, say};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Between the upload and the execution.
#[test]
fn an_input_is_gone_before_the_execution() {
    let Some(casd) = casd() else { return };
    let casd = Arc::new(casd);
    let server = Arc::clone(&casd);
    let input = file("a line that is gone");
    let digests = [input.blob.digest(), tool().digest()];
    let proxy = GrpcProxy::start(casd.address(), move |call| {
        if call.method == "Execute" && call.before < digests.len() {
            server.evict(&digests[call.before].hash());
        }
        Verdict::Forward
    });
    let mut action = action("upper in result", &["result"]);
    action.inputs.insert("in".to_owned(), input);
    let mut stages = Vec::new();
    let remote = connect(&options(proxy.address));
    let outcome = remote.execute(&action.build().unwrap(), |stage| stages.push(stage)).unwrap();
    assert_eq!(outcome.outputs["result"].bytes, b"A LINE THAT IS GONE");
    let again = stages.iter().filter(|stage| matches!(stage, Stage::UploadingAgain { .. })).count();
    assert_eq!(again, 2, "{stages:?}");
}

/// A remote that loses everything at once is given up.
#[test]
fn an_input_that_is_always_evicted_is_an_error() {
    let Some(casd) = casd() else { return };
    let casd = Arc::new(casd);
    let server = Arc::clone(&casd);
    let digest = tool().digest();
    let proxy = GrpcProxy::start(casd.address(), move |call| {
        if call.method == "Execute" {
            server.evict(&digest.hash());
        }
        Verdict::Forward
    });
    let remote = connect(&options(proxy.address));
    let error = remote.execute(&action("time result", &["result"]).build().unwrap(), |_| ()).unwrap_err();
    assert!(matches!(error, RemoteError::Refused { .. } | RemoteError::TooManyRetries { .. }), "{error}");
    let calls = proxy.calls("Execute");
    assert!((4..12).contains(&calls), "{calls} times, and then {error}");
}

/// A remote that reports blobs as present which it does not have.
#[test]
fn a_remote_that_wrongly_reports_no_missing_blob() {
    let Some(casd) = casd() else { return };
    let proxy = GrpcProxy::start(casd.address(), |call| match call.method.as_str() {
        "FindMissingBlobs" => Verdict::Say(vec![say(&reapi::FindMissingBlobsResponse::default())]),
        _ => Verdict::Forward,
    });
    let mut stages = Vec::new();
    let remote = connect(&options(proxy.address));
    let action = action("time result", &["result"]).build().unwrap();
    remote.execute(&action, |stage| stages.push(stage)).unwrap();
    assert!(stages.iter().any(|stage| matches!(stage, Stage::UploadingAgain { .. })), "{stages:?}");
}

#[test]
fn a_cached_output_is_gone() {
    let Some(casd) = casd() else { return };
    let remote = connect(&options(casd.address()));
    let action = action("time result", &["result"]).build().unwrap();
    let first = remote.execute(&action, |_| ()).unwrap();
    casd.evict(&first.outputs["result"].digest.hash());
    assert!(remote.get_result(&action).unwrap().is_none());

    // casd itself notices when it is asked for the result; this one does not.
    let result = reapi::ActionResult {
        output_files: vec![reapi::OutputFile {
            path: "result".to_owned(),
            digest: Some(message(first.outputs["result"].digest)),
            ..reapi::OutputFile::default()
        }],
        ..reapi::ActionResult::default()
    };
    let proxy = GrpcProxy::start(casd.address(), move |call| match (call.method.as_str(), call.before) {
        ("GetActionResult", _) => Verdict::Say(vec![say(&result)]),
        ("Execute", 0) => Verdict::Say(vec![say(&crate::stages::done(&result, true))]),
        _ => Verdict::Forward,
    });
    let remote = connect(&options(proxy.address));
    assert!(remote.get_result(&action).unwrap().is_none());
    let mut stages = Vec::new();
    let outcome = remote.execute(&action, |stage| stages.push(stage)).unwrap();
    assert!(stages.contains(&Stage::PassingCache), "{stages:?}");
    assert_ne!(outcome.outputs["result"].digest, first.outputs["result"].digest);
}

#[test]
fn an_output_is_gone_before_its_download() {
    let Some(casd) = casd() else { return };
    let casd = Arc::new(casd);
    let server = Arc::clone(&casd);
    let output = Blob::new(&b"EVICTED"[..]).digest();
    let mut action = action("upper in result", &["result"]);
    action.inputs.insert("in".to_owned(), file("evicted"));
    let action = action.build().unwrap();
    let proxy = GrpcProxy::start(casd.address(), move |call| {
        if call.method == "BatchReadBlobs" && call.before == 0 {
            server.evict(&output.hash());
        }
        Verdict::Forward
    });
    let remote = connect(&options(proxy.address));
    let mut stages = Vec::new();
    let outcome = remote.execute(&action, |stage| stages.push(stage)).unwrap();
    assert_eq!(outcome.outputs["result"].bytes, b"EVICTED");
    assert!(stages.contains(&Stage::PassingCache), "{stages:?}");
    assert!(remote.download(&BTreeSet::from([output])).is_ok());
}

fn message(digest: BlobDigest) -> reapi::Digest {
    reapi::Digest { hash: digest.hash(), size_bytes: i64::try_from(digest.size_bytes()).unwrap() }
}
