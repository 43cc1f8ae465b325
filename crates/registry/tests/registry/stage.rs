//! What every test needs: a release of one module with one signature, a registry, and a proxy between.

use isomer_contract::manifest::Blob;
use isomer_contract::name::Version;
use isomer_contract::{Hinted, chain};
use isomer_layout::{Identity, Layout, ReleasedModule, Writer};
use isomer_registry::{Options, PushOptions, Reference, Remote, Retry, push};
use isomer_testing::http_proxy::Proxy;
use isomer_testing::registry::Registry;
use isomer_testing::skip;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// How large the module is: several pieces, and more than the buffers between two sockets.
pub(crate) const NOISE_SIZE_BYTES: usize = 12 << 20;

pub(crate) struct Stage {
    pub(crate) registry: Registry,
    pub(crate) proxy: Proxy,
    pub(crate) directory: TempDir,
}

/// No tag of a version is moved, and progress is not reported.
pub(crate) const KEEP: PushOptions<'static> = PushOptions { move_version_tag: false, on_step: &|_| {} };

/// A registry's stage, or the news that there can be none.
pub(crate) fn stage(test: &str) -> Option<Stage> {
    let Some(registry) = Registry::start() else {
        skip(test, "docker-registry is not installed");
        return None;
    };
    let directory = tempfile::tempdir().unwrap();
    release(&directory.path().join("dist"));
    Some(Stage { proxy: Proxy::start(registry.host()), registry, directory })
}

/// The same, with the module in the registry already.
pub(crate) fn stage_pushed(test: &str) -> Option<Stage> {
    let stage = stage(test)?;
    let remote = connect(&stage.direct(), &quick()).unwrap();
    push(&stage.layout(), "noise", &remote, &KEEP).unwrap();
    Some(stage)
}

impl Stage {
    pub(crate) fn layout(&self) -> Layout {
        Layout::open(&self.directory.path().join("dist")).unwrap()
    }

    /// The module in the registry.
    pub(crate) fn direct(&self) -> String {
        format!("{}/acme/noise:1.0.0", self.registry.host())
    }

    /// The module as the proxy shows it.
    pub(crate) fn remote(&self) -> Remote {
        connect(&format!("{}/acme/noise:1.0.0", self.proxy.host()), &quick()).unwrap()
    }

    /// The largest blob.
    pub(crate) fn layer(&self) -> Blob {
        self.layout().parts("noise").unwrap().blobs.into_iter().max_by_key(|it| it.size_bytes).unwrap()
    }

    /// What a person sees.
    pub(crate) fn shown(&self, error: &(impl std::error::Error + Hinted + 'static)) -> String {
        let text = shown(error).replace(self.proxy.host(), "[HOST]").replace(self.registry.host(), "[REGISTRY]");
        text.replace(&self.directory.path().display().to_string(), "[DIR]")
    }
}

pub(crate) fn shown(error: &(impl std::error::Error + Hinted + 'static)) -> String {
    let hint = error.hint().map_or_else(String::new, |hint| format!("\n  hint: {hint}"));
    let causes: String = chain(error).skip(1).map(|cause| format!("\n  caused by: {cause}")).collect();
    format!("error: {error}{causes}{hint}")
}

pub(crate) fn connect(reference: &str, options: &Options) -> Result<Remote, isomer_registry::RegistryError> {
    Remote::connect(&reference.parse::<Reference>().unwrap(), options)
}

/// Short timeouts, and no credentials.
pub(crate) fn quick() -> Options {
    Options {
        plain_http: true,
        docker_config: Some("/nonexistent".into()),
        idle_timeout: Duration::from_millis(1500),
        retry: Retry {
            tries_max: 3,
            pause_first: Duration::from_millis(20),
            pause_max: Duration::from_millis(50),
            pauses_max: Duration::from_secs(5),
        },
        ..Options::default()
    }
}

/// A release of one module of bytes that do not compress, with a signature.
pub(crate) fn release(directory: &Path) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = vec![0; NOISE_SIZE_BYTES];
    for bytes in noise.chunks_mut(8) {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.copy_from_slice(&state.to_le_bytes()[..bytes.len()]);
    }
    release_of(directory, &noise, "1.0.0");
}

/// A release of one module of these bytes, with a signature.
pub(crate) fn release_of(directory: &Path, bytes: &[u8], version: &str) {
    let writer = Writer::open(directory).unwrap();
    let wasm = writer.add_wasm(bytes).unwrap();
    let version: Version = version.parse().unwrap();
    let module =
        ReleasedModule { name: "noise".parse().unwrap(), version: version.clone(), wasm, variants: Vec::new() };
    let identity = Identity { name: "r".parse().unwrap(), version, counter: 0, part: None };
    let summary = writer.finish(&identity, vec![module]).unwrap();
    Writer::open(directory).unwrap().sign(br#"{"a":"bundle"}"#, &[summary.modules[0].digest]).unwrap();
}

/// Compares with the snapshot `name`; digests, times and numbers of bytes differ from run to run.
pub(crate) fn assert_shown(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_snapshot_path("../snapshots");
    settings.add_filter(r"sha256:[0-9a-f]{64}", "[DIGEST]");
    settings.add_filter(r"(127\.0\.0\.1|localhost):\d+", "[ELSEWHERE]");
    settings.add_filter(r"sent \d+ bytes in \d+ seconds", "sent [N] bytes in [N] seconds");
    settings.bind(|| insta::assert_snapshot!(name, text));
}
