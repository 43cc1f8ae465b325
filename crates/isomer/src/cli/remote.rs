//! The options of a remote farm or cache. In: their values. Out: a connected executor.

use super::values::{duration, pair, percent, property};
use crate::warning::warn;
use crate::wording;
use isomer_compile::VERSION;
use isomer_compile::cache::Functions;
use isomer_compile::executor::{
    Bounded, Executor, Limits, Pool, RemoteExecutor, RemoteSetup, RemoteWarning, WorkerProgram,
};
use isomer_compile::maker::Distrust;
use isomer_remote::{Blob, ClientCertificate, Header, Options, Tls, Tool};
use isomer_terminal::{Failure, note};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// For how long a remote may be silent before that is reported.
const PATIENCE: Duration = Duration::from_secs(2);

/// The largest file of headers, and the largest program, that is read.
const HEADERS_SIZE_BYTES_MAX: u64 = 1 << 20;
const PROGRAM_SIZE_BYTES_MAX: u64 = 1 << 30;

/// Which remote, and how far it is trusted.
#[derive(clap::Args)]
#[command(next_help_heading = "Remote")]
// Without an address none of the others has any effect.
#[command(group(clap::ArgGroup::new("remote").args(["remote_cache", "remote_exec"]).multiple(true)))]
pub(super) struct RemoteOptions {
    /// Share results with others through the cache at this address: grpc://HOST:PORT, or grpcs:// for TLS
    #[arg(long, value_name = "URL")]
    remote_cache: Option<String>,
    /// Run jobs on the farm at this address, by the Remote Execution API; -j sets how many at once
    #[arg(long, value_name = "URL")]
    remote_exec: Option<String>,
    /// The instance name there [default: none]
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true, requires = "remote")]
    remote_instance: String,
    /// Send this header with every call; other users of this machine can see it: not for secrets
    // Not parsed by clap, which would show a malformed one: it may be a secret.
    #[arg(long, value_name = "NAME=VALUE", requires = "remote")]
    remote_header: Vec<String>,
    /// Send the headers in this file, one NAME=VALUE a line, such as `authorization=Bearer TOKEN`
    #[arg(long, value_name = "FILE", requires = "remote")]
    remote_header_file: Option<PathBuf>,
    /// The certificate authorities to trust for the remote, as PEM [default: the system's]
    #[arg(long, value_name = "FILE", requires = "remote")]
    remote_ca: Option<PathBuf>,
    /// The client certificate, as PEM, for remotes that require one
    #[arg(long, value_name = "FILE", requires = "remote", requires = "remote_client_key")]
    remote_client_cert: Option<PathBuf>,
    /// The private key of that certificate, as PEM
    #[arg(long, value_name = "FILE", requires = "remote", requires = "remote_client_cert")]
    remote_client_key: Option<PathBuf>,
    /// The time limit of one job there, from upload to download, and of the first answer: 90s, 5m, 1h
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1h", requires = "remote")]
    remote_timeout: Duration,
    /// A platform property that workers must have, such as OSFamily=linux; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = property, requires = "remote")]
    remote_property: Vec<(String, String)>,
    /// The program that workers run: a statically linked `isomer`, from `cargo xtask dist` [default: this one]
    #[arg(long, value_name = "FILE", requires = "remote")]
    remote_tool: Option<PathBuf>,
    /// Run the remaining jobs on this machine when the farm is unreachable or lost [default: end with an error]
    #[arg(long, requires = "remote_exec")]
    remote_fallback: bool,
    /// Run every job again, and replace its results in the farm's own cache
    #[arg(long, requires = "remote_exec")]
    remote_skip_cache: bool,
    /// Compile this share of the remotes' results on this machine too, also of earlier calls, and fail if one differs
    #[arg(long, value_name = "N%", value_parser = percent, default_value = "0%")]
    distrust: u8,
}

impl RemoteOptions {
    /// Which artifacts of remotes are compared. For what is to be signed: all but those of the remotes in `signing`.
    pub(super) fn distrust(&self, signing: Option<&[String]>) -> Distrust {
        let Some(trusted) = signing else { return Distrust::of(self.distrust) };
        let trusted: BTreeSet<_> = trusted.iter().cloned().collect();
        let url = self.remote_exec.as_ref().or(self.remote_cache.as_ref()).filter(|url| !trusted.contains(*url));
        if let Some(url) = url.filter(|_| self.distrust < 100) {
            let what = format!("what {url} made is compiled locally too and compared, for it is to be signed");
            warn(&what, &format!("`--trust-remote {url}` signs it as it comes"));
        }
        Distrust::for_signing(self.distrust, trusted)
    }

