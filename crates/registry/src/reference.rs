//! In: what a person types for a module in a registry. Out: its host, repository, tag and digest. Never here: a default
//! host or tag: a reference is complete.

use isomer_contract::name::{NameError, NameKind, RepositoryName, Tag};
use isomer_contract::{Digest, Hinted, shorten};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// A module in a registry: `HOST[:PORT]/REPOSITORY[:TAG][@sha256:…]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    host: String,
    repository: RepositoryName,
    tag: Option<Tag>,
    digest: Option<Digest>,
}

/// Text that is not a reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid reference `{text}`: {problem}")]
pub struct ReferenceError {
    /// What was typed.
    text: String,
    problem: String,
}

impl Hinted for ReferenceError {
    fn hint(&self) -> Option<String> {
        Some("expected HOST[:PORT]/REPOSITORY[:TAG][@sha256:…], as in `registry.example/acme/resize:1.4.0`".to_owned())
    }
}

impl Reference {
    /// The registry's host, with its port where it has one.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository in that registry.
    pub fn repository(&self) -> &str {
        self.repository.as_str()
    }

    /// The tag.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_ref().map(Tag::as_str)
    }

    /// The digest that the index must have.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Another tag of the same repository, and no digest.
    ///
    /// # Errors
    /// When `tag` is not a valid tag.
    pub fn with_tag(&self, tag: &str) -> Result<Reference, ReferenceError> {
        let error = |problem: NameError| ReferenceError {
            text: shorten(&format!("{self}:{tag}")),
            problem: problem.to_string(),
        };
        Ok(Reference { tag: Some(tag.parse().map_err(error)?), digest: None, ..self.clone() })
    }

    /// The same with a digest.
    pub fn with_digest(&self, digest: Digest) -> Reference {
        Reference { digest: Some(digest), ..self.clone() }
    }

    /// The repository `name` below this one, with neither tag nor digest.
    ///
    /// # Errors
    /// When `name` cannot be part of a repository's name.
    pub fn below(&self, name: &str) -> Result<Reference, ReferenceError> {
        let repository = format!("{}/{name}", self.repository);
        let repository = parse_repository(&self.host, &repository)
            .map_err(|problem| ReferenceError { text: shorten(&format!("{}/{repository}", self.host)), problem })?;
        Ok(Reference { host: self.host.clone(), repository, tag: None, digest: None })
    }

    /// Whether the host is this machine, by its name or address.
    pub fn is_loopback(&self) -> bool {
        is_loopback(host_name(&self.host))
    }
}

/// `localhost`, 127.0.0.0/8 or `::1`, the latter with or without brackets.
pub(crate) fn is_loopback(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// A host without its port.
fn host_name(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reference { host, repository, tag, digest } = self;
        write!(f, "{host}/{repository}")?;
        if let Some(tag) = tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Reference, ReferenceError> {
        parse(text).map_err(|problem| ReferenceError { text: shorten(text), problem })
    }
}

fn parse(text: &str) -> Result<Reference, String> {
    if let Some((scheme, _)) = text.split_once("://") {
        return Err(format!("it begins with `{}://`, and no scheme is expected", shorten(scheme)));
    }
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest.parse::<Digest>().map_err(|error| error.to_string())?)),
        None => (text, None),
    };
    let (host, path) = name.split_once('/').ok_or("it has no `/` between a host and a repository")?;
    check_host(host)?;
    let (repository, tag) = match path.split_once(':') {
        Some((repository, tag)) => (repository, Some(tag)),
        None => (path, None),
    };
    let repository = parse_repository(host, repository)?;
    let tag = tag.map(str::parse).transpose().map_err(|error: NameError| error.to_string())?;
    Ok(Reference { host: host.to_owned(), repository, tag, digest })
}

fn check_host(host: &str) -> Result<(), String> {
    let name = host_name(host);
    let known = name == "localhost" || host.contains(['.', ':']);
    let port = host[name.len()..].strip_prefix(':');
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let is_name = |name: &str| {
        name.split('.').all(|label| {
            let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
            let inner = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            inner && ends(label.chars().next()) && ends(label.chars().last())
        })
    };
    if !known {
        return Err(format!("`{}` is not a host: expected a `.` or a port in it", shorten(host)));
    }
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err(format!("`{}` has no port from 0 to 65535", shorten(host)));
    }
    if address.map_or_else(|| is_name(name), |address| address.parse::<Ipv6Addr>().is_ok()) {
        return Ok(());
    }
    Err(format!("`{}` is not a host", shorten(host)))
}

/// A repository's name, whose length counts with that of the host.
fn parse_repository(host: &str, repository: &str) -> Result<RepositoryName, String> {
    let length_max = NameKind::Repository.length_max();
    if host.len() + 1 + repository.len() > length_max {
        return Err(format!("host and repository have more than {length_max} characters"));
    }
    repository.parse().map_err(|error: NameError| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_reference_is_shown_as_it_was_typed() {
        for text in [
            "registry.example/acme/resize:1.4.0",
            "registry.example/acme/resize",
            "127.0.0.1:5000/a",
            "localhost/a__b/c-d.e--f:v1_x",
            "[::1]:5000/acme:latest",
            "[::1]/acme",
            &format!("registry.example:443/acme/resize:1.4.0@{DIGEST}"),
            &format!("registry.example/acme/resize@{DIGEST}"),
        ] {
            let reference: Reference = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(reference.to_string(), text);
        }
    }

    #[test]
    fn an_invalid_reference_says_why() {
        for (text, why) in [
            ("", "no `/`"),
            ("resize:1.4.0", "no `/`"),
            ("acme/resize", "`acme` is not a host"),
            ("https://registry.example/a", "no scheme"),
            ("registry.example/Acme", "invalid repository name `Acme`"),
            ("registry.example/a//b", "invalid repository name `a//b`"),
            ("registry.example/../b", "invalid repository name `../b`"),
            ("registry.example/a._b", "invalid repository name `a._b`"),
            ("registry.example/a:", "invalid tag ``"),
            ("registry.example/a:b:c", "invalid tag `b:c`"),
            ("registry.example/a:1+2", "invalid tag `1+2`"),
            ("registry.example:99999/a", "no port"),
            ("reg_istry.example/a", "is not a host"),
            ("user:secret@registry.example/a", "is not a digest"),
            ("[::g]:5000/a", "is not a host"),
            ("registry.example/a@sha512:00", "is not a digest"),
            ("registry.example/\u{1b}[31m", "\\u{1b}"),
        ] {
            let error = text.parse::<Reference>().expect_err(text);
            assert!(error.to_string().contains(why), "{error}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (text, expected) in [
            ("localhost:5000/a", true),
            ("127.0.0.1:5000/a", true),
            ("127.9.8.7/a", true),
            ("[::1]:5000/a", true),
            ("[::1]/a", true),
            ("localhost.example/a", false),
            ("127.0.0.1.example/a", false),
            ("10.0.0.1:5000/a", false),
            ("[::2]:5000/a", false),
        ] {
            assert_eq!(text.parse::<Reference>().map(|it| it.is_loopback()), Ok(expected), "{text}");
        }
    }
}
