//! Reading: what comes is what was requested, however it comes, or nothing does.

use crate::stage::{NOISE_SIZE_BYTES, Stage, assert_shown, connect, quick, stage_pushed};
use isomer_contract::Digest;
use isomer_contract::manifest::Blob;
use isomer_layout::{Source as _, SourceError};
use isomer_registry::{Options, Remote};
use isomer_testing::http_proxy::{Fault, Proxy, Seen};
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The layer's bytes and how many of them were reported, fetched into a file that holds `first`.
fn fetch(remote: &Remote, blob: Blob, first: &[u8]) -> Result<(Vec<u8>, u64), SourceError> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(first).unwrap();
    let reported = AtomicU64::new(0);
    remote.layer(blob, &mut file, &|bytes| {
        reported.fetch_add(bytes, Ordering::Relaxed);
    })?;
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    Ok((bytes, reported.into_inner()))
}

fn noise(stage: &Stage) -> Vec<u8> {
    let path = format!("dist/blobs/sha256/{}", stage.layer().digest.hex());
    fs::read(stage.directory.path().join(path)).unwrap()
}

fn is_layer(seen: &Seen) -> bool {
    seen.path.contains("/blobs/")
}

#[test]
fn everything_comes_back_as_it_was_pushed() {
    let Some(stage) = stage_pushed("everything_comes_back_as_it_was_pushed") else { return };
    let parts = stage.layout().parts("noise").unwrap();
    let remote = stage.remote();
    assert_eq!(remote.index().unwrap(), parts.index.bytes);
    for manifest in &parts.manifests {
        assert_eq!(remote.manifest(manifest.blob).unwrap(), manifest.bytes);
    }
    let config = parts.blobs.iter().min_by_key(|it| it.size_bytes).unwrap();
    assert_eq!(Digest::of(&remote.document(*config).unwrap()), config.digest);
    assert_eq!(remote.signatures(parts.index.blob).unwrap().readable, parts.signatures);
    assert_eq!(parts.signatures.len(), 1);
    let (bytes, reported) = fetch(&remote, stage.layer(), &[]).unwrap();
    assert!(bytes == noise(&stage));
    assert_eq!(reported, NOISE_SIZE_BYTES as u64);

    let by_digest = format!("{}/acme/noise@{}", stage.proxy.host(), parts.index.blob.digest);
    assert_eq!(connect(&by_digest, &quick()).unwrap().index().unwrap(), parts.index.bytes);
    let wasm = format!("{}/acme/noise:1.0.0-wasm", stage.proxy.host());
    assert_eq!(connect(&wasm, &quick()).unwrap().index().unwrap(), parts.manifests[0].bytes);
    // What nothing refers to has no signatures.
    assert_eq!(remote.signatures(Blob::of(b"other")).unwrap().readable, []);
}

#[test]
fn refusals_are_final_and_say_what_to_do() {
    let Some(stage) = stage_pushed("refusals_are_final_and_say_what_to_do") else { return };
    let words = r#"{"errors":[{"code":"DENIED","message":"not \u001b[31myours"}]}"#;
    let answer = |status: &str| Fault::Answer(format!("{status}\r\nConnection: close\r\n\r\n{words}"));
    for (name, fault) in [
        ("401", Fault::status("401 Unauthorized")),
        ("403", answer("403 Forbidden")),
        ("404", Fault::status("404 Not Found")),
        ("418", Fault::status("418 I'm a teapot")),
        ("304", Fault::status("304 Not Modified")),
    ] {
        stage.proxy.fail(move |_| fault.clone());
        let error = stage.remote().index().unwrap_err();
        assert_shown(&format!("status-{name}"), &stage.shown(&error));
        assert_eq!(stage.proxy.seen().len(), 1, "{error}");
    }
    stage.proxy.fail(|_| Fault::None);
    let unknown = connect(&format!("{}/acme/other:1.0.0", stage.proxy.host()), &quick()).unwrap();
    assert_shown("unknown-repository", &stage.shown(&unknown.index().unwrap_err()));
    let untagged = connect(&format!("{}/acme/noise", stage.proxy.host()), &quick()).unwrap();
    assert_shown("no-tag", &stage.shown(&untagged.index().unwrap_err()));
}

