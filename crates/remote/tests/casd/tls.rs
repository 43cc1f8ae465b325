//! Certificates in both directions, tokens, and what every call carries.

use crate::client::{casd, connect, options};
use crate::tool::action;
use bazel_remote_apis::build::bazel::remote::execution::v2 as reapi;
use isomer_remote::{Cancel, ClientCertificate, Header, Options, Remote, RemoteError, Tls};
use isomer_testing::certificates::Certificates;
use isomer_testing::grpc_proxy::{GrpcProxy, Verdict, with_token};
use prost::Message;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tonic::metadata::MetadataMap;

fn secure(proxy: &GrpcProxy, ca: &Path) -> Options {
    let mut options = options(proxy.address);
    let url = format!("grpcs://{}", proxy.address);
    (options.cas, options.action_cache, options.execution) = (url.clone(), url.clone(), Some(url));
    options.tls.ca_files = vec![ca.to_owned()];
    options.retry.attempts_max = 3;
    options
}

fn refusal(options: &Options) -> RemoteError {
    match Remote::connect(options, &Cancel::new()) {
        Ok(_) => panic!("it connected"),
        Err(error) => error,
    }
}

#[test]
fn a_certificate_is_checked() {
    let Some(casd) = casd() else { return };
    let (ours, theirs) = (Certificates::new(), Certificates::new());
    let proxy = GrpcProxy::with_tls(casd.address(), Some(ours.server()), |_| Verdict::Forward);
    let good = secure(&proxy, &ours.path("ca.pem"));
    connect(&good).execute(&action("time result", &["result"]).build().unwrap(), |_| ()).unwrap();

    let error = refusal(&secure(&proxy, &theirs.path("ca.pem")));
    assert!(matches!(error, RemoteError::Tls { .. }), "{error}");
    assert!(error.hint().unwrap().starts_with("pass the CA that signed the remote's certificate"));

    let mut named = good.clone();
    named.tls.server_name = Some("farm.example".to_owned());
    connect(&named);
    named.tls.server_name = Some("other.example".to_owned());
    let error = refusal(&named);
    assert!(matches!(error, RemoteError::Tls { .. }), "{error}");

    let mut systems = good.clone();
    systems.tls.ca_files.clear();
    let error = refusal(&systems);
    assert!(matches!(error, RemoteError::Tls { .. } | RemoteError::Options { .. }), "{error}");
}

#[test]
fn plain_and_tls_do_not_mix() {
    let Some(casd) = casd() else { return };
    let certificates = Certificates::new();
    let proxy = GrpcProxy::with_tls(casd.address(), Some(certificates.server()), |_| Verdict::Forward);
    let mut plain = options(proxy.address);
    plain.retry.attempts_max = 2;
    let error = refusal(&plain);
    assert!(matches!(error, RemoteError::Disconnected { .. }), "{error}");
    let mut secured = secure(&proxy, &certificates.path("ca.pem"));
    let url = format!("grpcs://{}", casd.address());
    (secured.cas, secured.action_cache, secured.execution) = (url.clone(), url.clone(), Some(url));
    let error = refusal(&secured);
    assert!(matches!(error, RemoteError::Tls { .. } | RemoteError::Unreachable { .. }), "{error}");
}

#[test]
fn a_remote_may_ask_for_our_certificate() {
    let Some(casd) = casd() else { return };
    let (ours, theirs) = (Certificates::new(), Certificates::new());
    let proxy = GrpcProxy::with_tls(casd.address(), Some(ours.asking_clients()), |_| Verdict::Forward);
    let mut options = secure(&proxy, &ours.path("ca.pem"));
    let error = refusal(&options);
    assert!(matches!(error, RemoteError::Tls { .. } | RemoteError::Disconnected { .. }), "{error}");
    assert!(error.hint().unwrap().contains("client certificate"), "{error}");

    let client = |certificates: &Certificates| {
        Some(ClientCertificate { certificate: certificates.path("client.pem"), key: certificates.path("client.key") })
    };
    options.tls.client = client(&ours);
    let remote = connect(&options);
    remote.execute(&action("time result", &["result"]).build().unwrap(), |_| ()).unwrap();

    options.tls.client = client(&theirs);
    let error = refusal(&options);
    assert!(matches!(error, RemoteError::Tls { .. } | RemoteError::Disconnected { .. }), "{error}");
    assert!(error.hint().unwrap().contains("client certificate"), "{error}");
}

#[test]
fn files_that_are_not_certificates_are_refused() {
    let certificates = Certificates::new();
    let nowhere = options("127.0.0.1:1".parse().unwrap());
    let with = |name: &str, text: Option<&str>| {
        let path = certificates.path(name);
        if let Some(text) = text {
            fs::write(&path, text).unwrap();
        }
        let mut options = nowhere.clone();
        options.cas = "grpcs://127.0.0.1:1".to_owned();
        options.tls.ca_files = vec![path];
        refusal(&options).to_string()
    };
    assert!(with("absent", None).contains("absent: No such file"), "{}", with("absent", None));
    assert!(with("empty", Some("")).ends_with("empty: expected PEM, found no `-----BEGIN CERTIFICATE-----`"));
    let broken = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
    let text = with("broken", Some(broken));
    assert!(text.contains("certificates and keys (") && text.contains("/broken)"), "{text}");
}

