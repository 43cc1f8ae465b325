//! The options that say which remote does jobs or keeps what came of them. Out: an executor that is connected.

use super::farming::{duration, warn};
use isomer_compile::VERSION;
use isomer_compile::cache::Functions;
use isomer_compile::farm::{Bounded, Executor, Limits, Pool, RemoteFarm, RemoteSetup};
use isomer_remote::{Blob, ClientCertificate, Header, Options, Tls, Tool};
use isomer_terminal::Failure;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// For how long a remote may be silent before it is said.
const PATIENCE: Duration = Duration::from_secs(2);

/// Which remote, and how far it is believed.
#[derive(clap::Args)]
#[command(next_help_heading = "Remote")]
// Without an address none of the others would be of any effect, which nobody means.
#[command(group(clap::ArgGroup::new("remote").args(["remote_cache", "remote_exec"]).multiple(true)))]
pub(super) struct RemoteOptions {
    /// Share results with others through the cache at this address: grpc://HOST:PORT, or grpcs:// for TLS
    #[arg(long, value_name = "URL")]
    remote_cache: Option<String>,
    /// Have jobs done by the farm at this address, which speaks the Remote Execution API; -j says how many at once
    #[arg(long, value_name = "URL")]
    remote_exec: Option<String>,
    /// The name of our instance there [default: none]
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true, requires = "remote")]
    remote_instance: String,
    /// Send this header with every call; others on this machine can see it: not for secrets
    // Not parsed by clap, which would show a malformed one: it may be a secret.
    #[arg(long, value_name = "NAME=VALUE", requires = "remote")]
    remote_header: Vec<String>,
    /// Send the headers in this file, NAME=VALUE in each line: for `authorization=Bearer TOKEN`
    #[arg(long, value_name = "FILE", requires = "remote")]
    remote_header_file: Option<PathBuf>,
    /// The authorities that the remote's certificate may come from, as PEM [default: the system's]
    #[arg(long, value_name = "FILE", requires = "remote")]
    remote_ca: Option<PathBuf>,
    /// The certificate that says who we are, as PEM, for remotes that ask for one
    #[arg(long, value_name = "FILE", requires = "remote", requires = "remote_client_key")]
    remote_client_cert: Option<PathBuf>,
    /// The private key of that certificate, as PEM
    #[arg(long, value_name = "FILE", requires = "remote", requires = "remote_client_cert")]
    remote_client_key: Option<PathBuf>,
    /// How long one job may take there, from upload to download, and the remote to answer at all: 90s, 5m, 1h
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1h", requires = "remote")]
    remote_timeout: Duration,
    /// A platform property that workers must have, as OSFamily=linux; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = property, requires = "remote")]
    remote_property: Vec<(String, String)>,
    /// The program that workers run: an `isomer` that needs nothing of theirs, from `cargo xtask dist` [default: this one]
    #[arg(long, value_name = "FILE", requires = "remote")]
    remote_tool: Option<PathBuf>,
    /// When the farm cannot be reached, or no longer, do on this machine what is left [default: end with an error]
    #[arg(long, requires = "remote_exec")]
    remote_fallback: bool,
    /// Have every job done anew, and what the farm's own cache has of it replaced
    #[arg(long, requires = "remote_exec")]
    remote_skip_cache: bool,
    /// Make this share of a remote's artifacts here too, and fail when one differs
    #[arg(long, value_name = "N%", value_parser = percent, default_value = "0%", requires = "remote")]
    distrust: u8,
}

impl RemoteOptions {
    /// Workers of this machine within `limits`, behind the remote if one is wanted.
    pub(super) fn connect(
        &self,
        limits: Limits,
        stop: &Arc<AtomicBool>,
        functions: Option<&Arc<Functions>>,
    ) -> Result<Box<dyn Executor>, Failure> {
        let local = || Pool::new(limits, stop.clone()).with_functions(functions.cloned());
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
            tool: self.tool()?,
            platform: self.remote_property.iter().cloned().collect(),
            distrust_percent: self.distrust,
            fallback: self.remote_fallback,
        };
        if let Some(url) = setup.options.headers_in_the_clear() {
            warn(
                &format!("headers are sent to {url} without TLS"),
                "everybody on the way can read them; grpcs:// has TLS",
            );
        }
        let on_trouble = Box::new(|what: &str, consequence: &'static str| warn(&what, consequence));
        match patiently(url, || RemoteFarm::connect(setup, local(), stop.clone(), on_trouble)) {
            Ok(remote) => Ok(Box::new(remote)),
            // Not for what only another setting would mend: that should not stay unnoticed.
            Err(error) if self.remote_fallback && error.is_outage() => {
                warn(&error, "everything is done on this machine");
                Ok(Box::new(Bounded::by_cores(local())))
            }
            Err(error) => {
                Err(Failure::because("the remote cannot be used; nothing is compiled", &error).hint(error.hint()))
            }
        }
    }

