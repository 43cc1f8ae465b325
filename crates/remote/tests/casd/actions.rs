//! Actions that a worker really executes, and what the action cache makes of them.

use crate::client::{blob, casd, casd_instance, connect, options};
use crate::tool::{action, file};
use isomer_remote::{Cancel, Deadline, Input, Remote, RemoteError, Stage};
use isomer_testing::grpc_proxy::{GrpcProxy, Verdict};
use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn an_action_is_executed_and_then_cached() {
    let Some(casd) = casd() else { return };
    let remote = connect(&options(casd.address()));
    let mut action = action("upper in/some/file result", &["result"]);
    action.inputs.insert("in/some/file".to_owned(), file("isomer"));
    let action = action.build().unwrap();
    assert!(remote.get_result(&action).unwrap().is_none());

    let mut stages = Vec::new();
    let outcome = remote.execute(&action, |stage| stages.push(stage)).unwrap();
    assert_eq!(outcome.outputs["result"].bytes, b"ISOMER");
    assert!(!outcome.cached);
    assert!(matches!(stages[..], [Stage::Uploaded { size_bytes: 100_000.. }]), "{stages:?}");

    let again = remote.execute(&action, |stage| stages.push(stage)).unwrap();
    assert!(again.cached);
    assert_eq!(again.outputs["result"].bytes, b"ISOMER");
    assert_eq!(stages[1], Stage::Uploaded { size_bytes: 0 });

    let cached = remote.get_result(&action).unwrap().unwrap();
    assert!(cached.cached);
    assert_eq!(cached.outputs["result"].digest, outcome.outputs["result"].digest);
}

/// Names of streams begin with the instance's.
#[test]
fn an_instance_with_a_name() {
    let Some(casd) = casd_instance("main/farm") else { return };
    let mut options = options(casd.address());
    options.instance_name = "main/farm".to_owned();
    let remote = connect(&options);
    let action = action("zeros 5000000 result", &["result"]).build().unwrap();
    let outcome = remote.execute(&action, |_| ()).unwrap();
    assert_eq!(outcome.outputs["result"].bytes.len(), 5_000_000);
    let large = blob(5 << 20);
    remote.upload(std::slice::from_ref(&large)).unwrap();
    assert_eq!(remote.download(&[large.digest()].into()).unwrap()[&large.digest()], large.bytes());
    assert!(remote.get_result(&action).unwrap().is_some());
}

#[test]
fn the_environment_is_what_was_given() {
    let Some(casd) = casd() else { return };
    let mut action = action("environment result", &["result"]);
    action.environment = BTreeMap::from([("B".to_owned(), "2".to_owned()), ("A".to_owned(), "1".to_owned())]);
    let outcome = connect(&options(casd.address())).execute(&action.build().unwrap(), |_| ()).unwrap();
    let text = String::from_utf8(outcome.outputs["result"].bytes.clone()).unwrap();
    assert!(text.contains("A=1") && text.contains("B=2"), "{text}");
    assert!(!text.contains("CARGO"), "{text}");
}

#[test]
fn a_large_output_comes_back() {
    let Some(casd) = casd() else { return };
    let action = action("zeros 20000000 result", &["result"]).build().unwrap();
    let outcome = connect(&options(casd.address())).execute(&action, |_| ()).unwrap();
    assert_eq!(outcome.outputs["result"].bytes, vec![0; 20_000_000]);
}

/// The action gives other bytes at each execution: equal bytes come from the cache.
#[test]
fn the_cache_lookup_is_skipped_on_request() {
    let Some(casd) = casd() else { return };
    let remote = connect(&options(casd.address()));
    let run = |remote: &Remote, change: fn(&mut isomer_remote::ActionBuilder)| {
        let mut action = action("time result", &["result"]);
        change(&mut action);
        remote.execute(&action.build().unwrap(), |_| ()).unwrap().outputs["result"].digest
    };
    let first = run(&remote, |_| ());
    assert_eq!(run(&remote, |_| ()), first);
    assert_ne!(run(&remote, |action| action.salt = b"other".to_vec()), first);
    let uncached = run(&remote, |action| action.do_not_cache = true);
    assert_ne!(run(&remote, |action| action.do_not_cache = true), uncached);
    let mut skipping = options(casd.address());
    skipping.skip_cache_lookup = true;
    assert_ne!(run(&connect(&skipping), |_| ()), first);
}

/// casd caches failures. They must be executed again: the next worker may have the memory that this one lacked.
#[test]
fn a_cached_failure_is_executed_again() {
    let Some(casd) = casd() else { return };
    let remote = connect(&options(casd.address()));
    let action = action("fail 3", &[]).build().unwrap();
    let fail = |stages: &mut Vec<Stage>| match remote.execute(&action, |stage| stages.push(stage)) {
        Err(RemoteError::Failed { exit_code: 3, stderr, .. }) => stderr,
        other => panic!("{other:?}"),
    };
    let first = fail(&mut Vec::new());
    assert!(first.starts_with("broken at "), "{first}");
    assert!(remote.get_result(&action).unwrap().is_none());
    let mut stages = Vec::new();
    let second = fail(&mut stages);
    assert_ne!(first, second, "it was not executed again");
    assert!(stages.contains(&Stage::PassingCache), "{stages:?}");
}

