//! Failures that pass, failures that do not, and how long each is borne.

use crate::client::{blob, casd, connect, options};
use crate::tool::action;
use bazel_remote_apis::build::bazel::remote::execution::v2 as reapi;
use bazel_remote_apis::google::bytestream;
use bazel_remote_apis::google::rpc;
use isomer_remote::{Cancel, Input, Remote, RemoteError};
use isomer_testing::grpc_proxy::{GrpcProxy, Verdict, messages, say};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// Every method fails three times, each time with another code.
#[test]
fn failures_that_pass_are_retried() {
    let Some(casd) = casd() else { return };
    const CODES: [Code; 6] =
        [Code::Unavailable, Code::Aborted, Code::Internal, Code::Unknown, Code::Cancelled, Code::ResourceExhausted];
    let proxy = GrpcProxy::start(casd.address(), |call| match call.before {
        before @ 0..3 => Verdict::Refuse(Status::new(CODES[(call.method.len() + before) % 6], "a storm")),
        _ => Verdict::Forward,
    });
    let remote = connect(&options(proxy.address));
    let action = action("time result", &["result"]).build().unwrap();
    assert!(remote.get_result(&action).unwrap().is_none());
    let outcome = remote.execute(&action, |_| ()).unwrap();
    assert_eq!(remote.get_result(&action).unwrap().unwrap().outputs["result"].bytes, outcome.outputs["result"].bytes);
    let large = blob(5 << 20);
    let made = BTreeMap::from([("result".to_owned(), Input { blob: large.clone(), executable: false })]);
    remote.update_result(&action, &made).unwrap();
    assert_eq!(remote.get_result(&action).unwrap().unwrap().outputs["result"].bytes, large.bytes());
    for method in ["GetCapabilities", "FindMissingBlobs", "Execute", "GetActionResult", "UpdateActionResult", "Read"] {
        assert!(proxy.calls(method) >= 4, "{method}: {}", proxy.calls(method));
    }
}

#[test]
fn failures_that_do_not_pass_end_in_an_error() {
    let Some(casd) = casd() else { return };
    let proxy = GrpcProxy::start(casd.address(), |call| match call.method.as_str() {
        "GetCapabilities" => Verdict::Forward,
        _ => Verdict::Refuse(Status::unavailable("the load balancer has no backend")),
    });
    let remote = connect(&options(proxy.address));
    let action = action("time result", &["result"]).build().unwrap();
    let error = remote.get_result(&action).unwrap_err();
    assert!(matches!(error, RemoteError::TooManyRetries { attempts: 6, .. }), "{error}");
    assert!(error.to_string().ends_with("Unavailable: the load balancer has no backend"), "{error}");
    assert_eq!(proxy.calls("GetActionResult"), 6);
    remote.execute(&action, |_| ()).unwrap_err();
    assert_eq!(proxy.calls("FindMissingBlobs"), 6);
    remote.upload(&[blob(10)]).unwrap_err();
}

/// The cap in time holds where the cap in number would not.
#[test]
fn retries_end_at_the_time_limit() {
    let Some(casd) = casd() else { return };
    let proxy = GrpcProxy::start(casd.address(), |call| match call.method.as_str() {
        "GetCapabilities" => Verdict::Forward,
        _ => Verdict::Refuse(Status::unavailable("")),
    });
    let mut options = options(proxy.address);
    options.retry.attempts_max = u32::MAX;
    options.retry.time_max = Duration::from_secs(1);
    let begun = Instant::now();
    let error = connect(&options).find_missing(&BTreeSet::from([blob(1).digest()])).unwrap_err();
    assert!(matches!(error, RemoteError::TooManyRetries { .. }), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_remote_may_ask_for_a_pause() {
    let Some(casd) = casd() else { return };
    let proxy = GrpcProxy::start(casd.address(), |call| match (call.method.as_str(), call.before) {
        ("FindMissingBlobs", 0) => {
            let details = ErrorDetails::with_retry_info(Some(Duration::from_millis(1500)));
            Verdict::Refuse(Status::with_error_details(Code::Unavailable, "later", details))
        }
        _ => Verdict::Forward,
    });
    let remote = connect(&options(proxy.address));
    let digests = BTreeSet::from([blob(1).digest()]);
    let begun = Instant::now();
    remote.find_missing(&digests).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(1500));
}

/// A pause of a year is none that we make.
#[test]
fn a_remote_may_not_ask_for_a_year() {
    let Some(casd) = casd() else { return };
    let proxy = GrpcProxy::start(casd.address(), |call| match call.method.as_str() {
        "FindMissingBlobs" => {
            let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(31_557_600)));
            Verdict::Refuse(Status::with_error_details(Code::Unavailable, "next year", details))
        }
        _ => Verdict::Forward,
    });
    let error = connect(&options(proxy.address)).find_missing(&BTreeSet::from([blob(1).digest()])).unwrap_err();
    assert!(matches!(error, RemoteError::TooManyRetries { attempts: 1, .. }), "{error}");
}

#[test]
fn a_method_that_hangs() {
    let Some(casd) = casd() else { return };
    for method in ["FindMissingBlobs", "BatchUpdateBlobs", "Write", "BatchReadBlobs", "Read", "GetActionResult"] {
        let proxy =
            GrpcProxy::start(
                casd.address(),
                move |call| {
                    if call.method == method { Verdict::Hang } else { Verdict::Forward }
                },
            );
        let mut options = options(proxy.address);
        options.deadlines.call = Duration::from_millis(400);
        options.retry.attempts_max = 2;
        let remote = connect(&options);
        let (small, large) = (blob(10), blob(5 << 20));
        let error = if method == "GetActionResult" {
            remote.get_result(&action("forget", &[]).build().unwrap()).unwrap_err()
        } else {
            remote
                .upload(&[small.clone(), large.clone()])
                .and_then(|_| remote.download(&BTreeSet::from([small.digest(), large.digest()])))
                .unwrap_err()
        };
        assert!(matches!(error, RemoteError::TooManyRetries { attempts: 2, .. }), "{method}: {error}");
        assert!(error.to_string().contains("no answer within 0.4 s"), "{method}: {error}");
    }
}

