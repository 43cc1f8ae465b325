//! `serve.toml`. In: its text. Out: [`ServeFile`], or what is wrong with it, with the line and the nearest right word. Never
//! here: a file that is read, an artifact that is opened.

use super::limits::{RouteLimits, ServerLimits};
use super::listener::Address;
use super::route::{Pattern, is_request_path};
use super::tls::TlsFiles;
use crate::limits::units;
use crate::{Grants, Limits, OutgoingLimits};
use isomer_contract::{Hinted, line_at, nearest};
use serde::Deserialize;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;

/// What a settings file holds.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ServeFile {
    /// Where to listen.
    pub addresses: Vec<Address>,
    /// The server's limits.
    pub limits: ServerLimits,
    /// What is served.
    pub routes: Vec<FileRoute>,
    /// Whether the server ends when a guest cannot be interrupted.
    pub exit_on_stuck: bool,
    /// Whether versions that become active are served without a restart.
    pub watch: bool,
    /// The certificate of TCP addresses.
    pub tls: Option<TlsFiles>,
    /// Where `/metrics`, `/livez` and `/readyz` are.
    pub status_address: Option<SocketAddr>,
}

/// A route of a settings file.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FileRoute {
    /// Which requests it answers.
    pub pattern: Pattern,
    /// What answers them.
    pub module: FileModule,
    /// The target whose variant is required.
    pub require: Option<String>,
    /// Whether only a form whose code can be interrupted will do.
    pub deadline: bool,
    /// Its limits.
    pub limits: RouteLimits,
    /// What each instance may use up.
    pub instance: Limits,
    /// What its guests are granted.
    pub grants: Grants,
    /// What its guests' own HTTP requests may take.
    pub outgoing: OutgoingLimits,
    /// The path of its health request.
    pub health: Option<String>,
    /// How long a new version is on probation.
    pub probation: Option<Duration>,
}

/// Where a settings file says that a module is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileModule {
    /// In the store: `name` or `name:version`.
    Installed(String),
    /// In the release of this directory.
    Release(PathBuf, String),
    /// In a compiled artifact's file.
    File(PathBuf),
}

/// What is wrong with a settings file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {problem}")]
pub struct FileError {
    file: String,
    line: usize,
    problem: String,
    hint: Option<String>,
}

