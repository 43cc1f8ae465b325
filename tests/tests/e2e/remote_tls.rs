//! Who is there: certificates, tokens, headers and instances, through the command line, before a real `buildbox-casd`.

use insta::assert_snapshot;
use isomer_testing::casd::Casd;
use isomer_testing::certificates::Certificates;
use isomer_testing::grpc_proxy::{Call, GrpcProxy, Verdict, with_token};
use isomer_tests::{guest, isomer, scratch, snapshot_settings};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tonic::Status;

/// A directory with a module, and calls that have it compiled elsewhere.
struct Client {
    directory: TempDir,
    url: String,
}

impl Client {
    fn new(url: String) -> Client {
        let client = Client { directory: scratch(), url };
        fs::copy(guest("numbers"), client.directory.path().join("numbers.wasm")).unwrap();
        client
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn call(&self, more: &str) -> isomer_tests::Call {
        // What is done here ends after a millisecond: a success came from there.
        let line = format!("compile numbers.wasm -t x86-64-v3 -o out --job-timeout 1ms --remote-exec {}", self.url);
        isomer().line(&line).line(more).dir(self.path())
    }

    #[track_caller]
    fn gets_in(&self, more: &str) {
        self.call(more).ok();
        fs::remove_file(self.path().join("out")).unwrap();
    }

    /// What a person sees when it fails, without what differs from run to run.
    #[track_caller]
    fn refused(&self, name: &str, more: &str) {
        let mut settings = snapshot_settings();
        settings.add_filter(r"127\.0\.0\.1:\d+", "[ADDRESS]");
        settings.add_filter(r"/[\w./-]*isomer-certificates-\w+", "[CERTIFICATES]");
        // Whether the answer in another protocol or the end of the connection is seen first is chance.
        settings.add_filter(
            r"closes the connection before it answers: .*",
            "closes the connection before it answers: [REASON]",
        );
        let ran = self.call(more).run();
        settings.bind(|| assert_snapshot!(name, ran.shown(self.path())));
        assert!(!self.path().join("out").exists(), "{ran}");
        for secret in ["s3cret", "wr0ng"] {
            assert!(!ran.stderr().contains(secret), "a secret is printed: {ran}");
        }
    }
}

/// The options that name files of `certificates`.
fn ca(certificates: &Certificates) -> String {
    format!("--remote-ca {}", certificates.path("ca.pem").display())
}

fn client(certificates: &Certificates) -> String {
    let path = |name: &str| certificates.path(name).display().to_string();
    format!("--remote-client-cert {} --remote-client-key {}", path("client.pem"), path("client.key"))
}

#[test]
fn a_farm_behind_tls_must_show_a_certificate_of_the_authority() {
    let Some(casd) = Casd::start("a_farm_behind_tls_must_show_a_certificate_of_the_authority") else { return };
    let (ours, theirs) = (Certificates::new(), Certificates::new());
    let proxy = GrpcProxy::with_tls(casd.address(), Some(ours.server()), |_| Verdict::Forward);
    let tls = Client::new(format!("grpcs://{}", proxy.address));
    tls.gets_in(&ca(&ours));
    tls.refused("tls_other_authority", &ca(&theirs));
    tls.refused("tls_system_authorities", "");
    tls.refused("tls_no_such_file", "--remote-ca none.pem");
    fs::write(tls.path().join("text.pem"), "not a certificate").unwrap();
    tls.refused("tls_no_certificate", "--remote-ca text.pem");
    fs::write(tls.path().join("cut.pem"), "-----BEGIN CERTIFICATE-----\nMIIB\n").unwrap();
    tls.refused("tls_cut_certificate", "--remote-ca cut.pem");
    Client::new(format!("grpc://{}", proxy.address)).refused("tls_wanted", "");
    Client::new(format!("grpcs://{}", casd.address())).refused("tls_unwanted", &ca(&ours));
}

#[test]
fn a_farm_that_asks_for_a_certificate_gets_ours() {
    let Some(casd) = Casd::start("a_farm_that_asks_for_a_certificate_gets_ours") else { return };
    let (ours, theirs) = (Certificates::new(), Certificates::new());
    let proxy = GrpcProxy::with_tls(casd.address(), Some(ours.asking_clients()), |_| Verdict::Forward);
    let tls = Client::new(format!("grpcs://{}", proxy.address));
    tls.gets_in(&format!("{} {}", ca(&ours), client(&ours)));
    // Whether its alert or the end of the connection is seen first is chance: no snapshot.
    for options in [ca(&ours), format!("{} {}", ca(&ours), client(&theirs))] {
        let ran = tls.call(&options).fails();
        assert!(ran.stderr().contains("the remote cannot be used; nothing is compiled"), "{ran}");
        assert!(ran.stderr().contains("a client certificate"), "{ran}");
        assert!(!tls.path().join("out").exists(), "{ran}");
    }
    let alone = format!("{} --remote-client-cert {}", ca(&ours), ours.path("client.pem").display());
    tls.refused("mtls_no_key", &alone);
    let other = format!("{alone} --remote-client-key {}", theirs.path("client.key").display());
    tls.refused("mtls_key_of_another", &other);
}

#[test]
fn a_token_comes_from_a_file_or_the_command_line() {
    let Some(casd) = Casd::start("a_token_comes_from_a_file_or_the_command_line") else { return };
    let certificates = Certificates::new();
    let tenants = Arc::new(Mutex::new(Vec::new()));
    let seen = tenants.clone();
    let rule = move |call: &Call| {
        seen.lock().unwrap().push(call.headers.get("x-tenant").map(|value| value.to_str().unwrap().to_owned()));
        with_token(call)
    };
    let proxy = GrpcProxy::with_tls(casd.address(), Some(certificates.server()), rule);
    let tls = Client::new(format!("grpcs://{}", proxy.address));
    let header = |more: &str, value: &str| {
        let call = tls.call(&format!("{} {more}", ca(&certificates)));
        call.arg(format!("--remote-header=authorization=Bearer {value}"))
    };
    header("--remote-header x-tenant=acme", "s3cret").ok();
    assert!(tenants.lock().unwrap().iter().all(|tenant| tenant.as_deref() == Some("acme")), "{tenants:?}");
    fs::write(tls.path().join("headers"), "X-Tenant = acme\n\nAuthorization = Bearer s3cret\n").unwrap();
    fs::remove_file(tls.path().join("out")).unwrap();
    tls.gets_in(&format!("{} --remote-header-file headers", ca(&certificates)));

    fs::write(tls.path().join("wrong"), "authorization=Bearer wr0ng\n").unwrap();
    tls.refused("token_wrong", &format!("{} --remote-header-file wrong", ca(&certificates)));
    tls.refused("token_none", &ca(&certificates));
    fs::write(tls.path().join("binary"), b"authorization=Bearer \xff s3cret\n").unwrap();
    tls.refused("token_no_text", &format!("{} --remote-header-file binary", ca(&certificates)));
    fs::write(tls.path().join("control"), "authorization=Bearer s3cret\u{1}\n").unwrap();
    tls.refused("token_control_character", &format!("{} --remote-header-file control", ca(&certificates)));
    tls.refused("token_no_file", &format!("{} --remote-header-file none", ca(&certificates)));
    // One that expires while there is work ends it, at once.
    let answered = Mutex::new(0);
    let expiring = GrpcProxy::with_tls(casd.address(), Some(certificates.server()), move |call| {
        *answered.lock().unwrap() += 1;
        if *answered.lock().unwrap() > 1 {
            Verdict::Refuse(Status::unauthenticated("expired"))
        } else {
            with_token(call)
        }
    });
    let tls = Client::new(format!("grpcs://{}", expiring.address));
    fs::write(tls.path().join("headers"), "authorization=Bearer s3cret\n").unwrap();
    tls.refused("token_expires", &format!("{} --remote-header-file headers", ca(&certificates)));
}

#[test]
fn a_farm_has_an_instance() {
    let Some(casd) = Casd::start_instance("a_farm_has_an_instance", "main") else { return };
    let plain = Client::new(casd.url());
    plain.gets_in("--remote-instance main");
    plain.refused("instance_wrong", "--remote-instance other");
    plain.refused("instance_none", "");
}
