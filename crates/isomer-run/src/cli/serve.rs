//! `isomer-run serve`: choose, verify, load, answer HTTP requests until told to end.

mod artifact;
mod explain;
mod systemd;

use super::grant_options::{GrantOptions, environment};
use super::limit_options::{LimitOptions, shown};
use super::operand::{Operand, which_module};
use super::{input, signers, store};
use crate::log::{self, ServerLog};
use crate::signals;
use artifact::{Artifact, ModuleSource, OpenFailure};
use isomer_contract::Hinted;
use isomer_guest::parse_duration;
use isomer_guest::server::{
    Address, Control, FileModule, FileRoute, Pattern, RouteSettings, ServeError, ServeFile, Server, Settings, TlsFiles,
    is_request_path,
};
use isomer_terminal::{Failure, escaped};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::SIGHUP;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Where a server listens unless it is told: not for strangers.
const ADDRESS: &str = "127.0.0.1:8080";

#[derive(clap::Args)]
#[command(
    override_usage = "isomer-run serve [OPTIONS] <MODULE | DIR/ MODULE | FILE>\n       isomer-run serve [OPTIONS] -f <SERVE.TOML>",
    after_help = "Examples:
  isomer-run serve hello                              # installed by `isomer-run pull`
  isomer-run serve --addr 0.0.0.0:80 --addr unix:/run/hello.sock hello
  isomer-run serve --key farm.pub dist/ hello
  isomer-run serve --watch --health /healthz hello    # a new version answers once it is healthy
  isomer-run serve --allow-http https://api.example --max-memory 64MiB hello
  isomer-run serve -f serve.toml                      # several, each with its limits and grants
  isomer-run serve --explain hello                    # what would be served, within which limits

Exit code: 0 when every request was answered; 1 for an error, or when requests had to be cancelled."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    store: store::Location,
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    trust: signers::TrustOptions,
}

/// What is served, and where.
#[derive(clap::Args)]
struct Options {
    /// An installed module; or a release (a directory, with a `/`) and the name of a module in it; or a compiled artifact
    /// (.cwasm)
    #[arg(value_name = "MODULE | DIR/ MODULE | FILE", required_unless_present = "file", num_args = 1..=2)]
    operands: Vec<OsString>,
    /// Serve the [[route]] tables of this file: modules, hosts, paths, limits and grants
    #[arg(short = 'f', long = "file", value_name = "SERVE.TOML", conflicts_with_all = ["operands", "require", "deadline",
        "health", "probation", "GrantOptions", "LimitOptions"])]
    file: Option<PathBuf>,
    /// Listen on this address: IP:PORT or unix:PATH; may be repeated [default: 127.0.0.1:8080]
    #[arg(long = "addr", value_name = "ADDRESS")]
    addresses: Vec<Address>,
    /// Speak TLS on TCP addresses with this chain of certificates, the server's own first; read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Answer /metrics (for Prometheus), /livez and /readyz at this address
    #[arg(long, value_name = "IP:PORT")]
    status_addr: Option<SocketAddr>,
    /// Let another process listen on the same TCP ports, so that it can take over from this one
    #[arg(long)]
    reuse_port: bool,
    /// Log a line for each request
    #[arg(long)]
    access_log: bool,
    /// Log JSON objects, a line each
    #[arg(long)]
    log_json: bool,
    /// Print what would be served, and with which pools and limits, and exit
    #[arg(long)]
    explain: bool,
    /// Fail unless the choice is the variant for this target
    #[arg(long, value_name = "TARGET")]
    require: Option<String>,
    /// Serve only a form whose code can be interrupted at its deadline
    #[arg(long)]
    deadline: bool,
    /// Switch to the version that becomes active in the store, once it is known to work, without a lost request
    #[arg(long)]
    watch: bool,
    /// The path of a request that a version must answer with success before it is served
    #[arg(long, value_name = "PATH")]
    health: Option<String>,
    /// With --watch: for how long a new version is switched back if it fails more often than the one before [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = shown(parse_duration))]
    probation: Option<Duration>,
    /// Exit when a guest cannot be interrupted, once all other requests are answered
    #[arg(long)]
    exit_on_stuck: bool,
    #[command(flatten)]
    grants: GrantOptions,
    #[command(flatten)]
    limits: LimitOptions,
}

