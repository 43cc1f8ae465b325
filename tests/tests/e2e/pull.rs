//! `isomer-run pull` from Debian's registry: what is fetched and what is not, how a broken transfer goes on, and what a
//! person is told (`INSTA_UPDATE=always cargo xtask test --no-lints pull` rewrites that).

use insta::assert_snapshot;
use isomer_testing::http_proxy::{Fault, Proxy, Seen};
use isomer_testing::registry::Registry;
use isomer_tests::{Call, Ran, guest, has_program, isomer, isomer_run, program, scratch, skip, snapshot_settings_with};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A registry with one signed module, `matmul:1.4.0` for three targets, behind a proxy; and a server's directory.
struct Fleet {
    directory: TempDir,
    /// Lives as long as the proxy needs it.
    _registry: Registry,
    proxy: Proxy,
}

impl Fleet {
    fn new(test: &str) -> Option<Fleet> {
        let Some(registry) = Registry::start() else {
            skip(test, "docker-registry is not installed");
            return None;
        };
        let directory = scratch();
        let release = format!(
            "[release]\nname = 'r'\nversion = '1.4.0'\ncounter = 4\ntargets = ['x86-64-v2', 'neoverse-n1', 'pulley64']\n\
             [[module]]\npath = '{}'\n",
            guest("matmul").display()
        );
        fs::write(directory.path().join("isomer.toml"), release).unwrap();
        isomer().line("keygen -o farm").dir(directory.path()).ok();
        isomer().line("release -o dist --sign farm.key").dir(directory.path()).ok();
        let to = format!("push dist {}/acme --plain-http", registry.host());
        isomer().line(&to).dir(directory.path()).env("DOCKER_CONFIG", directory.path()).ok();
        let proxy = Proxy::start(registry.host());
        Some(Fleet { directory, _registry: registry, proxy })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// `isomer-run` with the store of this server.
    fn server(&self, line: &str) -> Call {
        let call = isomer_run().line(&line.replace("HOST", self.proxy.host())).dir(self.path());
        call.env("ISOMER_STORE", self.path().join("store")).env("DOCKER_CONFIG", self.path())
    }

    fn pull(&self) -> Call {
        self.server("pull HOST/acme/matmul:1.4.0 --plain-http --key farm.pub")
    }

    /// What each digest of the release names, for the record of requests.
    fn names(&self) -> BTreeMap<String, String> {
        let read = |digest: &str| -> Value {
            let path = self.path().join("dist/blobs/sha256").join(digest.trim_start_matches("sha256:"));
            serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
        };
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let mut names = BTreeMap::new();
        let top: Value = serde_json::from_slice(&fs::read(self.path().join("dist/index.json")).unwrap()).unwrap();
        for entry in top["manifests"].as_array().unwrap() {
            let digest = text(&entry["digest"]);
            let document = read(&digest);
            if let Some(parts) = document["manifests"].as_array() {
                names.insert(digest, "INDEX".to_owned());
                for part in parts {
                    let target = part["annotations"]["dev.isomer.target"].as_str().unwrap_or("wasm").to_owned();
                    name_parts(&mut names, &text(&part["digest"]), &read(&text(&part["digest"])), &target);
                }
            } else if document["subject"].is_object() {
                name_parts(&mut names, &digest, &document, "signature");
            }
        }
        names
    }

    /// The requests that came, with digests by their names, in order of their text: some are made at once.
    fn requests(&self) -> String {
        let names = self.names();
        let named = |line: String| {
            names.iter().fold(line, |line, (digest, name)| {
                line.replace(digest, name).replace(&digest.replace(':', "-"), &format!("sha256-{name}"))
            })
        };
        let mut lines: Vec<_> = self.proxy.lines().into_iter().map(named).collect();
        lines.sort();
        lines.join("\n")
    }

    /// What a person sees.
    fn shown(&self, ran: &Ran) -> String {
        ran.shown(self.path()).replace(self.proxy.host(), "[HOST]")
    }
}

fn name_parts(names: &mut BTreeMap<String, String>, digest: &str, manifest: &Value, name: &str) {
    let layer = manifest["layers"][0]["digest"].as_str().unwrap();
    let config = manifest["config"]["digest"].as_str().unwrap();
    for (digest, part) in [(digest, "manifest"), (config, "config"), (layer, "layer")] {
        names.insert(digest.to_owned(), format!("{}-{part}", name.to_uppercase()));
    }
}

fn settings() -> insta::Settings {
    snapshot_settings_with(&[
        (r"\d+ bytes", "[N] bytes"),
        (r"\d+(\.\d+)? (B|[KM]iB)\b", "[SIZE]"),
        (r"127\.0\.0\.1:\d+", "[HOST]"),
    ])
}

fn is_layer(seen: &Seen) -> bool {
    // Documents have a few KiB; only the layer is requested as a blob behind the config and the bundle.
    seen.method == "GET" && seen.path.contains("/blobs/")
}

#[test]
fn a_server_fetches_the_index_its_variant_and_the_signature_and_nothing_else() {
    let Some(fleet) = Fleet::new("pull_requests") else { return };
    let ran = fleet.pull().ok();
    settings().bind(|| assert_snapshot!("pull_installs", fleet.shown(&ran)));
    settings().bind(|| assert_snapshot!("pull_requests", fleet.requests()));
    let sizes: u64 = {
        let blobs = fleet.path().join("dist/blobs/sha256");
        let names = fleet.names();
        let wanted = |name: &str| ["INDEX", "SIGNATURE", "X86-64-V2"].iter().any(|wanted| name.starts_with(wanted));
        let size = |digest: &String| fs::metadata(blobs.join(digest.trim_start_matches("sha256:"))).unwrap().len();
        names.iter().filter(|(_, name)| wanted(name)).map(|(digest, _)| size(digest)).sum()
    };
    let fetched = fleet.proxy.body_bytes();
    // The registry's own words, a 404 and the fallback's list of signatures, are what is beside them.
    assert!((sizes..sizes + 2048).contains(&fetched), "{fetched} bytes for {sizes}");

    fleet.proxy.fail(|_| Fault::None);
    let again = fleet.pull().ok();
    settings().bind(|| assert_snapshot!("pull_again", fleet.shown(&again)));
    settings().bind(|| assert_snapshot!("pull_again_requests", fleet.requests()));
    fleet.server("activate matmul:1.4.0").ok();
    fleet.proxy.fail(|_| Fault::status("503 Service Unavailable"));
    fleet.server("run matmul").ok();
    assert_eq!(fleet.proxy.lines(), [""; 0], "running needs no registry");
}

#[test]
fn an_interrupted_layer_goes_on_where_it_ended() {
    let Some(fleet) = Fleet::new("pull_resumes") else { return };
    let names = fleet.names();
    let layer = names.iter().find(|(_, name)| *name == "X86-64-V2-layer").unwrap().0.clone();
    let size = fs::metadata(fleet.path().join("dist/blobs/sha256").join(layer.trim_start_matches("sha256:"))).unwrap();
    let at_layer = layer.clone();
    // The first answer ends in the middle; after that the registry is gone.
    fleet.proxy.fail(move |seen| match seen.path.contains(&at_layer) {
        true if seen.before == 0 => Fault::CutAnswer(6000),
        true => Fault::status("403 Forbidden"),
        false => Fault::None,
    });
    let broken = fleet.pull().fails();
    settings().bind(|| assert_snapshot!("pull_interrupted", fleet.shown(&broken)));
    fleet.proxy.fail(|_| Fault::None);
    fleet.pull().ok();
    let resumed: Vec<_> = fleet.proxy.seen().into_iter().filter(|seen| seen.path.contains(&layer)).collect();
    assert_eq!(resumed.len(), 1);
    assert_eq!(resumed[0].range.as_deref(), Some("bytes=6000-"), "{resumed:?}");
    assert_eq!(resumed[0].body_bytes.load(std::sync::atomic::Ordering::Relaxed), size.len() - 6000);
    fleet.server("activate matmul").ok();
    fleet.server("run matmul").ok();
}

#[test]
fn registry_failures_are_reported() {
    let Some(fleet) = Fleet::new("pull_refusals") else { return };
    // A user who may write there replaces the module that servers pull by another.
    let image = |name: &str| format!("docker://{}/acme/{name}:1.4.0", fleet.proxy.host());
    let skopeo = ["copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false"];
    let swapped = has_program("skopeo");
    if swapped {
        program("skopeo").args(skopeo).args([image("matmul"), image("numbers")]).ok();
    } else {
        skip("pull_refusals (another module)", "skopeo is not installed");
    }
    let mut printed = String::new();
    let mut case = |title: &str, line: &str, fault: fn(&Seen) -> Fault| {
        fleet.proxy.fail(fault);
        let ran = fleet.server(line).fails();
        printed += &format!("# {title}\n{}\n", fleet.shown(&ran));
    };
    let pull = "pull HOST/acme/matmul:1.4.0 --plain-http --key farm.pub";
    case("no such repository", "pull HOST/acme/sort:1.4.0 --plain-http --key farm.pub", |_| Fault::None);
    case("no such tag", "pull HOST/acme/matmul:1.5.0 --plain-http --key farm.pub", |_| Fault::None);
    if swapped {
        let line = "pull HOST/acme/numbers:1.4.0 --plain-http --key farm.pub --activate";
        case("another module", line, |_| Fault::None);
    }
    case("no index", "pull HOST/acme/matmul:1.4.0-wasm --plain-http --key farm.pub", |_| Fault::None);
    case("forbidden", pull, |_| Fault::status("403 Forbidden"));
    case("other bytes in a blob", pull, |seen| if is_layer(seen) { Fault::OtherByte(3) } else { Fault::None });
    case("no TLS", "pull registry.example/acme/matmul:1.4.0 --plain-http --key farm.pub", |_| Fault::None);
    case("TLS to a server without TLS", "pull HOST/acme/matmul:1.4.0 --key farm.pub", |_| Fault::None);
    case("nothing is trusted", "pull HOST/acme/matmul:1.4.0 --plain-http", |_| Fault::None);
    case("a directory", "pull dist --key farm.pub", |_| Fault::None);
    settings().bind(|| assert_snapshot!("pull_refusals", printed));
    let installed = fs::read_dir(fleet.path().join("store/installed")).into_iter().flatten().count();
    assert_eq!(installed, 0);
}
