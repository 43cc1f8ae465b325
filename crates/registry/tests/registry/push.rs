//! Writing: what is there is not sent again, a tag never names half a module, and what is damaged stays here.

use crate::stage::{KEEP, NOISE_SIZE_BYTES, Stage, assert_shown, connect, quick, release_of, stage, stage_pushed};
use isomer_layout::{Layout, Source as _, Writer};
use isomer_registry::{PushOptions, Pushed, RegistryError, Step, push};
use isomer_testing::http_proxy::{Fault, Seen};
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn push_through(stage: &Stage) -> Result<Pushed, RegistryError> {
    push(&stage.layout(), "noise", &stage.remote(), &KEEP)
}

/// Whether the tag names anything, requested behind the proxy's back.
fn is_tagged(stage: &Stage) -> bool {
    connect(&stage.direct(), &quick()).unwrap().index().is_ok()
}

fn writes(stage: &Stage) -> Vec<String> {
    let lines = stage.proxy.lines().into_iter();
    lines.filter(|line| !line.starts_with("GET") && !line.starts_with("HEAD")).collect()
}

#[test]
fn the_tag_comes_last_and_the_second_push_sends_nothing() {
    let Some(stage) = stage("the_tag_comes_last_and_the_second_push_sends_nothing") else { return };
    let (planned, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let on_step = |step| match step {
        Step::Planned(bytes) => planned.store(bytes, Ordering::Relaxed),
        Step::Done(bytes) => {
            done.fetch_add(bytes, Ordering::Relaxed);
        }
    };
    let options = PushOptions { on_step: &on_step, ..KEEP };
    let pushed = push(&stage.layout(), "noise", &stage.remote(), &options).unwrap();
    let index = stage.layout().modules()[0].digest;
    assert_eq!(pushed.reference.to_string(), format!("{}/acme/noise:1.0.0@{index}", stage.proxy.host()));
    assert_eq!((pushed.sent.blobs, pushed.present.blobs, pushed.signatures), (7, 0, 1));
    assert!(pushed.sent.size_bytes > NOISE_SIZE_BYTES as u64);
    assert_eq!(planned.into_inner(), done.into_inner());
    let writes_first = writes(&stage);
    assert_eq!(writes_first.last().unwrap(), "PUT /v2/acme/noise/manifests/1.0.0");
    let listed = writes_first.iter().position(|line| line.contains("manifests/sha256-")).unwrap();
    assert!(listed < writes_first.len() - 1, "{writes_first:?}");

    stage.proxy.fail(|_| Fault::None);
    let again = push_through(&stage).unwrap();
    assert_eq!((again.sent.blobs, again.present.blobs), (0, 7));
    assert_eq!(writes(&stage), [""; 0]);
    assert!(stage.proxy.body_bytes() < 10_000);
}

#[test]
fn a_second_signature_joins_the_first() {
    let Some(stage) = stage_pushed("a_second_signature_joins_the_first") else { return };
    let dist = stage.directory.path().join("dist");
    let index = stage.layout().modules()[0].digest;
    // A release signed elsewhere, without the first signature: the registry ends up with both.
    let first = fs::read(dist.join("index.json")).unwrap();
    let mut json: serde_json::Value = serde_json::from_slice(&first).unwrap();
    json["manifests"].as_array_mut().unwrap().retain(|it| it.get("artifactType").is_none());
    fs::write(dist.join("index.json"), json.to_string()).unwrap();
    Writer::open(&dist).unwrap().sign(br#"{"another":"bundle"}"#, &[index]).unwrap();
    let pushed = push_through(&stage).unwrap();
    assert_eq!((pushed.sent.blobs, pushed.signatures), (2, 1));
    let parts = stage.layout().parts("noise").unwrap();
    let signatures = stage.remote().signatures(parts.index.blob).unwrap().readable;
    let mut bundles: Vec<_> = signatures.iter().map(|it| String::from_utf8_lossy(&it.bundle)).collect();
    bundles.sort();
    assert_eq!(bundles, [r#"{"a":"bundle"}"#, r#"{"another":"bundle"}"#]);
}

#[test]
fn a_registry_that_lists_referrers_needs_no_list() {
    let Some(stage) = stage("a_registry_that_lists_referrers_needs_no_list") else { return };
    stage.proxy.fail(|seen: &Seen| {
        let body = r#"{"schemaVersion":2,"manifests":[]}"#;
        let kind = "application/vnd.oci.image.index.v1+json";
        let head = format!("200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\nContent-Length: {}", body.len());
        if seen.path.contains("/referrers/") { Fault::Answer(format!("{head}\r\n\r\n{body}")) } else { Fault::None }
    });
    push_through(&stage).unwrap();
    assert!(writes(&stage).iter().all(|line| !line.contains("manifests/sha256-")), "{:?}", writes(&stage));
}

#[test]
fn half_a_push_has_no_tag_and_the_next_goes_on() {
    let Some(stage) = stage("half_a_push_has_no_tag_and_the_next_goes_on") else { return };
    let parts = [
        ("manifest", "/manifests/sha256:"),
        ("list", "/manifests/sha256-"),
        ("wasm", "/manifests/1.0.0-wasm"),
        ("tag", "/manifests/1.0.0"),
    ];
    for (name, part) in parts {
        stage.proxy.fail(move |seen| {
            let is_tag = part.ends_with('0');
            let is_part = if is_tag { seen.path.ends_with(part) } else { seen.path.contains(part) };
            if seen.method == "PUT" && is_part { Fault::status("500 Internal Server Error") } else { Fault::None }
        });
        let error = push_through(&stage).unwrap_err();
        assert_shown(&format!("push-half-{name}"), &stage.shown(&error));
        assert!(!is_tagged(&stage), "{name}");
    }
    stage.proxy.fail(|_| Fault::None);
    push_through(&stage).unwrap();
    assert!(is_tagged(&stage));
    assert!(writes(&stage).iter().all(|line| !line.contains("blobs")), "{:?}", writes(&stage));
}

#[test]
fn an_upload_that_was_cut_off_is_sent_again() {
    let Some(stage) = stage("an_upload_that_was_cut_off_is_sent_again") else { return };
    let cut = |times: usize| {
        move |seen: &Seen| {
            let layer = seen.method == "PUT" && seen.path.contains("/blobs/uploads/");
            if layer && seen.before < times { Fault::CutRequest(3 << 20) } else { Fault::None }
        }
    };
    // Each session has its own path: every upload is cut.
    stage.proxy.fail(cut(usize::MAX));
    let error = push_through(&stage).unwrap_err();
    assert_shown("push-cut", &stage.shown(&error));
    assert!(!is_tagged(&stage));
    let tries = std::sync::Arc::new(AtomicU64::new(0));
    let counted = tries.clone();
    stage.proxy.fail(move |seen| {
        let layer = seen.method == "PUT" && seen.path.contains("/blobs/uploads/");
        let first = layer && counted.fetch_add(1, Ordering::Relaxed) < 2;
        if first { Fault::CutRequest(3 << 20) } else { Fault::None }
    });
    push_through(&stage).unwrap();
    assert!(is_tagged(&stage));
    let parts = stage.layout().parts("noise").unwrap();
    assert_eq!(stage.remote().index().unwrap(), parts.index.bytes);
}

#[test]
fn a_storm_during_a_push_is_waited_out() {
    let Some(stage) = stage("a_storm_during_a_push_is_waited_out") else { return };
    let count = AtomicU64::new(0);
    stage.proxy.fail(move |_| {
        let storm = count.fetch_add(1, Ordering::Relaxed).is_multiple_of(3);
        if storm { Fault::status("503 Service Unavailable") } else { Fault::None }
    });
    // Seven parts with two or three requests each: some meet the storm more than once.
    let options =
        isomer_registry::Options { retry: isomer_registry::Retry { tries_max: 12, ..quick().retry }, ..quick() };
    let remote = connect(&stage.remote().reference().to_string(), &options).unwrap();
    push(&stage.layout(), "noise", &remote, &KEEP).unwrap();
    assert!(is_tagged(&stage));
}

#[test]
fn a_damaged_release_is_not_pushed() {
    let Some(stage) = stage("a_damaged_release_is_not_pushed") else { return };
    let layer = stage.layer();
    let path = stage.directory.path().join("dist/blobs/sha256").join(layer.digest.hex());
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert_shown("push-altered-blob", &stage.shown(&push_through(&stage).unwrap_err()));
    assert!(!is_tagged(&stage));
    bytes.pop();
    fs::write(&path, &bytes).unwrap();
    assert_shown("push-short-blob", &stage.shown(&push_through(&stage).unwrap_err()));
    fs::remove_file(&path).unwrap();
    assert_shown("push-missing-blob", &stage.shown(&push_through(&stage).unwrap_err()));
    // The registry never had it.
    let remote = connect(&stage.direct(), &quick()).unwrap();
    let error = remote.layer(layer, &mut tempfile::tempfile().unwrap(), &|_| {}).unwrap_err();
    assert!(error.source.as_ref().is_some_and(|source| source.to_string().contains("404")), "{error:?}");
}

#[test]
fn a_registry_that_takes_nothing_is_left() {
    let Some(stage) = stage("a_registry_that_takes_nothing_is_left") else { return };
    stage.proxy.fail(|seen| if seen.method == "PUT" { Fault::Silence(Duration::from_secs(30)) } else { Fault::None });
    let options = isomer_registry::Options { idle_timeout: Duration::from_millis(300), ..quick() };
    let remote = connect(&stage.remote().reference().to_string(), &options).unwrap();
    let error = push(&stage.layout(), "noise", &remote, &KEEP).unwrap_err();
    assert_shown("push-silence", &stage.shown(&error));
}

#[test]
fn uploads_go_where_it_is_safe() {
    let Some(stage) = stage("uploads_go_where_it_is_safe") else { return };
    for location in ["http://registry.example/upload", "ftp://registry.example/upload", "http://[bad"] {
        stage.proxy.fail(move |seen| {
            let head = "202 Accepted\r\nContent-Length: 0\r\nConnection: close";
            let answer = || Fault::Answer(format!("{head}\r\nLocation: {location}\r\n\r\n"));
            if seen.method == "POST" { answer() } else { Fault::None }
        });
        let error = push_through(&stage).unwrap_err();
        assert!(stage.shown(&error).contains("expected an https:// URL"), "{error}");
    }
}

#[test]
fn what_can_not_be_named_is_not_pushed() {
    let Some(stage) = stage("what_can_not_be_named_is_not_pushed") else { return };
    let layout: Layout = stage.layout();
    let untagged = connect(&format!("{}/acme/noise", stage.proxy.host()), &quick()).unwrap();
    assert_shown("push-no-tag", &stage.shown(&push(&layout, "noise", &untagged, &KEEP).unwrap_err()));
    assert_shown("push-unknown-module", &stage.shown(&push(&layout, "nois", &stage.remote(), &KEEP).unwrap_err()));
    assert_eq!(stage.proxy.seen().len(), 0);
}

/// The same module with other bytes, in another directory.
fn other_release(stage: &Stage, version: &str) -> Layout {
    let directory = stage.directory.path().join(format!("other-{version}"));
    release_of(&directory, b"other bytes", version);
    Layout::open(&directory).unwrap()
}

fn push_as(layout: &Layout, tag: &str, stage: &Stage, move_version_tag: bool) -> Result<Pushed, RegistryError> {
    let remote = connect(&format!("{}/acme/noise:{tag}", stage.proxy.host()), &quick()).unwrap();
    push(layout, "noise", &remote, &PushOptions { move_version_tag, ..KEEP })
}

#[test]
fn the_tag_of_a_version_is_put_once() {
    let Some(stage) = stage_pushed("the_tag_of_a_version_is_put_once") else { return };
    let other = other_release(&stage, "1.0.0");
    stage.proxy.fail(|_| Fault::None);
    assert_shown("push-tag-exists", &stage.shown(&push_as(&other, "1.0.0", &stage, false).unwrap_err()));
    assert_eq!(writes(&stage), [""; 0], "nothing was sent");
    let index = |layout: &Layout| layout.parts("noise").unwrap().index.bytes;
    assert_eq!(stage.remote().index().unwrap(), index(&stage.layout()));
    push_through(&stage).expect("the same content");

    push_as(&other, "1.0.0", &stage, true).expect("the caller allows it");
    assert_eq!(stage.remote().index().unwrap(), index(&other));
    // Between the first look at the tag and the last.
    stage.proxy.fail(|seen| {
        let late = seen.method == "HEAD" && seen.path.ends_with("/manifests/1.0.0") && seen.before == 0;
        if late { Fault::status("404 Not Found") } else { Fault::None }
    });
    push_as(&stage.layout(), "1.0.0", &stage, false).unwrap_err();
    assert_eq!(stage.remote().index().unwrap(), index(&other));
    // A tag that names no version is for moving.
    for layout in [&stage.layout(), &other] {
        stage.proxy.fail(|_| Fault::None);
        push_as(layout, "stable", &stage, false).unwrap();
    }
}

#[test]
fn the_tag_of_a_version_is_the_modules_version() {
    let Some(stage) = stage("the_tag_of_a_version_is_the_modules_version") else { return };
    for tag in ["1.0.1", "v1", "2026-11-30"] {
        let error = push_as(&stage.layout(), tag, &stage, true).unwrap_err();
        assert!(matches!(&error, RegistryError::OtherVersion { version, .. } if version == "1.0.0"), "{error}");
    }
    assert_shown("push-other-version", &stage.shown(&push_as(&stage.layout(), "1.0.1", &stage, true).unwrap_err()));
    assert_eq!(stage.proxy.seen().len(), 0);
}

/// Registries with immutable tags refuse in words of their own.
/// An answer to HEAD has no body: the reason is in the answer to the same question by GET.
#[test]
fn a_refusal_of_what_is_asked_first_has_its_reason() {
    let Some(stage) = stage_pushed("a_refusal_of_what_is_asked_first_has_its_reason") else { return };
    let other = other_release(&stage, "2.0.0");
    for (name, status, code) in [
        ("denied", "403 Forbidden", "DENIED"),
        ("name", "400 Bad Request", "NAME_INVALID"),
        ("method", "405 Method Not Allowed", "UNSUPPORTED"),
    ] {
        stage.proxy.fail(move |seen| {
            let body = format!(r#"{{"errors":[{{"code":"{code}","message":"not here"}}]}}"#);
            let (body, is_asked) = match seen.method.as_str() {
                "HEAD" => (String::new(), true),
                method => (body, method == "GET" && seen.path.contains("/manifests/")),
            };
            if is_asked { Fault::Answer(format!("{status}\r\nConnection: close\r\n\r\n{body}")) } else { Fault::None }
        });
        let error = push_as(&other, "2.0.0", &stage, false).unwrap_err();
        assert_shown(&format!("push-refused-{name}"), &stage.shown(&error));
    }
    // A registry that knows no HEAD is pushed to all the same.
    stage.proxy.fail(|seen| {
        let refused = || Fault::Answer("405 Method Not Allowed\r\nConnection: close\r\n\r\n".to_owned());
        if seen.method == "HEAD" { refused() } else { Fault::None }
    });
    push_as(&other, "2.0.0", &stage, false).unwrap();
}

#[test]
fn a_registry_with_immutable_tags_is_understood() {
    let Some(stage) = stage_pushed("a_registry_with_immutable_tags_is_understood") else { return };
    let other = other_release(&stage, "1.0.0");
    for (name, status, code, message) in [
        ("400", "400 Bad Request", "TAG_INVALID", "The image tag '1.0.0' already exists and cannot be overwritten"),
        ("409", "409 Conflict", "CONFLICT", "the tag exists"),
        ("412", "412 Precondition Failed", "PRECONDITION", "tag '1.0.0' is configured as immutable"),
    ] {
        stage.proxy.fail(move |seen| {
            let body = format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#);
            let is_tag = seen.method == "PUT" && seen.path.contains("/manifests/1.0.0");
            let answer = || Fault::Answer(format!("{status}\r\nConnection: close\r\n\r\n{body}"));
            if is_tag { answer() } else { Fault::None }
        });
        let error = push_as(&other, "1.0.0", &stage, true).unwrap_err();
        assert_shown(&format!("push-immutable-{name}"), &stage.shown(&error));
    }
    // The same code for a tag that does not exist is about something else.
    stage.proxy.fail(|seen| {
        let body = r#"{"errors":[{"code":"TAG_INVALID","message":"no tags of this form here"}]}"#;
        let answer = || Fault::Answer(format!("400 Bad Request\r\nConnection: close\r\n\r\n{body}"));
        if seen.method == "PUT" && seen.path.contains("/manifests/odd") { answer() } else { Fault::None }
    });
    assert_shown("push-tag-refused", &stage.shown(&push_as(&other, "odd", &stage, false).unwrap_err()));
}