impl Arguments {
    /// How its server logs.
    pub(crate) fn log(&self) -> ServerLog {
        ServerLog { access: self.options.access_log, json: self.options.log_json }
    }
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    signals::reap_children();
    raise_descriptor_limit();
    let Arguments { options, trust, store } = arguments;
    let sockets = systemd::sockets()
        .map_err(|error| Failure::because("a socket that this process was given cannot be listened on", &error))?;
    let basis = Basis { trust: Arc::new(trust), store: Arc::new(store), sockets };
    let settings = settings(&options, &basis)?;
    let mut server = Server::start(&settings).map_err(failure)?;
    if options.explain {
        explain::print(&server)?;
        return Ok(ExitCode::SUCCESS);
    }
    let control = server.control();
    if options.file.is_some() {
        server.on_reload(move || self::settings(&options, &basis).map_err(|failure| OpenFailure(failure).into()));
    }
    signals::handle(move |signal| on_signal(signal, &control))
        .map_err(|error| Failure::because("cannot handle the signals that end a server", &error))?;
    announce(&server);
    systemd::notify("READY=1");
    let complete = server.run().map_err(failure);
    log::flush();
    Ok(if complete? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Each connection is a file descriptor, and the limit that most systems begin with is for programs that use select(2).
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // With fewer descriptors the server accepts fewer connections, and says so.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
}

/// Which modules are trusted, and which store they are in.
struct Basis {
    trust: Arc<signers::TrustOptions>,
    store: Arc<store::Location>,
    /// Those that systemd opened.
    sockets: Vec<Arc<OwnedFd>>,
}

impl Basis {
    fn source(&self, module: Artifact, require: Option<String>, deadline: bool) -> Arc<ModuleSource> {
        let (trust, store) = (Arc::clone(&self.trust), Arc::clone(&self.store));
        Arc::new(ModuleSource { module, trust, store, require, deadline })
    }
}

fn settings(options: &Options, basis: &Basis) -> Result<Settings, Failure> {
    let mut settings = match &options.file {
        Some(file) => of_file(file, basis)?,
        None => Settings::new(Vec::new(), vec![of_options(options, basis)?]),
    };
    if !options.addresses.is_empty() {
        settings.addresses.clone_from(&options.addresses);
    } else if settings.addresses.is_empty() && basis.sockets.is_empty() {
        settings.addresses = ADDRESS.parse().into_iter().collect();
    }
    settings.sockets.clone_from(&basis.sockets);
    settings.reuse_port |= options.reuse_port;
    settings.exit_on_stuck |= options.exit_on_stuck;
    settings.watch |= options.watch;
    if let (Some(certificate), Some(key)) = (&options.tls_cert, &options.tls_key) {
        settings.tls = Some(TlsFiles { certificate: certificate.clone(), key: key.clone() });
    }
    settings.status_address = options.status_addr.or(settings.status_address);
    Ok(settings)
}

/// The only route, as the command line states it.
fn of_options(options: &Options, basis: &Basis) -> Result<RouteSettings, Failure> {
    let (module, artifact) = source(&options.operands, &basis.store)?;
    let pattern = Pattern::new(None, "/").map_err(ServeError::from)?;
    let source = basis.source(artifact, options.require.clone(), options.deadline);
    let mut route = RouteSettings::new(pattern, module, source);
    route.deadline = options.deadline;
    (route.grants, route.instance) = (options.grants.grants(), options.limits.limits());
    route.grants.check()?;
    route.instance.check()?;
    route.environment = environment(&route.grants)?;
    route.limits.request_time = route.instance.timeout.unwrap_or(route.limits.request_time);
    if let Some(path) = options.health.as_ref().filter(|path| !is_request_path(path)) {
        let message = format!("`{path}` is not the path of a health request; expected one such as `/healthz`");
        return Err(Failure::new(message));
    }
    route.health.clone_from(&options.health);
    route.probation = options.probation.unwrap_or(route.probation);
    Ok(route)
}

/// What a settings file says.
fn of_file(path: &Path, basis: &Basis) -> Result<Settings, Failure> {
    let file = ServeFile::parse(path, &input::read_text(path)?)?;
    let routes = file.routes.into_iter().map(|route| of_route(route, basis)).collect::<Result<_, _>>()?;
    let mut settings = Settings::new(file.addresses, routes);
    settings.limits = file.limits;
    settings.exit_on_stuck = file.exit_on_stuck;
    settings.tls = file.tls;
    settings.status_address = file.status_address;
    settings.watch = file.watch;
    Ok(settings)
}

fn of_route(route: FileRoute, basis: &Basis) -> Result<RouteSettings, Failure> {
    let (name, artifact) = match route.module {
        FileModule::Installed(name) => (name.clone(), Artifact::Installed(name)),
        FileModule::Release(dir, module) => (module.clone(), Artifact::Release(dir, module)),
        FileModule::File(path) => (path.display().to_string(), Artifact::File(path)),
        _ => return Err(Failure::new("a route serves what this version does not know")),
    };
    let process: BTreeMap<_, _> = std::env::vars_os().collect();
    let read = |path: &Path| input::read_text(path).map_err(|failure| OpenFailure(failure).into());
    let environment = route.grants.environment(read, &process).map_err(|error| Failure::of(&error))?;
    let mut settings = RouteSettings::new(route.pattern, name, basis.source(artifact, route.require, route.deadline));
    settings.limits = route.limits;
    settings.instance = route.instance;
    settings.grants = route.grants;
    settings.outgoing = route.outgoing;
    settings.environment = environment;
    settings.deadline = route.deadline;
    settings.health = route.health;
    settings.probation = route.probation.unwrap_or(settings.probation);
    Ok(settings)
}

/// The module's name, and where it is.
fn source(operands: &[OsString], store: &store::Location) -> Result<(String, Artifact), Failure> {
    let (first, rest) = operands.split_first().ok_or_else(|| Failure::new("nothing to serve"))?;
    let operand = Operand::of(first, store);
    operand.check_runnable()?;
    let text = |word: &OsString| word.to_string_lossy().into_owned();
    let (name, artifact) = match (operand, rest) {
        (Operand::Installed(name), []) => (name.to_owned(), Artifact::Installed(name.to_owned())),
        (Operand::Release(dir), [module]) => (text(module), Artifact::Release(dir.to_owned(), text(module))),
        (Operand::Release(dir), _) => return Err(which_module(dir, "serve")),
        (Operand::File(path), []) => (text(first), Artifact::File(PathBuf::from(path))),
        (_, [other, ..]) => {
            let failure = Failure::new(format!("`{}` follows the module; a server takes no arguments", text(other)));
            return Err(failure.hint("several modules are served by several routes".to_owned()));
        }
    };
    Ok((name, artifact))
}

/// SIGHUP reads the settings again. The first of the others drains the server, the second ends it.
fn on_signal(signal: i32, control: &Control) {
    if signal == SIGHUP {
        control.reload();
    } else if control.is_ending() {
        control.end();
    } else {
        // Before it begins to end: without requests, the process is gone in a moment.
        systemd::notify("STOPPING=1");
        // A closed standard error cannot be reported.
        let _ = writeln!(anstream::stderr(), "Ending once all requests are answered; a second signal ends at once");
        control.drain();
    }
}

fn announce(server: &Server) {
    let scheme = if server.has_tls() { "https" } else { "http" };
    for address in server.addresses() {
        let shown = match &address {
            Address::Tcp(address) => format!("{scheme}://{address}/"),
            other => other.to_string(),
        };
        let _ = writeln!(anstream::stderr(), "Serving HTTP on {}", escaped(&shown));
    }
    if let Some(address) = server.status_address() {
        let _ = writeln!(anstream::stderr(), "Status at http://{address}/metrics, /livez and /readyz");
    }
}

fn failure(error: ServeError) -> Failure {
    match error {
        ServeError::Route { source, module, route } => match *source {
            ServeError::Source(error) => match error.downcast::<OpenFailure>() {
                Ok(error) => error.0,
                Err(error) => Failure::because(format!("cannot serve `{module}`"), error.as_ref()),
            },
            source => {
                let hint = match &source {
                    ServeError::NotHttp { exports } if exports.iter().any(|it| it.starts_with("wasi:cli/run@")) => {
                        Some(format!("it is a command: `isomer-run run {module}`"))
                    }
                    source => source.hint(),
                };
                Failure::because(format!("cannot serve `{module}` at `{route}`"), &source).hint(hint)
            }
        },
        error => Failure::from(error),
    }
}