#[test]
fn cancelling_ends_any_call() {
    let Some(casd) = casd() else { return };
    let proxy = GrpcProxy::start(casd.address(), |call| match call.method.as_str() {
        "FindMissingBlobs" => Verdict::Hang,
        _ => Verdict::Forward,
    });
    let cancel = Cancel::new();
    let remote = Remote::connect(&options(proxy.address), &cancel).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(300));
            cancel.cancel();
        });
        let begun = Instant::now();
        let error = remote.upload(&[blob(10)]).unwrap_err();
        assert!(matches!(error, RemoteError::Cancelled), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(3));
    });
}

/// A limit that the remote did not state: the blobs go as streams.
#[test]
fn a_batch_that_is_too_large_after_all() {
    let Some(casd) = casd() else { return };
    let proxy = GrpcProxy::start(casd.address(), |call| match call.method.as_str() {
        "BatchUpdateBlobs" => Verdict::Refuse(Status::resource_exhausted("message larger than max")),
        _ => Verdict::Forward,
    });
    let remote = connect(&options(proxy.address));
    let blobs = [blob(1000), blob(2000)];
    remote.upload(&blobs).unwrap();
    assert_eq!(proxy.calls("Write"), 2);
    assert_eq!(remote.find_missing(&blobs.iter().map(|blob| blob.digest()).collect()).unwrap(), BTreeSet::new());
}

/// One blob of a batch may fail while the rest is taken.
#[test]
fn a_part_of_a_batch_fails() {
    let Some(casd) = casd() else { return };
    let part = |blob: &isomer_remote::Blob, code: Code| reapi::batch_update_blobs_response::Response {
        digest: Some(reapi::Digest { hash: blob.digest().hash(), size_bytes: blob.bytes().len() as i64 }),
        status: Some(rpc::Status { code: code as i32, message: "the disk is busy".to_owned(), details: Vec::new() }),
    };
    for (code, passes) in [(Code::Unavailable, true), (Code::InvalidArgument, false)] {
        let [failing, other] = [blob(1000), blob(2000)];
        let responses = vec![part(&failing, code), part(&other, Code::Ok)];
        let answer = say(&reapi::BatchUpdateBlobsResponse { responses });
        let proxy = GrpcProxy::start(casd.address(), move |call| match (call.method.as_str(), call.before) {
            ("BatchUpdateBlobs", 0) => Verdict::Say(vec![answer.clone()]),
            _ => Verdict::Forward,
        });
        let result = connect(&options(proxy.address)).upload(&[failing.clone(), other.clone()]);
        assert_eq!(result.is_ok(), passes, "{result:?}");
        if let Err(error) = result {
            assert!(error.to_string().contains("InvalidArgument: the disk is busy"), "{error}");
        } else {
            let missing =
                connect(&options(casd.address())).find_missing(&BTreeSet::from([failing.digest(), other.digest()]));
            assert_eq!(missing.unwrap(), BTreeSet::from([other.digest()]), "only the failed one is sent again");
        }
    }
}

/// A server that has the blob already reports the `committed_size` −1; less than all of it is a failure.
#[test]
fn a_write_that_reports_another_committed_size() {
    let Some(casd) = casd() else { return };
    for (committed_size, taken) in [(-1, true), (5 << 20, true), (7, false), (-2, false), (6 << 20, false)] {
        let answer = say(&bytestream::WriteResponse { committed_size });
        let proxy = GrpcProxy::start(casd.address(), move |call| match call.method.as_str() {
            "Write" => Verdict::Say(vec![answer.clone()]),
            _ => Verdict::Forward,
        });
        let result = connect(&options(proxy.address)).upload(&[blob(5 << 20)]);
        assert_eq!(result.is_ok(), taken, "{committed_size}: {result:?}");
    }
}

/// casd cannot tell how much of an upload has arrived; this one can.
#[test]
fn an_upload_goes_on_where_it_broke() {
    let Some(casd) = casd() else { return };
    let large = blob(5 << 20);
    let kept = say(&bytestream::QueryWriteStatusResponse { committed_size: 4 << 20, complete: false });
    let whole = say(&bytestream::WriteResponse { committed_size: 5 << 20 });
    let written = Arc::new(Mutex::new(Vec::new()));
    let writing = Arc::clone(&written);
    let proxy = GrpcProxy::start(casd.address(), move |call| match (call.method.as_str(), call.before) {
        ("Write", 0) => Verdict::Refuse(Status::unavailable("restarting")),
        ("Write", 1) => Verdict::Keep(Arc::clone(&writing), whole.clone()),
        ("QueryWriteStatus", _) => Verdict::Say(vec![kept.clone()]),
        _ => Verdict::Forward,
    });
    connect(&options(proxy.address)).upload(std::slice::from_ref(&large)).unwrap();
    assert_eq!((proxy.calls("Write"), proxy.calls("QueryWriteStatus")), (2, 1));
    let pieces = messages::<bytestream::WriteRequest>(&written.lock().unwrap());
    assert_eq!(pieces[0].write_offset, 4 << 20);
    assert!(pieces.last().unwrap().finish_write);
    let data: Vec<u8> = pieces.into_iter().flat_map(|piece| piece.data).collect();
    assert_eq!(data, large.bytes()[4 << 20..]);
}
