//! Which route answers a request. In: a request's host and path. Out: the route's index. Never here: what it serves.

use percent_encoding::percent_decode_str;
use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;

/// Which requests a route answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pattern {
    /// The host in its canonical form (see [`canonical_host`]), without a port; `None` matches every host.
    host: Option<String>,
    /// The beginning of the path, whole segments of it, without a `/` at its end; any path where it is empty.
    path: String,
    /// The same, decoded.
    decoded: String,
}

/// Why a pattern is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// Its path does not begin with `/`.
    #[error("the path `{0}` does not begin with `/`")]
    Relative(String),
    /// Its path has a query, a fragment or a character that no request's path has.
    #[error("`{0}` is not the path of a request")]
    Path(String),
    /// Its path has empty segments, `.` or `..`, decoded or not, by which requests reach another one.
    #[error("the path `{path}` is ambiguous: expected one such as `{expected}`")]
    Ambiguous {
        /// The path.
        path: String,
        /// What it may mean.
        expected: String,
    },
    /// Its host is not a host's name or address.
    #[error("`{0}` is not a host's name: expected one such as `api.example`, without a port")]
    Host(String),
    /// Its host has a `*`.
    #[error("`{0}` is not a host's name: a route answers one host, or all where none is given")]
    Wildcard(String),
}

impl Pattern {
    /// Requests to `host`, or to any, whose path is `path` or lies below it.
    ///
    /// # Errors
    /// When a request cannot have such a host or path, or its path can be read in more than one way.
    pub fn new(host: Option<&str>, path: &str) -> Result<Pattern, PatternError> {
        if !path.starts_with('/') {
            return Err(PatternError::Relative(path.to_owned()));
        }
        if !is_request_path(path) || path.contains('?') {
            return Err(PatternError::Path(path.to_owned()));
        }
        let trimmed = path.trim_end_matches('/');
        let resolved = resolve(trimmed);
        if resolved.trim_end_matches('/') != trimmed {
            return Err(PatternError::Ambiguous { path: path.to_owned(), expected: resolved });
        }
        let host = host.map(|host| {
            let parsed = host.parse::<http::uri::Authority>().ok();
            if host.contains('*') {
                return Err(PatternError::Wildcard(host.to_owned()));
            }
            let is_host = parsed.is_some_and(|it| it.host() == host);
            is_host
                .then(|| canonical_host(host).to_ascii_lowercase())
                .ok_or_else(|| PatternError::Host(host.to_owned()))
        });
        let decoded = percent_decode_str(trimmed).decode_utf8_lossy();
        let resolved = resolve(&decoded);
        if resolved.trim_end_matches('/') != decoded.trim_end_matches('/') {
            return Err(PatternError::Ambiguous { path: path.to_owned(), expected: resolved });
        }
        let decoded = decoded.trim_end_matches('/').to_owned();
        Ok(Pattern { host: host.transpose()?, path: trimmed.to_owned(), decoded })
    }

    /// `host` is canonical.
    fn has_host(&self, host: &str) -> bool {
        self.host.as_ref().is_none_or(|own| host.eq_ignore_ascii_case(own))
    }

    /// What tells it from other patterns: two that servers read as one path are alike, however they are written.
    pub(super) fn reach(&self) -> (Option<&str>, &str) {
        (self.host.as_deref(), &self.decoded)
    }

    /// A route for one host comes before one for all, and a path of more segments before one of fewer, whether it is compared as
    /// it is written or decoded. Of the paths that lie above a request's, none has as many segments as another.
    fn precedence(&self) -> (bool, usize) {
        (self.host.is_some(), self.decoded.matches('/').count())
    }
}

/// Whether a request can have this path, with or without a query.
pub fn is_request_path(path: &str) -> bool {
    path.starts_with('/') && !path.contains('#') && path.parse::<http::uri::PathAndQuery>().is_ok()
}

/// Whether `path` is `above` or lies below it.
fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The host as all who mean it write it, but for the case of letters: without the dot of a name that is complete, and with an
/// IPv6 address in its shortest form.
fn canonical_host(host: &str) -> Cow<'_, str> {
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match address.and_then(|address| address.parse::<Ipv6Addr>().ok()) {
        Some(address) => Cow::Owned(format!("[{address}]")),
        None => Cow::Borrowed(host.strip_suffix('.').unwrap_or(host)),
    }
}

/// Whether some server reads a path in another way than as it is written: decoded, with `\` as `/`, without empty segments,
/// with `.` and `..` resolved.
fn can_be_read_otherwise(path: &str) -> bool {
    path.contains(['%', '\\']) || path.contains("//") || path.contains("/.")
}

/// A path with `\` as `/`, without empty segments, `.` and `..`.
fn resolve(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split(['/', '\\']) {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    let end = if path.ends_with(['/', '\\']) && !segments.is_empty() { "/" } else { "" };
    format!("/{}{end}", segments.join("/"))
}

/// `api.example/v1`, `/`
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "/" } else { &self.path };
        write!(f, "{}{path}", self.host.as_deref().unwrap_or(""))
    }
}

/// What answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The route of this index.
    Route(usize),
    /// One route or another: servers in front of this one may have read the path otherwise, and have judged that.
    Ambiguous,
    /// No route.
    None,
}