#[test]
fn a_bearer_token_authenticates() {
    let Some(casd) = casd() else { return };
    let certificates = Certificates::new();
    let proxy = GrpcProxy::with_tls(casd.address(), Some(certificates.server()), with_token);
    let mut options = secure(&proxy, &certificates.path("ca.pem"));
    let error = refusal(&options);
    assert!(matches!(error, RemoteError::Unauthenticated { .. }), "{error}");

    options.headers = vec![Header::bearer("wrong")];
    let error = refusal(&options);
    assert!(matches!(error, RemoteError::Permission { .. }), "{error}");
    assert!(!format!("{options:?} {error:?}").contains("wrong"), "a secret is printed");

    options.headers = vec![Header::bearer("s3cret")];
    connect(&options).execute(&action("time result", &["result"]).build().unwrap(), |_| ()).unwrap();

    options.headers = vec![Header::bearer("s3cret\n")];
    let error = refusal(&options);
    let expected = "the header `authorization`: the value has characters that a header cannot have";
    assert_eq!(error.to_string(), expected);
    for name in ["grpc-timeout", "Content-Type", "te", "host", "user-agent"] {
        options.headers = vec![Header { name: name.to_owned(), value: "x".to_owned() }];
        let error = refusal(&options).to_string();
        assert_eq!(error, format!("the header `{name}`: it is reserved by the protocol"));
    }
}

#[test]
fn every_call_carries_the_request_metadata() {
    let Some(casd) = casd() else { return };
    let seen = Arc::new(Mutex::new(Vec::new()));
    let seeing = Arc::clone(&seen);
    let proxy = GrpcProxy::start(casd.address(), move |call| {
        let headers = MetadataMap::from_headers(call.headers.clone());
        let metadata = headers.get_bin("build.bazel.remote.execution.v2.requestmetadata-bin").unwrap();
        let metadata = reapi::RequestMetadata::decode(metadata.to_bytes().unwrap()).unwrap();
        let tenant = headers.get("x-tenant").map(|value| value.to_str().unwrap().to_owned());
        seeing.lock().unwrap().push((call.method.clone(), metadata, tenant));
        Verdict::Forward
    });
    let mut options = options(proxy.address);
    options.tool.name = "isomer".to_owned();
    options.tool.version = "1.2.3".to_owned();
    options.tool.invocation_id = "run 7".to_owned();
    options.headers = vec![Header { name: "X-Tenant".to_owned(), value: "acme".to_owned() }];
    let action = action("time result", &["result"]).build().unwrap();
    connect(&options).execute(&action, |_| ()).unwrap();
    let seen = seen.lock().unwrap();
    for (method, metadata, tenant) in seen.iter() {
        let tool = metadata.tool_details.clone().unwrap();
        assert_eq!((tool.tool_name.as_str(), tool.tool_version.as_str()), ("isomer", "1.2.3"), "{method}");
        assert_eq!(metadata.tool_invocation_id, "run 7", "{method}");
        assert_eq!(tenant.as_deref(), Some("acme"), "{method}");
        let expected = if method == "Execute" { action.digest().hash() } else { String::new() };
        assert_eq!(metadata.action_id, expected, "{method}");
    }
    assert!(seen.iter().any(|(method, ..)| method == "Execute"));
}

/// A certificate implies TLS. No connection is made: no server listens there.
#[test]
fn certificates_are_of_no_use_without_tls() {
    let certificates = Certificates::new();
    let client =
        || ClientCertificate { certificate: certificates.path("client.pem"), key: certificates.path("client.key") };
    let mut options = Options::new("grpc://127.0.0.1:1");
    for tls in [
        Tls { ca_files: vec!["/nonexistent".into()], ..Tls::default() },
        Tls { client: Some(client()), ..Tls::default() },
    ] {
        options.tls = tls;
        let error = refusal(&options);
        let expected = "unused, since `grpc://127.0.0.1:1` is without TLS";
        assert!(matches!(error, RemoteError::Options { .. }) && error.to_string().ends_with(expected), "{error}");
        assert!(error.hint().unwrap().starts_with("write `grpcs://127.0.0.1:1` for TLS"), "{error}");
    }
    // A key is no certificate, nor the other way round; and nothing is read without a bound.
    let mut options = Options::new("grpcs://127.0.0.1:1");
    options.tls.ca_files = vec!["/dev/zero".into()];
    let error = refusal(&options).to_string();
    assert!(error.ends_with("/dev/zero: expected PEM of at most 1048576 bytes, found more"), "{error}");
    options.tls.ca_files = vec![certificates.path("client.key")];
    let error = refusal(&options).to_string();
    assert!(error.ends_with("client.key: expected PEM, found no `-----BEGIN CERTIFICATE-----`"), "{error}");
    let swapped = ClientCertificate { certificate: client().certificate, key: client().certificate };
    options.tls = Tls { client: Some(swapped), ..Tls::default() };
    let error = refusal(&options).to_string();
    assert!(error.ends_with("client.pem: expected PEM, found no `-----BEGIN PRIVATE KEY-----`"), "{error}");
}

#[test]
fn headers_sent_without_tls_are_known() {
    let mut options = Options::new("grpc://farm:8980");
    assert_eq!(options.headers_in_the_clear(), None);
    options.headers = vec![Header::bearer("s3cret")];
    assert_eq!(options.headers_in_the_clear(), Some("grpc://farm:8980"));
    for url in ["grpcs://farm:8980", "grpc://127.0.0.1:8980", "grpc://[::1]:8980", "grpc://localhost:8980"] {
        options.cas = url.to_owned();
        options.action_cache = url.to_owned();
        options.execution = None;
        assert_eq!(options.headers_in_the_clear(), None, "{url}");
    }
}