#[test]
fn storms_are_waited_out_up_to_a_limit() {
    let Some(stage) = stage_pushed("storms_are_waited_out_up_to_a_limit") else { return };
    for status in ["429 Too Many Requests", "500 Internal Server Error", "503 Service Unavailable"] {
        stage.proxy.fail(move |seen| if seen.before < 2 { Fault::status(status) } else { Fault::None });
        stage.remote().index().unwrap();
        assert_eq!(stage.proxy.seen().len(), 3);
        stage.proxy.fail(move |_| Fault::status(status));
        let error = stage.remote().index().unwrap_err();
        assert_shown(&format!("status-{}", &status[..3]), &stage.shown(&error));
        assert_eq!(stage.proxy.seen().len(), 3);
    }
}

#[test]
fn a_registry_says_when_to_come_again() {
    let Some(stage) = stage_pushed("a_registry_says_when_to_come_again") else { return };
    let later = |seconds: u32| {
        let head = "429 Too Many Requests\r\nContent-Length: 0\r\nConnection: close";
        Fault::Answer(format!("{head}\r\nRetry-After: {seconds}\r\n\r\n"))
    };
    stage.proxy.fail(move |seen| if seen.before == 0 { later(1) } else { Fault::None });
    let begun = Instant::now();
    stage.remote().index().unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    // More than all pauses may take.
    stage.proxy.fail(move |_| later(3600));
    let begun = Instant::now();
    stage.remote().index().unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(stage.proxy.seen().len(), 1);
}

#[test]
fn a_download_goes_on_where_it_was_cut_off() {
    let Some(stage) = stage_pushed("a_download_goes_on_where_it_was_cut_off") else { return };
    // Far more cuts than tries: each gets further.
    stage.proxy.fail(|seen| if is_layer(seen) && seen.before < 5 { Fault::CutAnswer(2 << 20) } else { Fault::None });
    let (bytes, reported) = fetch(&stage.remote(), stage.layer(), &[]).unwrap();
    assert!(bytes == noise(&stage));
    assert_eq!(reported, NOISE_SIZE_BYTES as u64);
    let seen = stage.proxy.seen();
    assert_eq!(seen.len(), 6);
    assert_eq!(seen[0].range, None);
    assert_eq!(seen[5].range.as_deref(), Some("bytes=10485760-"));
    assert_eq!(stage.proxy.body_bytes(), NOISE_SIZE_BYTES as u64, "no byte came twice");
}

#[test]
fn what_is_in_the_file_is_not_fetched_again() {
    let Some(stage) = stage_pushed("what_is_in_the_file_is_not_fetched_again") else { return };
    let (noise, remote) = (noise(&stage), stage.remote());
    let (bytes, reported) = fetch(&remote, stage.layer(), &noise[..NOISE_SIZE_BYTES - 1000]).unwrap();
    assert!(bytes == noise);
    assert_eq!((stage.proxy.body_bytes(), reported), (1000, NOISE_SIZE_BYTES as u64));

    stage.proxy.fail(|_| Fault::None);
    assert!(fetch(&remote, stage.layer(), &noise).unwrap().0 == noise);
    assert_eq!(stage.proxy.seen().len(), 0, "all of it was there");

    // A part that is not the beginning of the blob, and one that is longer than the blob.
    for first in [vec![0; 5 << 20], vec![0; NOISE_SIZE_BYTES], vec![0; NOISE_SIZE_BYTES + 1]] {
        let (bytes, reported) = fetch(&remote, stage.layer(), &first).unwrap();
        assert!(bytes == noise);
        assert_eq!(reported, NOISE_SIZE_BYTES as u64);
    }
}

