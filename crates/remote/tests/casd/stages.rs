//! Engines that say more, less or other things about an operation than casd does.

use crate::client::{casd, connect, options};
use crate::tool::action;
use bazel_remote_apis::build::bazel::remote::execution::v2 as reapi;
use bazel_remote_apis::google::longrunning::{Operation, operation};
use bazel_remote_apis::google::{protobuf, rpc};
use isomer_remote::{Deadline, Options, RemoteError, Stage};
use isomer_testing::grpc_proxy::{GrpcProxy, Verdict, say};
use prost::Message;
use reapi::execution_stage::Value;
use std::thread;
use std::time::{Duration, Instant};

fn any(name: &str, message: &impl Message) -> protobuf::Any {
    let type_url = format!("type.googleapis.com/build.bazel.remote.execution.v2.{name}");
    protobuf::Any { type_url, value: message.encode_to_vec() }
}

fn at(stage: Value) -> Vec<u8> {
    let metadata =
        reapi::ExecuteOperationMetadata { stage: stage as i32, ..reapi::ExecuteOperationMetadata::default() };
    say(&Operation {
        name: "operations/1".to_owned(),
        metadata: Some(any("ExecuteOperationMetadata", &metadata)),
        ..Operation::default()
    })
}

fn ended(result: operation::Result) -> Operation {
    Operation { name: "operations/1".to_owned(), done: true, result: Some(result), ..Operation::default() }
}

/// An operation that ended with this result.
pub(crate) fn done(result: &reapi::ActionResult, cached_result: bool) -> Operation {
    let response =
        reapi::ExecuteResponse { result: Some(result.clone()), cached_result, ..reapi::ExecuteResponse::default() };
    ended(operation::Result::Response(any("ExecuteResponse", &response)))
}

fn failed(code: tonic::Code, message: &str) -> rpc::Status {
    rpc::Status { code: code as i32, message: message.to_owned(), details: Vec::new() }
}

fn refused(status: rpc::Status) -> Operation {
    let response = reapi::ExecuteResponse { status: Some(status), ..reapi::ExecuteResponse::default() };
    ended(operation::Result::Response(any("ExecuteResponse", &response)))
}

/// Runs an action of casd's; the first `Execute` gets `verdict` instead.
fn with_first(
    verdict: impl Fn() -> Verdict + Send + Sync + 'static,
    change: impl Fn(&mut Options),
) -> Option<(Result<isomer_remote::Outcome, RemoteError>, Vec<Stage>, GrpcProxy)> {
    let casd = casd()?;
    let proxy = GrpcProxy::start(casd.address(), move |call| {
        if call.method == "Execute" && call.before == 0 { verdict() } else { Verdict::Forward }
    });
    let mut options = options(proxy.address);
    change(&mut options);
    let mut stages = Vec::new();
    let action = action("time result", &["result"]).build().unwrap();
    let result = connect(&options).execute(&action, |stage| stages.push(stage));
    Some((result, stages, proxy))
}

#[test]
fn queued_after_executing_is_a_requeue() {
    let reported = || {
        use Value::{CacheCheck, Executing, Queued};
        Verdict::SayFirst([CacheCheck, Queued, Queued, Executing, Queued, Executing].map(at).to_vec())
    };
    let Some((result, stages, _proxy)) = with_first(reported, |_| ()) else { return };
    result.unwrap();
    let seen = &stages[1..];
    assert_eq!(seen, [Stage::CacheCheck, Stage::Queued, Stage::Executing, Stage::Requeued, Stage::Executing]);
}

/// justbuild puts a timestamp there.
#[test]
fn metadata_of_another_kind_is_not_read() {
    let strange = || {
        let metadata = protobuf::Timestamp { seconds: 4, nanos: 4 };
        let metadata = protobuf::Any {
            type_url: "type.googleapis.com/google.protobuf.Timestamp".to_owned(),
            value: say(&metadata),
        };
        Verdict::SayFirst(vec![say(&Operation { metadata: Some(metadata), ..Operation::default() })])
    };
    let Some((result, stages, _proxy)) = with_first(strange, |_| ()) else { return };
    result.unwrap();
    assert_eq!(stages.len(), 1, "{stages:?}");
}

/// A farm without a fitting worker queues for ever.
#[test]
fn the_queue_has_a_deadline_of_its_own() {
    let queued = || Verdict::SayAndHang(vec![at(Value::Queued)]);
    let Some((result, _, proxy)) = with_first(queued, |options| options.deadlines.queue = Duration::from_millis(700))
    else {
        return;
    };
    let error = result.unwrap_err();
    assert!(matches!(error, RemoteError::Deadline { deadline: Deadline::Queue, .. }), "{error}");
    assert!(error.to_string().ends_with("no worker took the action, expected at most 0.7 s"), "{error}");
    assert_eq!(proxy.calls("CancelOperation"), 1);
}