impl Hinted for FileError {
    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Document {
    #[serde(default)]
    addresses: Vec<Spanned<String>>,
    #[serde(default)]
    limits: ServerLimits,
    #[serde(default)]
    exit_on_stuck: bool,
    #[serde(default)]
    watch: bool,
    tls_cert: Option<Spanned<PathBuf>>,
    tls_key: Option<PathBuf>,
    #[serde(rename = "status-addr")]
    status_address: Option<SocketAddr>,
    #[serde(default, rename = "ca-cert")]
    ca_certificates: Vec<PathBuf>,
    #[serde(default, rename = "route")]
    routes: Vec<Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Entry {
    host: Option<String>,
    #[serde(default = "root")]
    path: String,
    module: Option<String>,
    release: Option<PathBuf>,
    require: Option<String>,
    #[serde(default)]
    deadline: bool,
    #[serde(default)]
    limits: RouteLimits,
    #[serde(default)]
    instance: Limits,
    #[serde(default)]
    grants: Grants,
    #[serde(default)]
    outgoing: OutgoingLimits,
    health: Option<String>,
    probation: Option<Time>,
}

#[derive(Deserialize)]
struct Time(#[serde(deserialize_with = "units::time")] Duration);

fn root() -> String {
    "/".to_owned()
}

/// Names a problem's line.
struct Text<'a> {
    file: &'a str,
    text: &'a str,
}

impl Text<'_> {
    fn error(&self, offset: usize, problem: impl Into<String>, hint: Option<String>) -> FileError {
        FileError { file: self.file.to_owned(), line: line_at(self.text, offset), problem: problem.into(), hint }
    }

    fn toml(&self, error: &toml::de::Error) -> FileError {
        let offset = error.span().map_or(0, |span| span.start);
        self.error(offset, error.message(), nearest_key(error.message()))
    }
}

/// From "unknown field `a`, expected one of `b`, `c`": whether one of the others was meant.
fn nearest_key(message: &str) -> Option<String> {
    let mut words = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    let typed = words.next()?;
    nearest(typed, words).map(|nearest| format!("did you mean `{nearest}`?"))
}

impl ServeFile {
    /// Reads the text of `file`. Paths in it are relative to its directory.
    ///
    /// # Errors
    /// For the first thing that is wrong.
    pub fn parse(file: &Path, text: &str) -> Result<ServeFile, FileError> {
        let shown = file.display().to_string();
        let source = Text { file: &shown, text };
        let mut document: Document = toml::from_str(text).map_err(|error| source.toml(&error))?;
        let directory = file.parent().unwrap_or(Path::new(""));
        let addresses = document.addresses.iter().map(|address| {
            address
                .get_ref()
                .parse::<Address>()
                .map_err(|error| source.error(address.span().start, error.to_string(), None))
        });
        let addresses = addresses.collect::<Result<Vec<_>, _>>()?;
        let mut lines = HashMap::new();
        let mut routes = Vec::new();
        let ca_certificates: Vec<_> = document.ca_certificates.iter().map(|file| directory.join(file)).collect();
        for entry in std::mem::take(&mut document.routes) {
            let at = entry.span().start;
            let mut route =
                route(entry.into_inner(), directory).map_err(|(problem, hint)| source.error(at, problem, hint))?;
            route.grants.ca_certificates.extend(ca_certificates.iter().cloned());
            let line = line_at(text, at);
            let (host, path) = route.pattern.reach();
            if let Some(first) = lines.insert((host.map(str::to_owned), path.to_owned()), line) {
                let problem = format!("the route on line {first} answers `{}` too", route.pattern);
                return Err(source.error(at, problem, Some("give each route a host or a path of its own".to_owned())));
            }
            routes.push(route);
        }
        if routes.is_empty() {
            let hint = "add a table `[[route]]` with a `module`".to_owned();
            return Err(source.error(0, "it has no route", Some(hint)));
        }
        let Document { limits, exit_on_stuck, watch, tls_cert, tls_key, status_address, .. } = document;
        let at = tls_cert.as_ref().map_or(0, |path| path.span().start);
        let tls = match (tls_cert, tls_key) {
            (Some(certificate), Some(key)) => {
                Some(TlsFiles { certificate: directory.join(certificate.into_inner()), key: directory.join(key) })
            }
            (None, None) => None,
            _ => return Err(source.error(at, "`tls-cert` and `tls-key` go together", None)),
        };
        Ok(ServeFile { addresses, limits, routes, exit_on_stuck, watch, tls, status_address })
    }
}

type Problem = (String, Option<String>);

fn route(entry: Entry, directory: &Path) -> Result<FileRoute, Problem> {
    let Entry {
        host,
        path,
        module,
        release,
        require,
        deadline,
        mut limits,
        instance,
        mut grants,
        outgoing,
        health,
        probation,
    } = entry;
    let pattern = Pattern::new(host.as_deref(), &path).map_err(|error| (error.to_string(), None))?;
    let module = match (module, release) {
        (Some(module), Some(release)) => FileModule::Release(directory.join(release), module),
        (Some(module), None) if is_path(&module) => FileModule::File(directory.join(module)),
        (Some(module), None) => FileModule::Installed(module),
        (None, _) => {
            let hint = "`module` names an installed module, one of `release`, or an artifact's file";
            return Err((format!("what does the route `{pattern}` serve?"), Some(hint.to_owned())));
        }
    };
    grants.resolve_paths(directory);
    let contradiction = grants.check().and_then(|()| instance.check());
    contradiction.map_err(|error| (error.to_string(), Hinted::hint(&error)))?;
    if let Some(time) = instance.timeout {
        limits.request_time = time;
    }
    if let Some(health) = health.as_ref().filter(|health| !is_request_path(health)) {
        return Err((format!("`{health}` is not the path of a health request; expected one such as `/healthz`"), None));
    }
    let probation = probation.map(|Time(time)| time);
    Ok(FileRoute { pattern, module, require, deadline, limits, instance, grants, outgoing, health, probation })
}

/// Whether it names a file: an installed module's name has no `/`.
fn is_path(module: &str) -> bool {
    module.contains('/') || module.ends_with(".cwasm")
}

#[cfg(test)]
mod tests {
    use super::*;
    fn parse(text: &str) -> Result<ServeFile, FileError> {
        ServeFile::parse(Path::new("etc/serve.toml"), text)
    }