    /// Workers of this machine, with the remote before them if one is wanted.
    pub(super) fn connect(
        &self,
        program: &WorkerProgram,
        limits: Limits,
        stop: &Arc<AtomicBool>,
        functions: Option<&Arc<Functions>>,
        distrust: &Distrust,
    ) -> Result<Box<dyn Executor>, Failure> {
        let local = || Pool::new(program.clone(), limits, stop.clone()).with_functions(functions.cloned());
        let Some(url) = self.remote_cache.as_ref().or(self.remote_exec.as_ref()) else { return Ok(Box::new(local())) };
        let mut options = Options::new(url);
        options.execution = self.remote_exec.clone();
        options.instance_name = self.remote_instance.clone();
        options.headers = self.headers()?;
        options.deadlines.total = self.remote_timeout;
        options.skip_cache_lookup = self.remote_skip_cache;
        options.tool = Tool { name: "isomer".to_owned(), version: VERSION.to_owned(), ..Tool::default() };
        let client = self.remote_client_cert.clone().zip(self.remote_client_key.clone());
        options.tls = Tls {
            ca_files: self.remote_ca.iter().cloned().collect(),
            client: client.map(|(certificate, key)| ClientCertificate { certificate, key }),
            ..Tls::default()
        };
        let setup = RemoteSetup {
            options,
            tool: self.tool(program)?,
            platform: self.remote_property.iter().cloned().collect(),
            distrust: distrust.clone(),
            fallback: self.remote_fallback,
        };
        if let Some(url) = setup.options.headers_in_the_clear() {
            warn(
                &format!("headers are sent to {url} without TLS"),
                "anyone on the network path can read them; grpcs:// uses TLS",
            );
        }
        let on_warning = Box::new(|warning: &RemoteWarning| warn(warning, wording::consequence(warning)));
        match patiently(url, || RemoteExecutor::connect(setup, local(), stop.clone(), on_warning)) {
            Ok(remote) => Ok(Box::new(remote)),
            // Not for an error that only another setting would fix.
            Err(error) if self.remote_fallback && error.is_outage() => {
                warn(&error, "all jobs run on this machine");
                Ok(Box::new(Bounded::by_cores(local())))
            }
            Err(error) => {
                Err(Failure::because("the remote cannot be used; nothing is compiled", &error).hint(error.hint()))
            }
        }
    }

    fn tool(&self, local: &WorkerProgram) -> Result<Blob, Failure> {
        program(self.remote_tool.as_deref().unwrap_or(local.path()))
    }

    fn headers(&self) -> Result<Vec<Header>, Failure> {
        let expected = "expected NAME=VALUE, such as `x-api-key=…`";
        let wrong = || Failure::new(format!("--remote-header: {expected}"));
        let pairs = self.remote_header.iter().map(|text| pair(text).ok_or_else(wrong));
        let mut pairs = pairs.collect::<Result<Vec<_>, _>>()?;
        if let Some(path) = &self.remote_header_file {
            let hint = "a text file whose lines are headers, such as `authorization=Bearer TOKEN`";
            let read = isomer_file::read_text_or_pipe(path, HEADERS_SIZE_BYTES_MAX);
            let text = read.map_err(|error| Failure::of(&error).hint(hint.to_owned()))?;
            for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                // Never the line itself: it may be a secret.
                let wrong = || Failure::new(format!("{}: line {}: {expected}", path.display(), number + 1));
                pairs.push(pair(line.trim()).ok_or_else(wrong)?);
            }
        }
        Ok(pairs.into_iter().map(|(name, value)| Header { name, value }).collect())
    }
}

/// Calls `work`, and reports the wait when it takes long.
fn patiently<T>(url: &str, work: impl FnOnce() -> T) -> T {
    let (done, waiting) = mpsc::channel::<()>();
    let report = move || {
        if waiting.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            note(&format!("waiting for the capabilities of {url}"));
        }
    };
    thread::scope(|scope| {
        scope.spawn(report);
        let result = work();
        drop(done);
        result
    })
}

/// A program to run on remote workers. Any other file must not be sent to them.
fn program(path: &Path) -> Result<Blob, Failure> {
    let hint = || "`cargo xtask dist` builds an `isomer` that any worker can run".to_owned();
    let refused = |found: &str| {
        let found = format!("`{}` {found}; expected a program, a 64-bit ELF executable", path.display());
        Err(Failure::new(found).hint(hint()))
    };
    let read = isomer_file::read(path, PROGRAM_SIZE_BYTES_MAX);
    let bytes = read.map_err(|error| Failure::of(&error).hint(hint()))?;
    match bytes.get(..18) {
        _ if bytes.is_empty() => refused("is empty"),
        // The file's class (64 bits), its byte order, and its type as the one of an executable or a position-independent
        // one: ELF's `e_ident[EI_CLASS]`, `e_ident[EI_DATA]`, `e_type`.
        Some([0x7f, b'E', b'L', b'F', 2, 1, .., 2 | 3, 0] | [0x7f, b'E', b'L', b'F', 2, 2, .., 0, 2 | 3]) => {
            Ok(Blob::new(bytes))
        }
        Some([0x7f, b'E', b'L', b'F', ..]) => refused("is an ELF file of another kind"),
        _ => refused("is not a program"),
    }
}