/// A connection may break meanwhile: the error is still that no worker took it.
#[test]
fn a_total_deadline_spent_in_the_queue_says_so() {
    let Some(casd) = casd() else { return };
    let proxy = GrpcProxy::start(casd.address(), |call| match call.method.as_str() {
        "Execute" => Verdict::Say(vec![at(Value::Queued)]),
        "WaitExecution" => Verdict::SayAndHang(vec![at(Value::Queued)]),
        _ => Verdict::Forward,
    });
    let mut options = options(proxy.address);
    options.deadlines.total = Duration::from_secs(2);
    let action = action("time result", &["result"]).build().unwrap();
    let error = connect(&options).execute(&action, |_| ()).unwrap_err();
    assert!(matches!(error, RemoteError::Deadline { deadline: Deadline::TotalInQueue, .. }), "{error}");
    assert_eq!(proxy.calls("CancelOperation"), 1);
}

/// With more actions than a farm has workers, the last waits until the others are done.
#[test]
fn a_queue_that_moves_is_waited_for() {
    let Some(casd) = casd() else { return };
    let proxy = GrpcProxy::start(casd.address(), |call| match (call.method.as_str(), call.before) {
        ("Execute", 0) => Verdict::SayAndHang(vec![at(Value::Executing)]),
        ("Execute", _) => Verdict::SayAndHang(vec![at(Value::Queued)]),
        _ => Verdict::Forward,
    });
    let mut options = options(proxy.address);
    options.deadlines.transfer = Duration::ZERO;
    options.deadlines.queue = Duration::from_millis(700);
    let remote = connect(&options);
    let execute = |deadline, timeout| {
        let mut action = action("time result", &["result"]);
        action.timeout = timeout;
        let error = remote.execute(&action.build().unwrap(), |_| ()).unwrap_err();
        assert!(matches!(error, RemoteError::Deadline { deadline: found, .. } if found == deadline), "{error}");
        Instant::now()
    };
    thread::scope(|scope| {
        let first = scope.spawn(|| execute(Deadline::Action, Duration::from_secs(3)));
        thread::sleep(Duration::from_millis(500));
        let queued = execute(Deadline::Queue, Duration::from_secs(60));
        assert!(queued >= first.join().unwrap() + Duration::from_millis(600), "it did not wait for the first");
    });
}

/// Some engines ignore an action's timeout.
#[test]
fn an_action_that_the_worker_does_not_stop() {
    let Some(casd) = casd() else { return };
    let proxy = GrpcProxy::start(casd.address(), move |call| {
        if call.method == "Execute" { Verdict::SayAndHang(vec![at(Value::Executing)]) } else { Verdict::Forward }
    });
    let mut options = options(proxy.address);
    options.deadlines.transfer = Duration::ZERO;
    let mut action = action("time result", &["result"]);
    action.timeout = Duration::from_millis(900);
    let error = connect(&options).execute(&action.build().unwrap(), |_| ()).unwrap_err();
    assert!(matches!(error, RemoteError::Deadline { deadline: Deadline::Action, .. }), "{error}");
    assert_eq!(proxy.calls("CancelOperation"), 1);
}

#[test]
fn a_remote_that_accepts_and_never_answers() {
    let Some(casd) = casd() else { return };
    let proxy = GrpcProxy::start(casd.address(), |call| match call.method.as_str() {
        "Execute" => Verdict::Hang,
        _ => Verdict::Forward,
    });
    let mut options = options(proxy.address);
    options.deadlines.queue = Duration::from_millis(300);
    options.deadlines.transfer = Duration::from_millis(300);
    let mut action = action("time result", &["result"]);
    action.timeout = Duration::from_millis(300);
    let error = connect(&options).execute(&action.build().unwrap(), |_| ()).unwrap_err();
    assert!(matches!(error, RemoteError::Deadline { deadline: Deadline::QueueAndAction, .. }), "{error}");
}

/// The remote was restarted: it no longer knows the operation.
#[test]
fn a_lost_operation_is_restarted() {
    let Some(casd) = casd() else { return };
    let proxy = GrpcProxy::start(casd.address(), |call| match (call.method.as_str(), call.before) {
        // A stream that ends although the operation goes on, of a name that casd does not know.
        ("Execute", 0) => Verdict::Say(vec![at(Value::Executing)]),
        _ => Verdict::Forward,
    });
    let mut stages = Vec::new();
    let action = action("time result", &["result"]).build().unwrap();
    connect(&options(proxy.address)).execute(&action, |stage| stages.push(stage)).unwrap();
    assert_eq!((proxy.calls("WaitExecution"), proxy.calls("Execute")), (1, 2));
    let reasons = format!("{stages:?}");
    assert!(reasons.contains("The operation was not found"), "{reasons}");
}

/// One that loses every operation is not retried for ever.
#[test]
fn operations_that_are_always_lost() {
    let Some(casd) = casd() else { return };
    let proxy = GrpcProxy::start(casd.address(), |call| match call.method.as_str() {
        "Execute" => Verdict::Say(vec![at(Value::Queued)]),
        _ => Verdict::Forward,
    });
    let action = action("time result", &["result"]).build().unwrap();
    let error = connect(&options(proxy.address)).execute(&action, |_| ()).unwrap_err();
    assert!(matches!(error, RemoteError::TooManyRetries { .. }), "{error}");
    assert!(error.to_string().contains("the operation was lost"), "{error}");
    assert!(proxy.calls("Execute") < 8);
}

