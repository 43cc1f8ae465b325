//! What a person pulls from. In: an operand. Out: a [`Source`]. Never here: what is done with it.

use isomer_contract::Hinted;
use isomer_layout::{Layout, LocalSource, Source, SourceError};
use isomer_registry::{Options, Problem, Reference, RegistryError, Remote};
use isomer_terminal::Failure;
use std::path::{Path, PathBuf};

/// How a registry is reached.
#[derive(clap::Args)]
pub(crate) struct Connection {
    /// Without TLS: only for a registry on this machine
    #[arg(long)]
    plain_http: bool,
    /// A PEM file with CA certificates that are trusted beside the system's; may be repeated
    #[arg(long = "ca-cert", value_name = "FILE")]
    ca_certificates: Vec<PathBuf>,
    /// A host that gives out the registry's access tokens and may see its credentials [default: the variable
    /// ISOMER_TOKEN_HOSTS, with commas between them]; may be repeated
    #[arg(long = "token-host", value_name = "HOST[:PORT]")]
    token_hosts: Vec<String>,
}

/// What to do here about a source that does not give a part of a module.
pub(crate) fn failure(error: SourceError) -> Failure {
    let problem = error.source.as_deref().and_then(|source| source.downcast_ref::<Problem>());
    let hint = problem.and_then(|problem| match problem {
        Problem::TokenHost { token_host, .. } => Some(format!(
            "if the registry's documentation names it: --token-host {token_host}, or the variable ISOMER_TOKEN_HOSTS"
        )),
        problem if problem.is_plain_http_to_tls() => Some("this registry has TLS: leave out --plain-http".to_owned()),
        problem if problem.is_tls_to_plain_http() => {
            Some("a registry without TLS, on this machine only, is reached with --plain-http".to_owned())
        }
        Problem::Tls { .. } => Some("--ca-cert FILE names a CA that is trusted beside the system's".to_owned()),
        _ => None,
    });
    Failure::of(&error).hint(hint.or_else(|| error.hint()))
}

/// The source that `operand` names.
pub(crate) fn source(operand: &str, connection: &Connection) -> Result<Box<dyn Source>, Failure> {
    if let Some(rest) = operand.strip_prefix("oci-dir:") {
        let (path, module) = split(rest, Path::is_dir);
        named(operand, &path, "directory", "oci-dir:PATH[:NAME[:VERSION]]")?;
        if path.is_file() {
            return Err(other_kind(&path, "a file", "a directory", &format!("oci-archive:{rest}")));
        }
        return local(Layout::open(&path), module, operand);
    }
    if let Some(rest) = operand.strip_prefix("oci-archive:") {
        let (path, module) = split(rest, Path::is_file);
        named(operand, &path, "file", "oci-archive:FILE.tar[:NAME[:VERSION]]")?;
        if path.is_dir() {
            return Err(other_kind(&path, "a directory", "a tar file", &format!("oci-dir:{rest}")));
        }
        return local(Layout::open_archive(&path), module, operand);
    }
    if Path::new(operand).exists() {
        let kind = if Path::new(operand).is_dir() { "oci-dir" } else { "oci-archive" };
        let failure = Failure::new(format!("`{operand}` names no registry"));
        return Err(failure.hint(format!("a release on disk is `{kind}:{operand}:NAME:VERSION`")));
    }
    let reference: Reference = operand.parse().map_err(|error| {
        Failure::because(format!("`{operand}` is nothing to pull from"), &RegistryError::from(error)).hint(Some(
            "expected REGISTRY/REPOSITORY:TAG, oci-dir:PATH:NAME:VERSION or oci-archive:FILE.tar:NAME:VERSION"
                .to_owned(),
        ))
    })?;
    let Connection { plain_http, ca_certificates, token_hosts } = connection;
    let variable = std::env::var("ISOMER_TOKEN_HOSTS").unwrap_or_default();
    let from_variable = variable.split(',').map(str::trim).filter(|host| !host.is_empty()).map(str::to_owned);
    let options = Options {
        plain_http: *plain_http,
        ca_certificates: ca_certificates.clone(),
        token_hosts: token_hosts.iter().cloned().chain(from_variable).collect(),
        ..Options::default()
    };
    let remote = Remote::connect(&reference, &options).map_err(|error| match &error {
        RegistryError::PlainHttp(_) => {
            Failure::of(&error).hint("leave out --plain-http, and give the registry a certificate".to_owned())
        }
        _ => Failure::from(error),
    })?;
    Ok(Box::new(remote))
}

fn named(operand: &str, path: &Path, kind: &str, expected: &str) -> Result<(), Failure> {
    if !path.as_os_str().is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("`{operand}` names no {kind}")).hint(format!("expected {expected}")))
}

fn other_kind(path: &Path, found: &str, expected: &str, instead: &str) -> Failure {
    let failure = Failure::new(format!("`{}` is {found}, expected {expected}", path.display()));
    failure.hint(format!("a release in {found} is `{instead}`"))
}

fn local(
    layout: Result<Layout, isomer_layout::LayoutError>,
    module: Option<&str>,
    operand: &str,
) -> Result<Box<dyn Source>, Failure> {
    Ok(Box::new(LocalSource::new(layout?, module, operand.to_owned())?))
}

/// The path in `PATH[:NAME[:VERSION]]`, and the rest. A path may have colons in it: it is the longest beginning of the
/// operand that `is_there`. Where none is, it ends at the first colon, as skopeo reads it, and the error is about that.
fn split(text: &str, is_there: fn(&Path) -> bool) -> (PathBuf, Option<&str>) {
    let colons = text.rmatch_indices(':').map(|(at, _)| at);
    let ends = std::iter::once(text.len()).chain(colons);
    let end = ends.clone().find(|end| is_there(Path::new(&text[..*end]))).or_else(|| ends.last());
    let end = end.unwrap_or(text.len());
    (PathBuf::from(&text[..end]), text.get(end + 1..).filter(|module| !module.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_may_have_colons() {
        let there = |path: &Path| path == Path::new("dist") || path == Path::new("a:b");
        let split = |text| {
            let (path, module) = split(text, there);
            (path.display().to_string(), module.map(str::to_owned))
        };
        let with = |path: &str, module: &str| (path.to_owned(), Some(module.to_owned()));
        assert_eq!(split("dist"), ("dist".to_owned(), None));
        assert_eq!(split("dist:"), ("dist".to_owned(), None));
        assert_eq!(split("dist:sort"), with("dist", "sort"));
        assert_eq!(split("dist:sha256:1.4.0"), with("dist", "sha256:1.4.0"));
        assert_eq!(split("a:b:sort:1"), with("a:b", "sort:1"));
        assert_eq!(split("nowhere:sort:1"), with("nowhere", "sort:1"));
    }
}
