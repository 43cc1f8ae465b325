//! Who we are, and who the registry is: passwords, tokens, certificates.

use crate::stage::{KEEP, Stage, assert_shown, connect, quick, release, shown, stage_pushed};
use isomer_layout::{Layout, Source as _};
use isomer_registry::{Options, Remote, push};
use isomer_testing::http_proxy::{Fault, Proxy};
use isomer_testing::registry::{Registry, Setup, make_certificates};
use isomer_testing::skip;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;
use tempfile::TempDir;

/// A registry behind a proxy, and a release.
fn stage_with(test: &str, setup: &Setup) -> Option<Stage> {
    let Some(registry) = Registry::start_with(setup) else {
        skip(test, "docker-registry is not installed");
        return None;
    };
    let directory = tempfile::tempdir().unwrap();
    release(&directory.path().join("dist"));
    Some(Stage { proxy: Proxy::start(registry.host()), registry, directory })
}

fn with_config(directory: &Path) -> Options {
    Options { docker_config: Some(directory.to_owned()), ..quick() }
}

fn written(config: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("config.json"), config).unwrap();
    directory
}

#[test]
fn a_registry_with_passwords() {
    let Some(stage) = stage_with("a_registry_with_passwords", &Setup { password: true, ..Setup::default() }) else {
        return;
    };
    let reference = stage.remote().reference().to_string();
    assert_shown("login-anonymous", &stage.shown(&stage.remote().index().unwrap_err()));

    let config = tempfile::tempdir().unwrap();
    Registry::log_in(stage.proxy.host(), config.path());
    let remote = connect(&reference, &with_config(config.path())).unwrap();
    stage.proxy.fail(|_| Fault::None);
    push(&stage.layout(), "noise", &remote, &KEEP).unwrap();
    assert_eq!(remote.index().unwrap(), stage.layout().parts("noise").unwrap().index.bytes);
    // It is requested once, and shown from then on.
    let anonymous = stage.proxy.seen().into_iter().filter(|it| it.authorization.is_none()).count();
    assert!(anonymous <= 4, "{:?}", stage.proxy.lines());

    let wrong = written(&format!(r#"{{"auths": {{"{}": {{"auth": "ZmFybTp3cm9uZw=="}}}}}}"#, stage.proxy.host()));
    let remote = connect(&reference, &with_config(wrong.path())).unwrap();
    stage.proxy.fail(|_| Fault::None);
    assert_shown("login-wrong-password", &stage.shown(&remote.index().unwrap_err()));
    assert_eq!(stage.proxy.seen().len(), 2);

    // Credentials for another host are not for this one; nor are these for where it redirects to.
    let other = tempfile::tempdir().unwrap();
    Registry::log_in("registry.example", other.path());
    connect(&reference, &with_config(other.path())).unwrap().index().unwrap_err();
    let storage = Proxy::start(stage.registry.host());
    let to = storage.host().to_owned();
    stage.proxy.fail(move |seen| {
        let head = "307 Temporary Redirect\r\nContent-Length: 0\r\nConnection: close";
        match seen.authorization {
            Some(_) => Fault::Answer(format!("{head}\r\nLocation: http://{to}{}\r\n\r\n", seen.path)),
            None => Fault::None,
        }
    });
    let remote = connect(&reference, &with_config(config.path())).unwrap();
    assert_shown("login-not-elsewhere", &stage.shown(&remote.index().unwrap_err()));
    assert_eq!(storage.seen().iter().map(|it| it.authorization.clone()).collect::<Vec<_>>(), [None]);
}

#[test]
fn an_invalid_docker_configuration_is_an_error() {
    let broken = written("{");
    let error = connect("registry.example/a:1", &Options { plain_http: false, ..with_config(broken.path()) });
    let text = shown(&error.err().unwrap()).replace(&broken.path().display().to_string(), "[DIR]");
    assert_shown("login-broken-config", &text);
    let helper = written(r#"{"credHelpers": {"registry.example": "isomer-test-nonexistent"}}"#);
    let error = connect("registry.example/a:1", &Options { plain_http: false, ..with_config(helper.path()) });
    let text = shown(&error.err().unwrap()).replace(&helper.path().display().to_string(), "[DIR]");
    assert_shown("login-no-helper", &text);
}

#[test]
fn plain_http_is_for_this_machine() {
    let error = connect("registry.example:5000/a:1", &quick()).err().unwrap();
    assert_shown("plain-http-elsewhere", &shown(&error));
}

#[test]
fn a_registry_with_a_certificate_of_its_own_ca() {
    let setup = Setup { tls: true, ..Setup::default() };
    let Some(stage) = stage_with("a_registry_with_a_certificate_of_its_own_ca", &setup) else { return };
    let secure = |ca_certificates| Options { plain_http: false, ca_certificates, ..quick() };
    let remote = connect(&stage.direct(), &secure(vec![stage.registry.ca()])).unwrap();
    push(&stage.layout(), "noise", &remote, &KEEP).unwrap();
    assert_eq!(remote.index().unwrap(), stage.layout().parts("noise").unwrap().index.bytes);

    let unknown = connect(&stage.direct(), &secure(Vec::new())).unwrap();
    assert_shown("tls-unknown-ca", &stage.shown(&unknown.index().unwrap_err()));
    let other = tempfile::tempdir().unwrap();
    make_certificates(other.path());
    let wrong = connect(&stage.direct(), &secure(vec![other.path().join("ca.pem")])).unwrap();
    assert_shown("tls-wrong-ca", &stage.shown(&wrong.index().unwrap_err()));
    let name = stage.direct().replace("127.0.0.1", "localhost");
    let named = connect(&name, &secure(vec![stage.registry.ca()])).unwrap();
    assert_shown("tls-wrong-name", &stage.shown(&named.index().unwrap_err()).replace(&name, "[REFERENCE]"));
    let plain = connect(&stage.direct(), &quick()).unwrap();
    assert_shown("tls-plain-http", &stage.shown(&plain.index().unwrap_err()));
}

#[test]
fn files_without_certificates_are_refused_as_ca_certificates() {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in [("tls-empty-ca", ""), ("tls-no-ca", "-----BEGIN CERTIFICATE-----\nAAAA\n")] {
        let file = directory.path().join("ca.pem");
        fs::write(&file, content).unwrap();
        let options = Options { plain_http: false, ca_certificates: vec![file], ..quick() };
        let error = connect("registry.example/a:1", &options).err().unwrap();
        assert_shown(name, &shown(&error).replace(&directory.path().display().to_string(), "[DIR]"));
    }
    for (name, file) in [("tls-absent-ca", "/nonexistent/ca.pem"), ("tls-endless-ca", "/dev/zero")] {
        let options = Options { plain_http: false, ca_certificates: vec![file.into()], ..quick() };
        assert_shown(name, &shown(&connect("registry.example/a:1", &options).err().unwrap()));
    }
}

#[test]
fn a_registry_without_tls_is_not_taken_for_one_with_it() {
    let Some(stage) = stage_pushed("a_registry_without_tls_is_not_taken_for_one_with_it") else { return };
    let remote = connect(&stage.direct(), &Options { plain_http: false, ..quick() }).unwrap();
    assert_shown("tls-registry-without", &stage.shown(&remote.index().unwrap_err()));
}

/// A server with TLS that answers every request for the index with a file, which may say anything.
struct Redirecting(Child);

impl Drop for Redirecting {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_redirect_out_of_tls_is_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    make_certificates(directory.path());
    let elsewhere = Proxy::start("127.0.0.1:1");
    let manifests = directory.path().join("v2/acme/noise/manifests");
    fs::create_dir_all(&manifests).unwrap();
    let location = format!("http://{}/v2/", elsewhere.host());
    let answer = format!("HTTP/1.0 307 Temporary Redirect\r\nContent-Length: 0\r\nLocation: {location}\r\n\r\n");
    fs::write(manifests.join("1.0.0"), answer).unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut openssl = Command::new("openssl");
    openssl.args(["s_server", "-quiet", "-HTTP", "-cert", "server.pem", "-key", "server.key", "-accept", &address]);
    openssl.current_dir(directory.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _server = Redirecting(openssl.spawn().unwrap());
    while TcpStream::connect(&address).is_err() {
        sleep(Duration::from_millis(20));
    }
    let options = Options { plain_http: false, ca_certificates: vec![directory.path().join("ca.pem")], ..quick() };
    let remote = connect(&format!("{address}/acme/noise:1.0.0"), &options).unwrap();
    assert_shown("redirect-out-of-tls", &shown(&remote.index().unwrap_err()));
    assert_eq!(elsewhere.lines(), [""; 0]);
}

/// A challenge that sends us to somewhere without TLS does not get the password.
#[test]
fn a_token_is_not_fetched_from_anywhere() {
    let Some(stage) = stage_pushed("a_token_is_not_fetched_from_anywhere") else { return };
    let config = tempfile::tempdir().unwrap();
    Registry::log_in(stage.proxy.host(), config.path());
    let challenge = |realm: &str| {
        let head = "401 Unauthorized\r\nContent-Length: 0\r\nConnection: close";
        Fault::Answer(format!("{head}\r\nWWW-Authenticate: Bearer realm=\"{realm}\",service=\"s\"\r\n\r\n"))
    };
    let ask = |options: Options| -> String {
        let remote: Remote = connect(&stage.remote().reference().to_string(), &options).unwrap();
        stage.shown(&remote.index().unwrap_err())
    };
    stage.proxy.fail(move |_| challenge("http://registry.example/token"));
    assert_shown("token-unencrypted-realm", &ask(with_config(config.path())));
    stage.proxy.fail(move |_| challenge("no URL"));
    assert_shown("token-no-realm", &ask(with_config(config.path())));
    let realm = Proxy::start("127.0.0.1:1");
    for (name, fault) in [
        (
            "token-refused",
            Fault::Answer("401 Unauthorized\r\nConnection: close\r\n\r\n{\"details\":\"no\"}".to_owned()),
        ),
        ("token-none", Fault::Answer("200 OK\r\nConnection: close\r\n\r\n{}".to_owned())),
        ("token-endless", Fault::Endless),
        ("token-silence", Fault::Silence(Duration::from_secs(30))),
    ] {
        realm.fail(move |_| fault.clone());
        let url = format!("http://{}/token", realm.host());
        stage.proxy.fail(move |_| challenge(&url));
        let token_hosts = vec![realm.host().to_owned()];
        let options = Options { idle_timeout: Duration::from_millis(300), token_hosts, ..with_config(config.path()) };
        assert_shown(name, &ask(options));
        assert_eq!(realm.seen()[0].path, "/token?service=s");
    }
}

#[test]
fn an_identity_token_is_exchanged() {
    let Some(stage) = stage_pushed("an_identity_token_is_exchanged") else { return };
    let config = written(&format!(r#"{{"auths": {{"{}": {{"identitytoken": "it is me"}}}}}}"#, stage.proxy.host()));
    let realm = Proxy::start("127.0.0.1:1");
    realm.fail(|_| Fault::Answer("200 OK\r\nConnection: close\r\n\r\n{\"access_token\":\"abc\"}".to_owned()));
    let url = format!("http://{}/token", realm.host());
    stage.proxy.fail(move |seen| match seen.authorization.as_deref() {
        Some("Bearer abc") => Fault::None,
        _ => {
            let head = "401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\nWWW-Authenticate: Bearer";
            Fault::Answer(format!("{head} realm=\"{url}\",service=\"s\",scope=\"repository:acme/noise:pull\"\r\n\r\n"))
        }
    });
    let options = Options { token_hosts: vec![realm.host().to_owned()], ..with_config(config.path()) };
    let remote = connect(&stage.remote().reference().to_string(), &options).unwrap();
    let layout: Layout = stage.layout();
    assert_eq!(remote.index().unwrap(), layout.parts("noise").unwrap().index.bytes);
    assert_eq!(realm.lines(), ["POST /token"]);
}

/// A registry that answers every request with a challenge for a token from `realm`.
fn challenging(realm: &str) -> impl Fn(&isomer_testing::http_proxy::Seen) -> Fault + use<> {
    let head = "401 Unauthorized\r\nContent-Length: 0\r\nConnection: close";
    let answer = format!("{head}\r\nWWW-Authenticate: Bearer realm=\"{realm}\",service=\"s\"\r\n\r\n");
    move |_| Fault::Answer(answer.clone())
}

/// Neither a password nor a refresh token is sent to a host that the registry alone names.
#[test]
fn a_token_service_elsewhere_gets_no_credentials() {
    let Some(stage) = stage_pushed("a_token_service_elsewhere_gets_no_credentials") else { return };
    let password = tempfile::tempdir().unwrap();
    Registry::log_in(stage.proxy.host(), password.path());
    let identity = written(&format!(r#"{{"auths": {{"{}": {{"identitytoken": "secret"}}}}}}"#, stage.proxy.host()));
    let elsewhere = Proxy::start("127.0.0.1:1");
    stage.proxy.fail(challenging(&format!("http://{}/token", elsewhere.host())));
    let reference = stage.remote().reference().to_string();
    for config in [&password, &identity] {
        let error = connect(&reference, &with_config(config.path())).unwrap().index().unwrap_err();
        assert_shown("token-host", &stage.shown(&error).replace(elsewhere.host(), "[ELSEWHERE]"));
        assert_eq!(elsewhere.lines(), [""; 0]);
    }
    // Without credentials there is nothing to lose: public registries have their token services anywhere.
    elsewhere.fail(|_| Fault::Answer("200 OK\r\nConnection: close\r\n\r\n{\"token\":\"abc\"}".to_owned()));
    connect(&reference, &quick()).unwrap().index().unwrap_err();
    assert_eq!(elsewhere.seen().iter().map(|it| it.authorization.clone()).collect::<Vec<_>>(), [None]);
    // A host that the user named gets them.
    let options = Options { token_hosts: vec![elsewhere.host().to_owned()], ..with_config(password.path()) };
    elsewhere.fail(|_| Fault::Answer("200 OK\r\nConnection: close\r\n\r\n{\"token\":\"abc\"}".to_owned()));
    connect(&reference, &options).unwrap().index().unwrap_err();
    assert!(elsewhere.seen()[0].authorization.as_deref().is_some_and(|it| it.starts_with("Basic ")));
}

/// A redirect of a request for a token would send the password, or the refresh token in its body, once more elsewhere.
#[test]
fn a_request_for_a_token_is_not_redirected() {
    let Some(stage) = stage_pushed("a_request_for_a_token_is_not_redirected") else { return };
    let password = tempfile::tempdir().unwrap();
    Registry::log_in(stage.proxy.host(), password.path());
    let identity = written(&format!(r#"{{"auths": {{"{}": {{"identitytoken": "secret"}}}}}}"#, stage.proxy.host()));
    let (realm, elsewhere) = (Proxy::start("127.0.0.1:1"), Proxy::start("127.0.0.1:1"));
    stage.proxy.fail(challenging(&format!("http://{}/token", realm.host())));
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"] {
        for (config, to) in [(&password, elsewhere.host()), (&identity, elsewhere.host()), (&identity, realm.host())] {
            let head = format!("{status}\r\nContent-Length: 0\r\nConnection: close");
            let answer = format!("{head}\r\nLocation: http://{to}/again\r\n\r\n");
            realm.fail(move |_| Fault::Answer(answer.clone()));
            let options = Options { token_hosts: vec![realm.host().to_owned()], ..with_config(config.path()) };
            let remote = connect(&stage.remote().reference().to_string(), &options).unwrap();
            let shown = stage.shown(&remote.index().unwrap_err());
            let shown = shown.replace(realm.host(), "[REALM]").replace(elsewhere.host(), "[TO]");
            assert_shown("token-redirect", &shown.replace("`http://[REALM]/again`", "`http://[TO]/again`"));
            assert_eq!((realm.seen().len(), elsewhere.lines()), (1, vec![]), "{status}");
        }
    }
}