#[test]
fn a_failure_shows_code_and_words() {
    let Some(casd) = casd() else { return };
    let error =
        connect(&options(casd.address())).execute(&action("fail 7", &["x"]).build().unwrap(), |_| ()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("the action exited with 7, and printed:\nbroken at "), "{text}");
    assert!(error.hint().is_some());
}

#[test]
fn a_success_without_its_output_is_an_error() {
    let Some(casd) = casd() else { return };
    let remote = connect(&options(casd.address()));
    let action = action("forget", &["result"]).build().unwrap();
    let error = remote.execute(&action, |_| ()).unwrap_err();
    let expected = "the action exited with 0 but did not write `result`, and printed:\nnothing was written";
    assert!(error.to_string().ends_with(expected), "{error}");
    assert!(remote.get_result(&action).unwrap().is_none());
}

#[test]
fn an_action_has_a_timeout() {
    let Some(casd) = casd() else { return };
    let mut action = action("sleep 20000 result", &["result"]);
    action.timeout = Duration::from_secs(1);
    let begun = Instant::now();
    let error = connect(&options(casd.address())).execute(&action.build().unwrap(), |_| ()).unwrap_err();
    assert!(matches!(error, RemoteError::Deadline { deadline: Deadline::Action, .. }), "{error}");
    assert!(error.to_string().ends_with("the action ran too long, expected at most 1 s"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(15));
}

#[test]
fn a_local_result_is_a_cache_hit_for_others() {
    let Some(casd) = casd() else { return };
    let action = action("upper in result", &["result"]).build().unwrap();
    let output = Input { blob: blob(5 << 20), executable: true };
    let made = BTreeMap::from([("result".to_owned(), output.clone())]);
    connect(&options(casd.address())).update_result(&action, &made).unwrap();
    let found = connect(&options(casd.address())).get_result(&action).unwrap().unwrap();
    assert_eq!(found.outputs["result"].bytes, output.blob.bytes());
    assert!(found.outputs["result"].executable);

    let error = connect(&options(casd.address())).update_result(&action, &BTreeMap::new()).unwrap_err();
    assert!(matches!(error, RemoteError::MissingOutput { .. }), "{error}");
}

#[test]
fn many_at_once() {
    let Some(casd) = casd() else { return };
    let remote = connect(&options(casd.address()));
    thread::scope(|scope| {
        let run = |number: usize| {
            let mut action = action("upper in result", &["result"]);
            action.inputs.insert("in".to_owned(), file(&format!("number {number}")));
            remote.execute(&action.build().unwrap(), |_| ()).unwrap().outputs["result"].bytes.clone()
        };
        let threads: Vec<_> = (0..24).map(|number| scope.spawn(move || run(number))).collect();
        for (number, thread) in threads.into_iter().enumerate() {
            assert_eq!(thread.join().unwrap(), format!("NUMBER {number}").into_bytes());
        }
    });
}

/// Ctrl-C: the caller gets its thread back, and the worker its CPU.
#[test]
fn cancelling_stops_the_worker_too() {
    let Some(casd) = casd() else { return };
    let proxy = GrpcProxy::start(casd.address(), |_| Verdict::Forward);
    let cancel = Cancel::new();
    let remote = Remote::connect(&options(proxy.address), &cancel).unwrap();
    let action = action("sleep 20571 result", &["result"]).build().unwrap();
    let begun = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            wait_until(|| is_running("20571"));
            cancel.cancel();
        });
        let error = remote.execute(&action, |_| ()).unwrap_err();
        assert!(matches!(error, RemoteError::Cancelled), "{error}");
    });
    assert!(begun.elapsed() < Duration::from_secs(15));
    assert_eq!(proxy.calls("CancelOperation"), 1);
    wait_until(|| !is_running("20571"));
    let error = remote.find_missing(&Default::default()).unwrap_err();
    assert!(matches!(error, RemoteError::Cancelled), "later calls end at once: {error}");
}

/// Whether a tool runs in some sandbox of this machine that has this among its arguments.
fn is_running(argument: &str) -> bool {
    fs::read_dir("/proc").unwrap().flatten().any(|process| {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        line.starts_with(b"./tools/tool\0") && line.split(|byte| *byte == 0).any(|word| word == argument.as_bytes())
    })
}

fn wait_until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "it does not come true");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_execution_has_a_limit_in_all() {
    let Some(casd) = casd() else { return };
    let proxy = GrpcProxy::start(casd.address(), |_| Verdict::Forward);
    let mut options = options(proxy.address);
    options.deadlines.total = Duration::from_secs(2);
    let action = action("sleep 20000 result", &["result"]).build().unwrap();
    let error = connect(&options).execute(&action, |_| ()).unwrap_err();
    assert!(matches!(error, RemoteError::Deadline { deadline: Deadline::Total, .. }), "{error}");
    assert_eq!(proxy.calls("CancelOperation"), 1);
}
