//! `isomer push` into Debian's registry: what arrives, what others make of it, what is not sent twice, and what a person
//! is told when it fails (`INSTA_UPDATE=always cargo xtask test --no-lints registry` rewrites that).

use insta::assert_snapshot;
use isomer_testing::http_proxy::{Fault, Proxy};
use isomer_testing::registry::{PASSWORD, Registry, Setup, USER};
use isomer_tests::farm::Farm;
use isomer_tests::{Call, Ran, guest, has_program, isomer, program, skip, snapshot_settings_with};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// A farm with something to push, and a registry of its own.
struct Pushing {
    farm: Farm,
    registry: Registry,
}

impl Pushing {
    fn new(test: &str, setup: &Setup) -> Option<Pushing> {
        let Some(registry) = Registry::start_with(setup) else {
            skip(test, "docker-registry is not installed");
            return None;
        };
        Some(Pushing { farm: Farm::to_push(), registry })
    }

    fn path(&self) -> &Path {
        self.farm.path()
    }

    /// `isomer push`, without credentials.
    fn push(&self, line: &str) -> Call {
        let line = line.replace("HOST", self.registry.host());
        isomer().arg("push").line(&line).dir(self.path()).env("DOCKER_CONFIG", self.path())
    }

    /// What a person sees.
    fn shown(&self, ran: &Ran) -> String {
        ran.shown(self.path()).replace(self.registry.host(), "[HOST]")
    }
}

/// Sizes differ with the compiler, ports from run to run.
fn settings() -> insta::Settings {
    snapshot_settings_with(&[(r"\d+\.\d+ [KM]iB", "[SIZE]"), (r"127\.0\.0\.1:\d+", "[HOST]")])
}