#[test]
fn a_registry_without_ranges_is_read_from_the_beginning() {
    let Some(stage) = stage_pushed("a_registry_without_ranges_is_read_from_the_beginning") else { return };
    let noise = noise(&stage);
    stage.proxy.fail(|_| Fault::NoRange);
    let (bytes, reported) = fetch(&stage.remote(), stage.layer(), &noise[..1 << 20]).unwrap();
    assert!(bytes == noise);
    assert_eq!(reported, NOISE_SIZE_BYTES as u64);
    // Also one that lies about its ranges, or refuses them.
    for answer in [
        "206 Partial Content\r\nContent-Range: bytes 7-9/10\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "416 Range Not Satisfiable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    ] {
        stage.proxy.fail(move |seen| match &seen.range {
            Some(_) => Fault::Answer(answer.to_owned()),
            None => Fault::None,
        });
        assert!(fetch(&stage.remote(), stage.layer(), &noise[..1 << 20]).unwrap().0 == noise);
    }
}

#[test]
fn a_download_that_gets_nowhere_ends() {
    let Some(stage) = stage_pushed("a_download_that_gets_nowhere_ends") else { return };
    stage.proxy.fail(|_| Fault::CutAnswer(0));
    let error = fetch(&stage.remote(), stage.layer(), &[]).unwrap_err();
    assert_shown("cut-layer", &stage.shown(&error));
    assert_eq!(stage.proxy.seen().len(), 3);
    stage.proxy.fail(|_| Fault::CutAnswer(10));
    assert_shown("cut-index", &stage.shown(&stage.remote().index().unwrap_err()));
}

#[test]
fn other_bytes_are_refused() {
    let Some(stage) = stage_pushed("other_bytes_are_refused") else { return };
    stage.proxy.fail(|_| Fault::OtherByte(100));
    let remote = stage.remote();
    assert_shown("other-index", &stage.shown(&remote.index().unwrap_err()));
    let parts = stage.layout().parts("noise").unwrap();
    assert_shown("other-manifest", &stage.shown(&remote.manifest(parts.manifests[0].blob).unwrap_err()));
    assert_shown("other-layer", &stage.shown(&fetch(&remote, stage.layer(), &[]).unwrap_err()));
    let by_digest = format!("{}/acme/noise@{}", stage.proxy.host(), Digest::of(b"another index"));
    let body = "{}";
    stage.proxy.fail(move |_| Fault::Answer(format!("200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{body}")));
    let error = connect(&by_digest, &quick()).unwrap().index().unwrap_err();
    assert_shown("other-index-by-digest", &stage.shown(&error));
    // Fewer and more of them than promised.
    assert_shown("short-document", &stage.shown(&remote.document(parts.blobs[0]).unwrap_err()));
    let one = Blob { digest: Digest::of(b"1"), size_bytes: 1 };
    assert_shown("long-document", &stage.shown(&remote.document(one).unwrap_err()));
}

#[test]
fn an_endless_body_is_cut_off() {
    let Some(stage) = stage_pushed("an_endless_body_is_cut_off") else { return };
    stage.proxy.fail(|_| Fault::Endless);
    let remote = stage.remote();
    assert_shown("endless-index", &stage.shown(&remote.index().unwrap_err()));
    let small = Blob { digest: Digest::of(b"small"), size_bytes: 5 };
    let before = stage.proxy.body_bytes();
    assert_shown("endless-layer", &stage.shown(&fetch(&remote, small, &[]).unwrap_err()));
    // As much as fits between the two ends.
    assert!(before < 32 << 20, "{before}");
    let huge = Blob { digest: Digest::of(b"huge"), size_bytes: 1 << 50 };
    assert_shown("huge-claim", &stage.shown(&fetch(&remote, huge, &[]).unwrap_err()));
    assert_shown("huge-document", &stage.shown(&remote.document(huge).unwrap_err()));
}