/// Each layer of errors, when it may pass: tried again.
#[test]
fn transient_codes_are_retried() {
    fn busy() -> rpc::Status {
        failed(tonic::Code::Unavailable, "the worker is gone")
    }
    let operation_error = || Verdict::Say(vec![say(&ended(operation::Result::Error(busy())))]);
    let response_status = || Verdict::Say(vec![say(&refused(busy()))]);
    let call = || Verdict::Refuse(tonic::Status::resource_exhausted("too many actions"));
    let verdicts: [fn() -> Verdict; 3] = [operation_error, response_status, call];
    for verdict in verdicts {
        let Some((result, stages, proxy)) = with_first(verdict, |_| ()) else { return };
        result.unwrap();
        assert_eq!(proxy.calls("Execute"), 2);
        assert!(matches!(stages[..], [Stage::Uploaded { .. }, Stage::Retrying { .. }]), "{stages:?}");
    }
}

/// Each layer of errors, when it is permanent: reported.
#[test]
fn permanent_codes_are_reported() {
    fn bad() -> rpc::Status {
        failed(tonic::Code::InvalidArgument, "no platform property `cores`")
    }
    let operation_error = || Verdict::Say(vec![say(&ended(operation::Result::Error(bad())))]);
    let response_status = || Verdict::Say(vec![say(&refused(bad()))]);
    let call = || Verdict::Refuse(tonic::Status::invalid_argument("no platform property `cores`"));
    let verdicts: [fn() -> Verdict; 3] = [operation_error, response_status, call];
    for verdict in verdicts {
        let Some((result, _, proxy)) = with_first(verdict, |_| ()) else { return };
        let error = result.unwrap_err();
        assert!(matches!(error, RemoteError::Refused { .. }), "{error}");
        assert!(error.to_string().ends_with("InvalidArgument: no platform property `cores`"), "{error}");
        assert_eq!(proxy.calls("Execute"), 1);
    }
}

/// The code alone is ambiguous; where details say what the precondition was, they decide.
#[test]
fn details_say_whether_blobs_are_missing() {
    fn precondition(kind: &str) -> Verdict {
        let violation = tonic_types::pb::precondition_failure::Violation {
            r#type: kind.to_owned(),
            subject: "blobs/0/0".to_owned(),
            description: String::new(),
        };
        let failure = tonic_types::pb::PreconditionFailure { violations: vec![violation] };
        let mut status = failed(tonic::Code::FailedPrecondition, "no");
        let type_url = "type.googleapis.com/google.rpc.PreconditionFailure".to_owned();
        status.details = vec![protobuf::Any { type_url, value: failure.encode_to_vec() }];
        Verdict::Say(vec![say(&refused(status))])
    }
    let Some((result, stages, proxy)) = with_first(|| precondition("MISSING"), |_| ()) else { return };
    result.unwrap();
    assert_eq!(proxy.calls("Execute"), 2);
    assert!(matches!(stages[..], [Stage::Uploaded { .. }, Stage::UploadingAgain { .. }]), "{stages:?}");

    let Some((result, stages, proxy)) = with_first(|| precondition("QUOTA"), |_| ()) else { return };
    let error = result.unwrap_err();
    assert!(matches!(error, RemoteError::Refused { .. }), "{error}");
    assert_eq!((proxy.calls("Execute"), stages.len()), (1, 1));
}

#[test]
fn invalid_responses_are_refused() {
    let nothing = || Verdict::Say(vec![say(&Operation { done: true, ..Operation::default() })]);
    let another = || {
        let timestamp = any("Timestamp", &protobuf::Timestamp::default());
        Verdict::Say(vec![say(&ended(operation::Result::Response(timestamp)))])
    };
    let empty = || {
        let response = any("ExecuteResponse", &reapi::ExecuteResponse::default());
        Verdict::Say(vec![say(&ended(operation::Result::Response(response)))])
    };
    let broken = || {
        let mut response = any("ExecuteResponse", &reapi::ExecuteResponse::default());
        response.value = vec![0xff; 3];
        Verdict::Say(vec![say(&ended(operation::Result::Response(response)))])
    };
    type Case = (fn() -> Verdict, &'static str);
    let verdicts: [Case; 4] = [
        (nothing, "an operation that is done without a result"),
        (another, "an operation whose result is not an ExecuteResponse"),
        (empty, "neither an error nor a result"),
        (broken, "an ExecuteResponse that cannot be decoded"),
    ];
    for (verdict, reason) in verdicts {
        let Some((result, _, _)) = with_first(verdict, |_| ()) else { return };
        let error = result.unwrap_err();
        assert!(matches!(error, RemoteError::InvalidResponse { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
}