/// All routes of a server.
#[derive(Debug)]
pub(super) struct Routes {
    /// With the index of each, in the order in which they are tried.
    patterns: Vec<(Pattern, usize)>,
}

impl Routes {
    pub(super) fn new(patterns: impl IntoIterator<Item = Pattern>) -> Routes {
        let mut patterns: Vec<_> = patterns.into_iter().enumerate().map(|(index, pattern)| (pattern, index)).collect();
        patterns.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.precedence()));
        Routes { patterns }
    }

    /// What answers requests to `host`, without a port, for `path`.
    pub(super) fn find(&self, host: &str, path: &str) -> Found {
        let host = canonical_host(host);
        let of_host = || self.patterns.iter().filter(|(pattern, _)| pattern.has_host(&host));
        let found = of_host().find(|(pattern, _)| is_below(path, &pattern.path)).map(|(_, index)| *index);
        if can_be_read_otherwise(path) {
            let (resolved, decoded) = (resolve(path), resolve(&percent_decode_str(path).decode_utf8_lossy()));
            let of_resolved = of_host().find(|(pattern, _)| is_below(&resolved, &pattern.path));
            let of_decoded = of_host().find(|(pattern, _)| is_below(&decoded, &pattern.decoded));
            if [of_resolved, of_decoded].iter().any(|other| other.map(|(_, index)| *index) != found) {
                return Found::Ambiguous;
            }
        }
        found.map_or(Found::None, Found::Route)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(host: Option<&str>, path: &str) -> Pattern {
        Pattern::new(host, path).expect("it is valid")
    }

    #[test]
    fn the_most_specific_route_answers() {
        let routes = Routes::new([
            pattern(None, "/"),
            pattern(None, "/api"),
            pattern(Some("API.example"), "/"),
            pattern(Some("api.example."), "/api/v1/"),
            pattern(Some("[0:0::1]"), "/"),
        ]);
        for (host, path, expected) in [
            ("other", "/", 0),
            ("other", "/apix", 0),
            ("other", "/api", 1),
            ("other", "/api/v1", 1),
            ("api.example", "/", 2),
            ("Api.Example", "/api", 2),
            ("api.example", "/api/v1", 3),
            ("api.example", "/api/v1/x", 3),
            ("api.example", "/api/v10", 2),
            ("api.example.", "/api/v1", 3),
            ("api.example..", "/api/v1", 1),
            ("[::1]", "/api", 4),
            ("[0:0:0:0:0:0:0:1]", "/api", 4),
            ("[::2]", "/api", 1),
            // Whatever is read here, the same route answers it.
            ("other", "/x/../y", 0),
            ("other", "/api/a%2Fb//./c", 1),
            ("other", "/api/v1%zz%", 1),
        ] {
            assert_eq!(routes.find(host, path), Found::Route(expected), "{host}{path}");
        }
        assert_eq!(Routes::new([pattern(None, "/api")]).find("other", "/"), Found::None);
    }

    #[test]
    fn a_path_that_reaches_another_route_when_it_is_read_otherwise_is_ambiguous() {
        let routes = Routes::new([pattern(None, "/"), pattern(None, "/admin"), pattern(None, "/b%C3%BCcher")]);
        for path in [
            "/x/../admin/y",
            "/admin/../x",
            "/admin/..",
            "/./admin",
            "//admin",
            "/%61dmin",
            "/admin%2Fx",
            "/%2e%2e/admin",
            "/x/%2E./admin/y",
            "/admin/%2e%2e/x",
            "/x\\..\\admin",
            "/\\admin",
            "/b%c3%bccher",
        ] {
            assert_eq!(routes.find("host", path), Found::Ambiguous, "{path}");
        }
        assert_eq!(routes.find("host", "/b%C3%BCcher/1"), Found::Route(2));
        assert_eq!(Routes::new([pattern(None, "/admin")]).find("host", "/%61dmin"), Found::Ambiguous);
    }

    #[test]
    fn segments_tell_which_route_is_more_specific_and_not_how_they_are_written() {
        let routes = Routes::new([pattern(None, "/%61%61"), pattern(None, "/aa/b")]);
        assert_eq!(routes.find("host", "/%61%61/x"), Found::Route(0));
        assert_eq!(routes.find("host", "/aa/b"), Found::Route(1));
        // Decoded, it is the other one's.
        assert_eq!(routes.find("host", "/%61%61/b/x"), Found::Ambiguous);
        assert_eq!(pattern(None, "/%61").reach(), pattern(None, "/a/").reach());
        assert_ne!(pattern(None, "/a").reach(), pattern(Some("a"), "/a").reach());
    }

    #[test]
    fn a_pattern_is_what_a_request_can_have() {
        for (host, path) in [
            (None, "api"),
            (None, "/a?b"),
            (None, "/a b"),
            (Some("a:80"), "/"),
            (Some("http://a"), "/"),
            (Some("*"), "/"),
            (Some("*.example"), "/"),
            (None, "/a/../b"),
            (None, "//a"),
            (None, "/a/."),
            (None, "/a/%2e%2E/b"),
            (None, "/a/%2E"),
            (None, "/a%2F%2Fb"),
            (None, "/a%5Cb"),
        ] {
            assert!(Pattern::new(host, path).is_err(), "{host:?} {path}");
        }
        assert_eq!(pattern(Some("[::1]"), "/a/").to_string(), "[::1]/a");
    }
}