/// The bytes that skopeo finds there.
fn raw(image: &str) -> Vec<u8> {
    program("skopeo").args(["inspect", "--raw", "--tls-verify=false", image]).ok().output.stdout
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

#[test]
fn a_release_is_sent_once() {
    let Some(farm) = Pushing::new("a_release_is_sent_once", &Setup::default()) else { return };
    let first = farm.push("dist HOST/acme --plain-http").ok();
    settings().bind(|| assert_snapshot!("push", farm.shown(&first)));
    let second = farm.push("dist HOST/acme --plain-http").ok();
    settings().bind(|| assert_snapshot!("push-again", farm.shown(&second)));
    let json = farm.push("dist HOST/acme:edge --plain-http --module numbers --json").ok().json();
    assert_eq!(json.as_array().unwrap().len(), 1);
    let module = &json[0];
    assert_eq!((&module["module"], &module["signatures"]), (&"numbers".into(), &1.into()));
    // The two tags alone are new.
    assert_eq!(module["sent"]["blobs"], 1, "{module}");
    assert!(module["reference"].as_str().unwrap().contains("/acme/numbers:edge@sha256:"), "{module}");
    assert!(module["wasm"].as_str().unwrap().contains("/acme/numbers:edge-wasm@sha256:"), "{module}");
}

#[test]
fn skopeo_copies_it_on_and_keeps_every_digest() {
    let test = "skopeo_copies_it_on_and_keeps_every_digest";
    let Some(farm) = Pushing::new(test, &Setup::default()) else { return };
    let Some(second) = Registry::start() else { return };
    if !has_program("skopeo") {
        skip(test, "skopeo is not installed");
        return;
    }
    let pushed = farm.push("dist HOST/acme --plain-http --json").ok().json();
    let (from, to) = (farm.registry.host(), second.host());
    for module in ["matmul", "numbers"] {
        let image = |host: &str| format!("docker://{host}/acme/{module}:1.4.0");
        let flags = ["copy", "--all", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false"];
        program("skopeo").args(flags).args([image(from), image(to)]).ok();
        let index = raw(&image(to));
        assert_eq!(index, raw(&image(from)));
        let printed = pushed.as_array().unwrap().iter().find(|it| it["module"] == module).unwrap();
        assert!(printed["reference"].as_str().unwrap().ends_with(&digest(&index)), "{printed}");
        let json: Value = serde_json::from_slice(&index).unwrap();
        for manifest in json["manifests"].as_array().unwrap() {
            let wanted = manifest["digest"].as_str().unwrap();
            assert_eq!(digest(&raw(&format!("docker://{to}/acme/{module}@{wanted}"))), wanted);
        }
    }
}

#[test]
fn a_plain_wasm_puller_gets_the_plain_wasm() {
    let test = "a_plain_wasm_puller_gets_the_plain_wasm";
    let Some(farm) = Pushing::new(test, &Setup::default()) else { return };
    if !has_program("skopeo") {
        skip(test, "skopeo is not installed");
        return;
    }
    farm.push("dist HOST/acme --plain-http").ok();
    let wasm = fs::read(guest("numbers")).unwrap();
    let name = hex::encode(Sha256::digest(&wasm));
    // By platform from the index; and from the tag that names the plain manifest, with no word about platforms.
    let by_platform: &[&str] = &["--override-os", "wasip1", "--override-arch", "wasm"];
    for (tag, flags) in [("1.4.0", by_platform), ("1.4.0-wasm", &[])] {
        let to = farm.path().join(tag);
        let image = format!("docker://{}/acme/numbers:{tag}", farm.registry.host());
        program("skopeo")
            .args(flags)
            .args(["copy", "--quiet", "--src-tls-verify=false", &image, &format!("dir:{}", to.display())])
            .ok();
        assert!(fs::read(to.join(&name)).unwrap() == wasm, "{tag}");
    }
}

#[test]
fn pushing_an_unsigned_release_warns() {
    let Some(farm) = Pushing::new("pushing_an_unsigned_release_warns", &Setup::default()) else {
        return;
    };
    let ran = farm.push("unsigned HOST/acme --plain-http --module numbers").ok();
    settings().bind(|| assert_snapshot!("push-unsigned", farm.shown(&ran)));
}

#[test]
fn refusals_name_the_cause_before_anything_is_sent() {
    let Some(farm) = Pushing::new("refusals_name_the_cause_before_anything_is_sent", &Setup::default()) else { return };
    let proxy = Proxy::start(farm.registry.host());
    for (name, line) in [
        ("no-host", "dist acme --plain-http"),
        ("digest", "dist PROXY/acme@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("elsewhere", "dist registry.example/acme --plain-http"),
        ("unknown-module", "dist PROXY/acme --plain-http --module number"),
        ("no-release", "nothing PROXY/acme --plain-http"),
        ("swapped", "PROXY/acme dist --plain-http"),
        ("no-ca", "dist PROXY/acme --ca-cert isomer.toml"),
    ] {
        let ran = farm.push(&line.replace("PROXY", proxy.host())).fails();
        settings().bind(|| assert_snapshot!(format!("push-refused-{name}"), farm.shown(&ran)));
    }
    assert_eq!(proxy.lines(), [""; 0]);
}

#[test]
fn a_damaged_release_is_not_pushed() {
    let Some(farm) = Pushing::new("a_damaged_release_is_not_pushed", &Setup::default()) else { return };
    let proxy = Proxy::start(farm.registry.host());
    let blobs = fs::read_dir(farm.path().join("dist/blobs/sha256")).unwrap().map(|it| it.unwrap().path());
    let largest = blobs.max_by_key(|it| fs::metadata(it).unwrap().len()).unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    bytes[100] ^= 1;
    fs::write(&largest, bytes).unwrap();
    let ran = farm.push(&format!("dist {}/acme --plain-http", proxy.host())).fails();
    let file = largest.file_name().unwrap().to_str().unwrap();
    assert!(ran.stderr().contains(file) && ran.stderr().contains("was altered"), "{ran}");
    assert!(proxy.lines().iter().all(|line| !line.starts_with("PUT") || !line.ends_with(":1.4.0")), "{ran}");
}

#[test]
fn a_registry_that_fails_for_a_while_and_one_that_fails_for_good() {
    let test = "a_registry_that_fails_for_a_while_and_one_that_fails_for_good";
    let Some(farm) = Pushing::new(test, &Setup::default()) else { return };
    let proxy = Proxy::start(farm.registry.host());
    let push = || farm.push(&format!("dist {}/acme --plain-http --module numbers", proxy.host()));
    proxy.fail(|_| Fault::status("503 Service Unavailable"));
    let ran = push().fails();
    settings().bind(|| assert_snapshot!("push-503", farm.shown(&ran)));
    proxy.fail(|seen| {
        let again = seen.before > 0 || seen.path.contains("_state");
        if again { Fault::None } else { Fault::status("503 Service Unavailable") }
    });
    // Each attempt is in the log, which shows warnings alone unless the variable requests more.
    let ran = push().env("ISOMER_LOG", "isomer_registry=debug").ok();
    assert!(ran.stderr().contains("debug: trying again"), "{ran}");
}

#[test]
fn passwords_come_from_dockers_configuration_and_its_helpers() {
    let test = "passwords_come_from_dockers_configuration_and_its_helpers";
    let Some(farm) = Pushing::new(test, &Setup { password: true, ..Setup::default() }) else { return };
    let push = || farm.push("dist HOST/acme --plain-http --module numbers");
    let ran = push().fails();
    settings().bind(|| assert_snapshot!("push-anonymous", farm.shown(&ran)));
    Registry::log_in(farm.registry.host(), farm.path());
    push().ok();

    // A helper instead of the password.
    let helper = farm.path().join("docker-credential-isomer-test");
    let answer = format!(r#"{{"ServerURL":"","Username":"{USER}","Secret":"{PASSWORD}"}}"#);
    fs::write(&helper, format!("#!/bin/sh\ncat > \"$0.asked\"\necho '{answer}'\n")).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    let config = format!(r#"{{"credHelpers": {{"{}": "isomer-test"}}}}"#, farm.registry.host());
    fs::write(farm.path().join("config.json"), config).unwrap();
    let path = format!("{}:{}", farm.path().display(), std::env::var("PATH").unwrap());
    push().env("PATH", &path).ok();
    let asked = fs::read_to_string(farm.path().join("docker-credential-isomer-test.asked")).unwrap();
    assert_eq!(asked, farm.registry.host());
    fs::write(&helper, "#!/bin/sh\ncat > /dev/null\necho a secret\nexit 1\n").unwrap();
    let ran = push().env("PATH", &path).fails();
    assert!(!ran.stderr().contains("a secret"), "{ran}");
    settings().bind(|| assert_snapshot!("push-helper-fails", farm.shown(&ran)));
}

#[test]
fn a_certificate_of_a_private_ca() {
    let Some(farm) = Pushing::new("a_certificate_of_a_private_ca", &Setup { tls: true, ..Setup::default() }) else {
        return;
    };
    let ran = farm.push("dist HOST/acme --module numbers").fails();
    settings().bind(|| assert_snapshot!("push-unknown-ca", farm.shown(&ran)));
    farm.push("dist HOST/acme --module numbers --ca-cert").arg(farm.registry.ca()).ok();
}

/// The registry's own token authentication: the token server signs them, and the registry checks them.
#[test]
fn access_tokens_are_fetched_and_shown() {
    let realm = Proxy::start("127.0.0.1:1");
    let setup = Setup { token_realm: Some(format!("http://{}/token", realm.host())), ..Setup::default() };
    let Some(farm) = Pushing::new("access_tokens_are_fetched_and_shown", &setup) else { return };
    let directory = farm.registry.ca().parent().unwrap().to_owned();
    realm.fail(move |seen| {
        let actions = if seen.path.contains("push") { r#"["pull","push"]"# } else { r#"["pull"]"# };
        let token =
            token(&directory, &format!(r#"[{{"type":"repository","name":"acme/numbers","actions":{actions}}}]"#));
        Fault::Answer(format!("200 OK\r\nConnection: close\r\n\r\n{{\"token\":\"{token}\"}}"))
    });
    Registry::log_in(farm.registry.host(), farm.path());
    // The registry alone names that host.
    let refused = farm.push("dist HOST/acme --plain-http --module numbers").fails().stderr();
    assert!(refused.contains(&format!("--token-host {}", realm.host())), "{refused}");
    assert_eq!(realm.lines(), [""; 0]);
    farm.push("dist HOST/acme --plain-http --module numbers").env("ISOMER_TOKEN_HOSTS", realm.host()).ok();
    let seen = realm.seen();
    assert!(seen.iter().all(|it| it.authorization.as_deref().is_some_and(|it| it.starts_with("Basic "))), "{seen:?}");
    assert!(seen.len() <= 2, "a token serves all requests of its scope: {:?}", realm.lines());
}

/// A JSON web token that the registry believes.
fn token(directory: &Path, access: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let pem = fs::read_to_string(directory.join("token.pem")).unwrap();
    let certificate: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let head = format!(r#"{{"typ":"JWT","alg":"RS256","x5c":["{certificate}"]}}"#);
    let claims = format!(
        r#"{{"iss":"test","aud":"test","sub":"{USER}","jti":"1","iat":{now},"nbf":{},"exp":{},"access":{access}}}"#,
        now - 60,
        now + 300,
    );
    let signed = format!("{}.{}", base64url(head.as_bytes()), base64url(claims.as_bytes()));
    let key = directory.join("token.key");
    let signature = program("openssl").args(["dgst", "-sha256", "-sign"]).arg(key).stdin(signed.as_bytes()).ok();
    format!("{signed}.{}", base64url(&signature.output.stdout))
}

fn base64url(bytes: &[u8]) -> String {
    let text = program("openssl").args(["base64", "-A"]).stdin(bytes).ok().stdout();
    text.trim_end_matches('=').replace('+', "-").replace('/', "_")
}