    fn tool(&self) -> Result<Blob, Failure> {
        // Not this program's path: the file may have been replaced since this process began.
        program(self.remote_tool.as_deref().unwrap_or(Path::new("/proc/self/exe")))
    }

    fn headers(&self) -> Result<Vec<Header>, Failure> {
        let expected = "expected NAME=VALUE, such as `x-api-key=…`";
        let wrong = || Failure::new(format!("--remote-header: {expected}"));
        let pairs = self.remote_header.iter().map(|text| pair(text).ok_or_else(wrong));
        let mut pairs = pairs.collect::<Result<Vec<_>, _>>()?;
        if let Some(path) = &self.remote_header_file {
            let hint = "a text file whose lines are headers, such as `authorization=Bearer TOKEN`";
            let text = fs::read_to_string(path).map_err(|error| unreadable(path, &error).hint(hint.to_owned()))?;
            for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                // Never the line itself: it may be a secret.
                let wrong = || Failure::new(format!("{}: line {}: {expected}", path.display(), number + 1));
                pairs.push(pair(line.trim()).ok_or_else(wrong)?);
            }
        }
        Ok(pairs.into_iter().map(|(name, value)| Header { name, value }).collect())
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::because(format!("cannot read `{}`", path.display()), error)
}

/// What `work` comes to. Nobody should have to guess what is waited for.
fn patiently<T>(url: &str, work: impl FnOnce() -> T) -> T {
    let (done, waiting) = mpsc::channel::<()>();
    let say = move || {
        if waiting.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            anstream::eprintln!("waiting for {url} to say what it can do");
        }
    };
    thread::scope(|scope| {
        scope.spawn(say);
        let result = work();
        drop(done);
        result
    })
}

/// A program to be run elsewhere. Anything else would be sent to strangers, whatever it is, and fail there.
fn program(path: &Path) -> Result<Blob, Failure> {
    let hint = || "`cargo xtask dist` makes an `isomer` that any worker can run".to_owned();
    let refused = |found: &str| {
        let found = format!("`{}` {found}; expected a program, a 64-bit ELF executable", path.display());
        Err(Failure::new(found).hint(hint()))
    };
    let unreadable = |error: std::io::Error| unreadable(path, &error).hint(hint());
    // Nothing is opened that would wait for a writer.
    let there = fs::metadata(path).map_err(unreadable)?;
    if !there.is_file() {
        return refused(if there.is_dir() { "is a directory" } else { "is no regular file" });
    }
    let bytes = fs::read(path).map_err(unreadable)?;
    match bytes.get(..18) {
        _ if bytes.is_empty() => refused("is empty"),
        // The file's class (64 bits), its byte order, and its type as the one of an executable or a position-independent
        // one: ELF's `e_ident[EI_CLASS]`, `e_ident[EI_DATA]`, `e_type`.
        Some([0x7f, b'E', b'L', b'F', 2, 1, .., 2 | 3, 0] | [0x7f, b'E', b'L', b'F', 2, 2, .., 0, 2 | 3]) => {
            Ok(Blob::new(bytes))
        }
        Some([0x7f, b'E', b'L', b'F', ..]) => refused("is an ELF file of another kind"),
        _ => refused("is no program"),
    }
}

/// A name and what it is set to.
fn pair(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    (!name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
}

fn property(text: &str) -> Result<(String, String), String> {
    pair(text).ok_or_else(|| "expected NAME=VALUE, such as `OSFamily=linux`".to_owned())
}

fn percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse::<u8>().ok().filter(|number| *number <= 100);
    number.ok_or_else(|| "expected a share such as `5%`, up to `100%`".to_owned())
}
