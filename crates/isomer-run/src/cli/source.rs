//! The source that `pull` installs from. In: an operand. Out: a [`Source`]. Never here: what is done with it.

use isomer_layout::{Layout, LocalSource, Source};
use isomer_registry::{Options, Reference, RegistryError, Remote};
use isomer_terminal::{Connection, Failure};
use std::path::{Path, PathBuf};

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
        Failure::because(format!("`{operand}` is not a source of modules"), &RegistryError::from(error)).hint(Some(
            "expected REGISTRY/REPOSITORY:TAG, oci-dir:PATH:NAME:VERSION or oci-archive:FILE.tar:NAME:VERSION"
                .to_owned(),
        ))
    })?;
    let Connection { plain_http, ca_certificates, .. } = connection;
    let options = Options {
        plain_http: *plain_http,
        ca_certificates: ca_certificates.clone(),
        token_hosts: connection.token_hosts(),
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