    #[test]
    fn a_file_says_what_is_served_where_and_how() {
        let file = parse(
            r#"
            addresses = ["127.0.0.1:8080", "unix:/run/isomer.sock"]
            ca-cert = ["ca.pem"]
            [limits]
            connections = 10
            header-time = "3s"
            [[route]]
            module = "hello:1.0.0"
            [[route]]
            host = "api.example"
            path = "/v1"
            release = "dist"
            module = "api"
            deadline = true
            [route.limits]
            requests = 5
            request-size = "1MiB"
            [route.instance]
            max-memory = "64MiB"
            timeout = "2s"
            [route.grants]
            allow-http = ["https://api.example"]
            ca-cert = "/etc/other.pem"
            [route.outgoing]
            connections = 7
            response-size = "2MiB"
            [[route]]
            path = "/b"
            module = "b.cwasm"
            "#,
        )
        .expect("it is valid");
        assert_eq!((file.addresses.len(), file.limits.connections), (2, 10));
        assert_eq!(file.limits.header_time, Duration::from_secs(3));
        assert_eq!(file.routes[0].module, FileModule::Installed("hello:1.0.0".to_owned()));
        let api = &file.routes[1];
        assert_eq!(api.module, FileModule::Release("etc/dist".into(), "api".to_owned()));
        assert_eq!((api.limits.requests, api.limits.request_size), (5, 1 << 20));
        assert_eq!((api.limits.request_time, api.instance.max_memory), (Duration::from_secs(2), Some(64 << 20)));
        assert_eq!(file.routes[2].module, FileModule::File("etc/b.cwasm".into()));
        assert!(api.deadline && api.grants.allow_http.len() == 1);
        assert_eq!(api.grants.ca_certificates, ["/etc/other.pem", "etc/ca.pem"].map(PathBuf::from));
        assert_eq!((api.outgoing.connections, api.outgoing.response_size), (7, 2 << 20));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let wrong = |text: &str| {
            let error = parse(text).expect_err("it is wrong");
            error.hint().map_or_else(|| error.to_string(), |hint| format!("{error} ({hint})"))
        };
        assert_eq!(
            wrong("\n[limits]\nconections = 1\n")
                .replace("connections`, ", "connections`, … ")
                .split(", expected")
                .next(),
            Some("etc/serve.toml:3: unknown field `conections`")
        );
        assert!(wrong("[limits]\nconections = 1\n").ends_with("(did you mean `connections`?)"));
        assert!(
            wrong("\n\n[[route]]\nmodule = 'a'\n[route.limits]\nrequest = 1").ends_with("(did you mean `requests`?)")
        );
        assert_eq!(
            wrong("[[route]]\nmodule = 'a'\n\n[[route]]\npath = '/'\nmodule = 'b'\n"),
            "etc/serve.toml:4: the route on line 1 answers `/` too (give each route a host or a path of its own)"
        );
        assert!(wrong("addresses = [\n'8080'\n]").starts_with("etc/serve.toml:2: `8080` is not an address"));
        assert!(wrong("[[route]]\npath = '/a'\n").starts_with("etc/serve.toml:1: what does the route `/a` serve?"));
        assert!(wrong("[[route]]\nmodule = 'a'\n[route.limits]\nrequest-time = 3\n").contains("expected a duration"));
        assert!(wrong("").starts_with("etc/serve.toml:1: it has no route"));
    }
}