#[test]
fn silence_ends_the_wait() {
    let Some(stage) = stage_pushed("silence_ends_the_wait") else { return };
    stage.proxy.fail(|_| Fault::Silence(Duration::from_secs(30)));
    let options = Options { idle_timeout: Duration::from_millis(300), ..quick() };
    let remote = connect(&stage.remote().reference().to_string(), &options).unwrap();
    let begun = Instant::now();
    assert_shown("silence", &stage.shown(&remote.index().unwrap_err()));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn a_document_that_comes_drop_by_drop_has_a_deadline() {
    let Some(stage) = stage_pushed("a_document_that_comes_drop_by_drop_has_a_deadline") else { return };
    let options = Options { document_timeout: Duration::from_millis(300), ..quick() };
    let remote = connect(&stage.remote().reference().to_string(), &options).unwrap();
    let index = stage.layout().parts("noise").unwrap().index.blob;
    // Never silent, and never done.
    stage.proxy.fail(|_| Fault::Drip(Duration::from_millis(20)));
    let begun = Instant::now();
    assert_shown("drip-index", &stage.shown(&remote.index().unwrap_err()));
    assert_shown("drip-manifest", &stage.shown(&remote.manifest(index).unwrap_err()));
    stage.proxy.fail(|seen| match seen.path.contains("referrers") {
        true => Fault::Answer("404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned()),
        false => Fault::Drip(Duration::from_millis(20)),
    });
    assert_shown("drip-signatures", &stage.shown(&remote.signatures(index).unwrap_err()));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn a_layer_that_trickles_is_asked_for_again_from_where_it_is() {
    let Some(stage) = stage_pushed("a_layer_that_trickles_is_asked_for_again_from_where_it_is") else { return };
    let options = Options { idle_timeout: Duration::from_millis(300), ..quick() };
    let remote = connect(&stage.remote().reference().to_string(), &options).unwrap();
    stage.proxy.fail(|seen| if seen.before == 0 { Fault::Drip(Duration::from_millis(20)) } else { Fault::None });
    let (bytes, _) = fetch(&remote, stage.layer(), &[]).unwrap();
    assert_eq!(Digest::of(&bytes), stage.layer().digest);
    let ranges: Vec<_> = stage.proxy.seen().into_iter().map(|seen| seen.range.is_some()).collect();
    assert_eq!(ranges, [false, true]);
    stage.proxy.fail(|_| Fault::Drip(Duration::from_millis(20)));
    let begun = Instant::now();
    assert_shown("drip-layer", &stage.shown(&fetch(&remote, stage.layer(), &[]).unwrap_err()));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn no_registry_at_all() {
    let Some(stage) = stage_pushed("no_registry_at_all") else { return };
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let remote = connect(&format!("{address}/acme/noise:1.0.0"), &quick()).unwrap();
    assert_shown("no-connection", &stage.shown(&remote.index().unwrap_err()));
}

#[test]
fn redirects_are_followed_where_that_is_safe() {
    let Some(stage) = stage_pushed("redirects_are_followed_where_that_is_safe") else { return };
    let storage = Proxy::start(stage.registry.host());
    let to = |target: String| {
        let head = "307 Temporary Redirect\r\nContent-Length: 0\r\nConnection: close";
        move |seen: &Seen| Fault::Answer(format!("{head}\r\nLocation: {target}{}\r\n\r\n", seen.path))
    };
    stage.proxy.fail(to(format!("http://{}", storage.host())));
    assert!(fetch(&stage.remote(), stage.layer(), &[]).unwrap().0 == noise(&stage));
    assert_eq!((stage.proxy.body_bytes(), storage.body_bytes()), (0, NOISE_SIZE_BYTES as u64));
    stage.proxy.fail(to("http://registry.example".to_owned()));
    assert_shown("redirect-unencrypted", &stage.shown(&stage.remote().index().unwrap_err()));
    stage.proxy.fail(to("file://".to_owned()));
    assert_shown("redirect-file", &stage.shown(&stage.remote().index().unwrap_err()));
    stage.proxy.fail(to(format!("http://{}", stage.proxy.host())));
    assert_shown("redirect-circle", &stage.shown(&stage.remote().index().unwrap_err()));
    assert!(stage.proxy.seen().len() <= 7);
}

#[test]
fn a_full_disk_is_no_fault_of_the_registry() {
    let Some(stage) = stage_pushed("a_full_disk_is_no_fault_of_the_registry") else { return };
    // Opened for reading only, it takes as little as a full disk does.
    let path = stage.directory.path().join("part");
    fs::write(&path, "").unwrap();
    let error = stage.remote().layer(stage.layer(), &mut File::open(&path).unwrap(), &|_| {}).unwrap_err();
    assert_shown("unwritable-file", &stage.shown(&error));
    assert_eq!(stage.proxy.seen().len(), 1);
}

#[test]
fn too_many_and_malformed_signatures() {
    let Some(stage) = stage_pushed("too_many_and_malformed_signatures") else { return };
    let index = stage.layout().parts("noise").unwrap().index.blob;
    let list = |body: String| {
        let length = body.len();
        let head = "200 OK\r\nContent-Type: application/vnd.oci.image.index.v1+json\r\nConnection: close";
        Fault::Answer(format!("{head}\r\nContent-Length: {length}\r\n\r\n{body}"))
    };
    let list = move |body: String| {
        move |seen: &Seen| if seen.path.contains("/referrers/") { list(body.clone()) } else { Fault::None }
    };
    stage.proxy.fail(list("{".to_owned()));
    assert_shown("malformed-referrers", &stage.shown(&stage.remote().signatures(index).unwrap_err()));

    let parts = stage.layout().parts("noise").unwrap();
    let manifest = Blob::of(&parts.signatures[0].manifest);
    let entry = |kind: &str, blob: Blob| {
        let (digest, size) = (blob.digest, blob.size_bytes);
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        format!(r#"{{"mediaType":"{media_type}","artifactType":"{kind}","digest":"{digest}","size":{size}}}"#)
    };
    let bundle = isomer_contract::manifest::BUNDLE_MEDIA_TYPE;
    let whole = |entries: &[String]| format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
    // Another kind is passed over, also where it cannot be had; the same twice is one.
    let other = entry("application/x", Blob::of(b"not there"));
    stage.proxy.fail(list(whole(&[other, entry(bundle, manifest), entry(bundle, manifest)])));
    assert_eq!(stage.remote().signatures(index).unwrap().readable, parts.signatures);
    // A signature that is listed and not there does not stop the one that is.
    stage.proxy.fail(list(whole(&[entry(bundle, Blob::of(b"not there")), entry(bundle, manifest)])));
    assert_eq!(stage.remote().signatures(index).unwrap().readable, parts.signatures);
}

/// An answer of the registry's list of referrers.
fn list(entries: &[String]) -> Fault {
    let body = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
    let head = "200 OK\r\nContent-Type: application/vnd.oci.image.index.v1+json\r\nConnection: close";
    Fault::Answer(format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

fn referrer(blob: Blob) -> String {
    let (kind, digest, size) = (isomer_contract::manifest::BUNDLE_MEDIA_TYPE, blob.digest, blob.size_bytes);
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    format!(r#"{{"mediaType":"{media_type}","artifactType":"{kind}","digest":"{digest}","size":{size}}}"#)
}

/// Any writer of the repository may add a referrer: a broken one must not hide a good one.
#[test]
fn a_broken_referrer_does_not_hide_a_good_one() {
    let Some(stage) = stage_pushed("a_broken_referrer_does_not_hide_a_good_one") else { return };
    let parts = stage.layout().parts("noise").unwrap();
    let (index, good) = (parts.index.blob, Blob::of(&parts.signatures[0].manifest));
    // The list begins with `entry`, which names a manifest with these bytes; behind it is the good one.
    let listed = |entry: String, manifest: String| {
        let (entries, name) = ([entry, referrer(good)], Digest::of(manifest.as_bytes()).to_string());
        stage.proxy.fail(move |seen| match &seen.path {
            path if path.contains("/referrers/") => list(&entries),
            path if path.contains(&name) => {
                let head = format!("200 OK\r\nContent-Length: {}\r\nConnection: close", manifest.len());
                Fault::Answer(format!("{head}\r\n\r\n{manifest}"))
            }
            _ => Fault::None,
        });
    };
    let document: serde_json::Value = serde_json::from_slice(&parts.signatures[0].manifest).unwrap();
    let mut two_layers = document.clone();
    two_layers["layers"] = serde_json::json!([document["layers"][0], document["layers"][0]]);
    let mut other_layer = document.clone();
    other_layer["layers"][0]["mediaType"] = "text/plain".into();
    let mut missing_bundle = document.clone();
    missing_bundle["layers"][0]["digest"] = Digest::of(b"not there").to_string().into();
    let mut huge_bundle = document;
    huge_bundle["layers"][0]["size"] = (1_u64 << 50).into();
    for manifest in [two_layers, other_layer, missing_bundle, huge_bundle].map(|it| it.to_string()) {
        listed(referrer(Blob::of(manifest.as_bytes())), manifest.clone());
        let found = stage.remote().signatures(index).unwrap();
        assert_eq!((found.readable, found.unreadable.len()), (parts.signatures.clone(), 1), "{manifest}");
    }
    // Other bytes than the list declares, another size, and an entry that is no descriptor.
    for entry in [
        referrer(Blob { size_bytes: 2, ..Blob::of(b"{}x") }),
        referrer(Blob { digest: Digest::of(b"{}"), size_bytes: 1 }),
        referrer(Blob { digest: Digest::of(b"{}"), size_bytes: 3 }),
        r#"{"mediaType":7}"#.to_owned(),
        "null".to_owned(),
        "[]".to_owned(),
    ] {
        listed(entry.clone(), "{}".to_owned());
        assert_eq!(stage.remote().signatures(index).unwrap().readable, parts.signatures, "{entry}");
    }
    // Storage that has lost one of them fails each time it is requested.
    let lost = Blob::of(b"lost");
    let entries = [referrer(lost), referrer(good)];
    stage.proxy.fail(move |seen| match &seen.path {
        path if path.contains("/referrers/") => list(&entries),
        path if path.contains(&lost.digest.to_string()) => Fault::status("500 Internal Server Error"),
        _ => Fault::None,
    });
    assert_eq!(stage.remote().signatures(index).unwrap().readable, parts.signatures);
}

#[test]
fn a_long_list_of_referrers_costs_a_bounded_number_of_requests() {
    let Some(stage) = stage_pushed("a_long_list_of_referrers_costs_a_bounded_number_of_requests") else { return };
    let parts = stage.layout().parts("noise").unwrap();
    let index = parts.index.blob;
    let good = referrer(Blob::of(&parts.signatures[0].manifest));
    let mut entries = vec![good];
    entries.extend((0..14_000).map(|number: u32| referrer(Blob::of(&number.to_le_bytes()))));
    stage.proxy.fail(move |seen| if seen.path.contains("/referrers/") { list(&entries) } else { Fault::None });
    assert_eq!(stage.remote().signatures(index).unwrap().readable, parts.signatures);
    let requests = stage.proxy.seen().len();
    assert!(requests <= 200, "{requests} requests");
    // A registry that fails for each of them is not asked for all of them.
    let entries: Vec<_> = (0..1000).map(|number: u32| referrer(Blob::of(&number.to_le_bytes()))).collect();
    stage.proxy.fail(move |seen| match seen.path.contains("/referrers/") {
        true => list(&entries),
        false => Fault::status("503 Service Unavailable"),
    });
    assert_shown("referrers-unavailable", &stage.shown(&stage.remote().signatures(index).unwrap_err()));
    assert!(stage.proxy.seen().len() <= 20, "{}", stage.proxy.seen().len());
}
